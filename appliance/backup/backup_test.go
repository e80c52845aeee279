package backup

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
)

const passphrase = "four quiet herons"

func sample() (Manifest, []File) {
	m := Manifest{Box: "gate.office.example", Version: "0.5.0", Time: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC), ConfigHash: "ab12"}
	return m, []File{
		{Name: "config.toml", Data: []byte("version = 1\n")},
		{Name: "relay/tls.pem", Data: bytes.Repeat([]byte("k"), 3000)},
		{Name: "web/owner.json", Data: []byte("{}")},
	}
}

func TestRoundTrip(t *testing.T) {
	m, files := sample()
	sealed, err := Seal(m, files, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("kkkkkkkk")) || bytes.Contains(sealed, []byte("gate.office")) {
		t.Error("the content can be read without the passphrase")
	}
	got, back, err := Open(sealed, passphrase)
	if err != nil || !reflect.DeepEqual(back, files) || got.Box != m.Box || !got.Time.Equal(m.Time) || len(got.Files) != 3 {
		t.Errorf("got %+v, %v", got, err)
	}
	for name, tc := range map[string]struct {
		sealed     []byte
		passphrase string
		want       error
	}{
		"wrong passphrase":   {sealed, "four quiet heron", ErrPassphrase},
		"no passphrase":      {sealed, "", ErrPassphrase},
		"last byte cut":      {sealed[:len(sealed)-1], passphrase, ErrDamaged},
		"half":               {sealed[:len(sealed)/2], passphrase, ErrDamaged},
		"head only":          {sealed[:40], passphrase, ErrNotBackup},
		"one bit":            {flip(sealed, len(sealed)-100), passphrase, ErrDamaged},
		"one bit of the key": {flip(sealed, 60), passphrase, nil},
		"a photo":            {[]byte("\xff\xd8\xff\xe0 JFIF"), passphrase, ErrNotBackup},
		"nothing":            {nil, passphrase, ErrNotBackup},
		"too large":          {make([]byte, MaxSealed+1), passphrase, ErrNotBackup},
	} {
		_, _, err := Open(tc.sealed, tc.passphrase)
		if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
	for _, p := range []string{"", "short", strings.Repeat("x", maxPassphrase+1)} {
		if _, err := Seal(m, files, p); !errors.Is(err, ErrShort) {
			t.Errorf("passphrase of %d: got %v, want ErrShort", len(p), err)
		}
	}
}

func flip(data []byte, at int) []byte {
	out := bytes.Clone(data)
	out[at] ^= 1
	return out
}

// The file is what other tools know: age outside, tar inside.
func TestOthersCanOpenIt(t *testing.T) {
	m, files := sample()
	sealed, err := Seal(m, files, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	id, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := age.Decrypt(bytes.NewReader(sealed), id)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(plain); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	if want := "manifest.json config.toml relay/tls.pem web/owner.json"; strings.Join(names, " ") != want {
		t.Errorf("got %v, want %s", names, want)
	}
}

// A file that asks for more memory than the box has is not opened.
func TestWorkIsBounded(t *testing.T) {
	to, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	to.SetWorkFactor(maxWorkFactor + 1)
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	if _, _, err := Open(out.Bytes(), passphrase); !errors.Is(err, ErrNotBackup) {
		t.Errorf("got %v, want it refused", err)
	}
}

// entry is one of a hostile tar.
type entry struct {
	h    tar.Header
	data string
}

// hostile makes a tar with a right manifest for the files and then whatever.
func hostile(t testing.TB, m Manifest, list ...entry) []byte {
	t.Helper()
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range append([]entry{{tar.Header{Name: manifest}, string(text)}}, list...) {
		h := e.h
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(e.data))
		}
		h.Mode = 0o4777
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte(e.data)); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.Close()
	return out.Bytes()
}

