package kernel

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module builds the smallest ELF object that has a .modinfo section.
func module(t *testing.T, name string, entries ...string) []byte {
	t.Helper()
	info := []byte(strings.Join(append(entries, "name="+name), "\x00") + "\x00")
	names := []byte("\x00.modinfo\x00.shstrtab\x00")
	const header, entry = 64, 64
	var b bytes.Buffer
	write := func(v any) {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	infoAt := uint64(header)
	namesAt := infoAt + uint64(len(info))
	h := elf.Header64{
		Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_AARCH64), Version: 1,
		Ehsize: header, Shentsize: entry, Shnum: 3, Shstrndx: 2,
		Shoff: namesAt + uint64(len(names)),
	}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	write(h)
	b.Write(info)
	b.Write(names)
	write(elf.Section64{})
	write(elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: infoAt, Size: uint64(len(info)), Addralign: 1})
	write(elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: namesAt, Size: uint64(len(names)), Addralign: 1})
	return b.Bytes()
}

// fakeDeb is what the fake dpkg-deb takes for a package: a bare tar archive.
func fakeDeb(t *testing.T, release string, files map[string][]byte) []byte {
	t.Helper()
	all := map[string][]byte{
		"./boot/vmlinuz-" + release:                             []byte("kernel " + release),
		"./usr/lib/linux-image-" + release + "/maker/board.dtb": []byte("tree"),
		"./boot/System.map-" + release:                          []byte("not wanted"),
		"./usr/share/doc/linux-image-" + release + "/copyright": []byte("rights of " + release),
	}
	for name, data := range files {
		all["./lib/modules/"+release+"/"+name] = data
	}
	return tarball(t, all)
}

func tarball(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		data := files[name]
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// smallKernel is a package with a few modules.
func smallKernel(t *testing.T, release string) []byte {
	return fakeDeb(t, release, map[string][]byte{
		"modules.builtin":                         []byte("kernel/drivers/gpio/gpio-pl061.ko\n"),
		"kernel/fs/ext4/ext4.ko":                  module(t, "ext4", "depends=mbcache,jbd2", "softdep=pre: crypto-crc32c"),
		"kernel/fs/jbd2/jbd2.ko":                  module(t, "jbd2", "depends="),
		"kernel/fs/mbcache.ko":                    module(t, "mbcache", "depends="),
		"kernel/crypto/crc32c_generic.ko":         module(t, "crc32c_generic", "depends="),
		"kernel/drivers/input/gpio_keys.ko":       module(t, "gpio_keys", "depends=gpio-pl061"),
		"kernel/drivers/net/unwanted/unwanted.ko": module(t, "unwanted", "depends="),
	})
}

// A mirror is a machine with apt whose programs are scripts.
type mirror struct {
	t   *testing.T
	dir string
}

const (
	scriptGet = `#!/bin/sh
last=; for a in "$@"; do last=$a; done
case "$*" in
*update*) echo update >> "$FAKE/log"; cat "$FAKE/complaint" 2>/dev/null && exit 100; exit 0;;
*download*) echo "download $last" >> "$FAKE/log"; cp "$FAKE/index/$last" "./$(echo "$last" | tr = _).deb" || { echo "E: not found" >&2; exit 100; };;
*indextargets*) printf 'fake://one\nfake://two\nfake://one\n';;
esac
`
	scriptHelper = `#!/bin/sh
echo "pool $2" >> "$FAKE/log"
case "$2" in fake://two/*) cp "$FAKE/pool/${2##*/}" "$3";; *) exit 100;; esac
`
	scriptCache = `#!/bin/sh
last=; for a in "$@"; do last=$a; done
cat "$FAKE/show/$last" 2>/dev/null || { echo "E: No packages found" >&2; exit 100; }
`
	scriptConfig = `#!/bin/sh
echo 'Acquire::http::Proxy "http://proxy.example:3128";'
echo 'APT::Update::Post-Invoke:: "rm -rf everything";'
`
	scriptDeb = "#!/bin/sh\n[ \"$1\" = --fsys-tarfile ] && exec cat \"$2\"\n"
)

// newMirror puts the scripts in front of the machine's own programs.
func newMirror(t *testing.T) *mirror {
	t.Helper()
	m := &mirror{t: t, dir: t.TempDir()}
	bin := filepath.Join(m.dir, "bin")
	for name, script := range map[string]string{
		"bin/apt-get": scriptGet, "bin/apt-cache": scriptCache, "bin/apt-config": scriptConfig,
		"bin/apt-helper": scriptHelper, "bin/dpkg-deb": scriptDeb,
	} {
		m.write(name, script)
		if err := os.Chmod(filepath.Join(m.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("FAKE", m.dir)
	return m
}

func (m *mirror) write(name, content string) {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mirror) remove(name string) {
	m.t.Helper()
	if err := os.RemoveAll(filepath.Join(m.dir, name)); err != nil {
		m.t.Fatal(err)
	}
}

// log gives what the programs were asked to do, and forgets it.
func (m *mirror) log() string {
	m.t.Helper()
	data, err := os.ReadFile(filepath.Join(m.dir, "log"))
	if err != nil && !os.IsNotExist(err) {
		m.t.Fatal(err)
	}
	m.remove("log")
	return strings.ReplaceAll(strings.TrimSpace(string(data)), "\n", "; ")
}

// describe gives a package's place in the lists.
func describe(name, version string, deb []byte) Package {
	sum := sha256.Sum256(deb)
	return Package{
		Name: name, Version: version, Size: int64(len(deb)), SHA256: hex.EncodeToString(sum[:]),
		Filename: "pool/main/l/linux/" + name + "_" + version + "_arm64.deb",
	}
}

// offer makes a package the one and newest kernel in the lists.
func (m *mirror) offer(name, version string, deb []byte) Package {
	m.t.Helper()
	m.remove("show")
	m.remove("index")
	p := describe(name, version, deb)
	m.write("index/"+name+"="+version, string(deb))
	m.write("show/"+Meta, fmt.Sprintf("Package: %s\nDepends: %s (= %s), other\n", Meta, name, version))
	m.show(p)
	return p
}

// offerStub adds a boot stub to the lists.
func (m *mirror) offerStub(version, program string) Package {
	m.t.Helper()
	deb := tarball(m.t, map[string][]byte{
		"./" + stubFile: []byte(program), "./usr/share/doc/" + StubPackage + "/copyright": []byte("rights of the stub"),
	})
	p := describe(StubPackage, version, deb)
	m.write("index/"+p.Name+"="+version, string(deb))
	m.show(p)
	return p
}

func (m *mirror) show(p Package) {
	m.t.Helper()
	m.write("show/"+p.Name, fmt.Sprintf("Package: %s\nVersion: %s\nFilename: %s\nSize: %d\nSHA256: %s\nDescription: x\n lines\n\n",
		p.Name, p.Version, p.Filename, p.Size, p.SHA256))
}
