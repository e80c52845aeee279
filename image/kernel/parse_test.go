package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestLockFile(t *testing.T) {
	sum := strings.Repeat("0a", 32)
	good := `{"package":{"name":"linux-image-6.1.0-1-arm64","version":"6.1.1-1","size":5,"sha256":"` + sum + `"`
	tests := []struct{ name, text, want string }{
		{"good", good + `,"filename":"pool/main/l/linux/a_1~b+c%3a_arm64.deb"}}`, ""},
		{"good without its place in the pool", good + `}}`, ""},
		{"an unknown key", good + `,"colour":"blue"}}`, "colour"},
		{"an option for apt", strings.Replace(good, "linux-image", "-oDebug=1 linux-image", 1) + `}}`, "package name"},
		{"a version with a blank", strings.Replace(good, "6.1.1-1", "6.1.1 -1", 1) + `}}`, "version"},
		{"a short digest", strings.Replace(good, sum, "0a", 1) + `}}`, "sha256"},
		{"a digest that leaves the cache", strings.Replace(good, sum, "../../x", 1) + `}}`, "sha256"},
		{"no size", strings.Replace(good, `"size":5`, `"size":0`, 1) + `}}`, "size"},
		{"a place outside the pool", good + `,"filename":"/etc/passwd"}}`, "filename"},
		{"no JSON", "{", "unexpected EOF"},
		{"nothing", "{}", "neither"},
		{"both forms", good + `},"kernel":{}}`, "neither"},
		{"a kernel without a stub", strings.Replace(good, "package", "kernel", 1) + `}}`, "neither"},
		{"the second form", strings.Replace(good, "package", "kernel", 1) + `},` + strings.Replace(good, `{"package`, `"stub`, 1) + `}}`, ""},
		{"a bad stub", strings.Replace(good, "package", "kernel", 1) + `},"stub":{"name":"x"}}`, "package name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "lock.json")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			l, err := ReadLock(path)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want it to contain %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Write(path); err != nil {
				t.Fatal(err)
			}
			if again, err := ReadLock(path); err != nil || again != l {
				t.Errorf("written and read again: got %v, %v, want %v", again, err, l)
			}
		})
	}
}

// The lock file of the tree is good.
func TestOurLockFile(t *testing.T) {
	l, err := ReadLock("../kernel.lock.json")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(l.Kernel.Name, "linux-image-") || strings.Contains(l.Kernel.Name, "cloud") || l.Kernel.Filename == "" {
		t.Errorf("got %+v, want Debian's generic kernel with its place in the pool", l.Kernel)
	}
	if l.Stub.Name != StubPackage || l.Stub.Filename == "" {
		t.Errorf("got %+v, want the boot stub with its place in the pool", l.Stub)
	}
}

func TestAptConf(t *testing.T) {
	conf := aptConf("/tmp/state", `Acquire::http::Proxy "http://proxy.example:3128";
Acquire::Languages "none";
APT::Update::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb";
Acquire::AllowInsecureRepositories "true";
Acquire::Retries "3";
`)
	for _, want := range []string{"proxy.example", "Retries", `Dir::State "/tmp/state"`, `APT::Architecture "arm64"`} {
		if !strings.Contains(conf, want) {
			t.Errorf("the configuration lacks %q", want)
		}
	}
	for _, no := range []string{"Post-Invoke", `AllowInsecureRepositories "true"`} {
		if strings.Contains(conf, no) {
			t.Errorf("the configuration has %q", no)
		}
	}
}

func TestParseShowRefusesNonsense(t *testing.T) {
	for _, text := range []string{"Package: a\nSize: x\n", "Package: ../a\nVersion: 1\n\n"} {
		if got, err := parseShow(text); err == nil {
			t.Errorf("parseShow(%q): got %v and no error", text, got)
		}
	}
}

func TestModinfo(t *testing.T) {
	m := parseModinfo([]byte("license=GPL\x00depends=jbd2,gpio-keys\x00softdep=pre: a-b c post: d pre: e\x00name=x-y\x00junk"))
	if m.name != "x_y" || !slices.Equal(m.depends, []string{"jbd2", "gpio_keys"}) || !slices.Equal(m.pre, []string{"a_b", "c", "e"}) {
		t.Errorf("got %+v", m)
	}
}

func TestReadModinfoOfBrokenFiles(t *testing.T) {
	dir := t.TempDir()
	whole := module(t, "m", "depends=")
	for name, data := range map[string][]byte{
		"empty.ko": nil, "text.ko": []byte("no ELF"), "cut.ko": whole[:len(whole)-70],
		"bad.ko.xz": []byte("no xz"), "bad.ko.zst": []byte("no zstd"), "bad.ko.gz": []byte("no gzip"),
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if m, err := readModinfo(path); err == nil {
			t.Errorf("%s: got %+v and no error", name, m)
		}
	}
}

func FuzzModinfo(f *testing.F) {
	f.Add([]byte("depends=a,b\x00softdep=pre: c\x00"))
	f.Add([]byte("softdep=pre: post: pre:\x00=\x00"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := parseModinfo(raw)
		for _, name := range slices.Concat(m.depends, m.pre) {
			if name == "" || strings.ContainsAny(name, "-/. \x00") {
				t.Errorf("got the name %q, which no module has", name)
			}
		}
	})
}

// shelf is a catalogue in memory.
type shelf map[string]modinfo

func (s shelf) info(name string) (modinfo, bool, error) {
	if name == "unreadable" {
		return modinfo{}, false, errors.New("cannot be read")
	}
	m, ok := s[name]
	return m, ok, nil
}

func (s shelf) isBuiltin(name string) bool { return name == "in_kernel" }

func TestClosure(t *testing.T) {
	s := shelf{
		"a":              {depends: []string{"b", "c"}},
		"b":              {depends: []string{"d"}},
		"c":              {depends: []string{"d", "in_kernel"}},
		"d":              {},
		"ext4":           {pre: []string{"crypto_crc32c", "absent"}},
		"crc32c_generic": {},
		"gpio_keys":      {},
		"lost":           {depends: []string{"absent"}},
		"soft1":          {pre: []string{"soft2"}},
		"soft2":          {pre: []string{"soft1"}},
		"hurt":           {depends: []string{"unreadable"}},
	}
	tests := []struct {
		roots []string
		want  string
		err   string
	}{
		{[]string{"a"}, "[d b c a]", ""},
		{[]string{"d", "a", "a"}, "[d b c a]", ""},
		{[]string{"ext4"}, "[crc32c_generic ext4]", ""},
		{[]string{"gpio-keys"}, "[gpio_keys]", ""},
		{[]string{"in-kernel", "d"}, "[d]", ""},
		{[]string{"?absent", "d"}, "[d]", ""},
		{[]string{"soft1"}, "[soft2 soft1]", ""},
		{[]string{"absent"}, "", "no module absent"},
		{[]string{"lost"}, "", "no module absent, which lost needs"},
		{[]string{"hurt"}, "", "cannot be read"},
	}
	for _, tt := range tests {
		got, err := closure(s, tt.roots)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%v: got error %v, want %q", tt.roots, err, tt.err)
			}
			continue
		}
		if err != nil || fmt.Sprint(got) != tt.want {
			t.Errorf("%v: got %v, %v, want %s", tt.roots, got, err, tt.want)
		}
	}
}