func TestHostileArchives(t *testing.T) {
	m, files := sample()
	good, err := pack(m, files)
	if err != nil {
		t.Fatal(err)
	}
	real, _, err := unpack(bytes.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	plain := func(name, data string) entry { return entry{tar.Header{Name: name}, data} }
	all := []entry{plain("config.toml", "version = 1\n"), plain("relay/tls.pem", strings.Repeat("k", 3000)), plain("web/owner.json", "{}")}
	with := func(e ...entry) []byte { return hostile(t, real, append(append([]entry{}, all...), e...)...) }
	newer := real
	newer.Format = 2
	unnamed := real
	unnamed.Files = nil
	for name, tc := range map[string]struct {
		data []byte
		want error
	}{
		"as it is":                   {with(), nil},
		"a path upwards":             {with(plain("../etc/passwd", "x")), ErrNotBackup},
		"a path upwards in disguise": {with(plain("web/../../config.toml", "x")), ErrNotBackup},
		"an absolute path":           {with(plain("/data/config.toml", "x")), ErrNotBackup},
		"another name":               {with(plain("relay/spool/1", "x")), ErrNotBackup},
		"a folder":                   {with(entry{tar.Header{Name: "web/", Typeflag: tar.TypeDir}, ""}), ErrNotBackup},
		"a symlink":                  {with(entry{tar.Header{Name: "web/tls.pem", Typeflag: tar.TypeSymlink, Linkname: "/data/relay/tls.pem"}, ""}), ErrNotBackup},
		"a hard link":                {with(entry{tar.Header{Name: "web/tls.pem", Typeflag: tar.TypeLink, Linkname: "relay/tls.pem"}, ""}), ErrNotBackup},
		"a device":                   {with(entry{tar.Header{Name: "web/tls.pem", Typeflag: tar.TypeBlock}, ""}), ErrNotBackup},
		"a pipe":                     {with(entry{tar.Header{Name: "web/tls.pem", Typeflag: tar.TypeFifo}, ""}), ErrNotBackup},
		"twice":                      {with(plain("config.toml", "version = 1\n")), ErrNotBackup},
		"too large":                  {with(plain("system/lease.json", strings.Repeat("x", 64<<10+1))), ErrNotBackup},
		"not named":                  {with(plain("system/lease.json", "192.168.1.1\n")), ErrDamaged},
		"named, not there":           {hostile(t, real, all[:2]...), ErrDamaged},
		"nothing named":              {hostile(t, unnamed), ErrNotBackup},
		"changed":                    {hostile(t, real, plain("config.toml", "version = 2\n"), all[1], all[2]), ErrDamaged},
		"another order":              {hostile(t, real, all[1], all[0], all[2]), ErrDamaged},
		"a newer form":               {hostile(t, newer, all...), ErrNewer},
		"no manifest":                {with()[1024:], ErrNotBackup},
		"cut":                        {with()[:4000], ErrDamaged},
		"empty":                      {nil, ErrNotBackup},
	} {
		if _, _, err := unpack(bytes.NewReader(tc.data)); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
	for name, list := range map[string][]File{
		"foreign": append(files, File{Name: "relay/spool/1"}), "twice": append(files, files[0]), "none": nil,
		"large": {{Name: "config.toml", Data: make([]byte, 2<<20)}},
	} {
		if _, err := Seal(m, list, passphrase); err == nil {
			t.Errorf("%s: was written", name)
		}
	}
}

// FuzzUnpack: whatever a tar holds, only files of the list come out, whole and
// within their bounds.
func FuzzUnpack(f *testing.F) {
	m, files := sample()
	good, err := pack(m, files)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(hostile(f, m, entry{tar.Header{Name: "web/tls.pem", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, ""}))
	f.Add(hostile(f, Manifest{Format: 1}, entry{tar.Header{Name: "config.toml", PAXRecords: map[string]string{"GATEPOST.x": "y"}}, "v"}))
	if old, err := os.ReadFile(filepath.Join("testdata", "gnu.tar")); err == nil {
		f.Add(old)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, files, err := unpack(bytes.NewReader(data))
		if err != nil {
			if len(files) > 0 {
				t.Error("files beside an error")
			}
			return
		}
		if err := m.check(files); err != nil {
			t.Error(err)
		}
		total := 0
		for _, file := range files {
			e, ok := lookup(file.Name)
			if !ok || int64(len(file.Data)) > e.Max {
				t.Errorf("got %s with %d bytes", file.Name, len(file.Data))
			}
			total += len(file.Data)
		}
		if total > maxContent {
			t.Errorf("got %d bytes", total)
		}
	})
}
