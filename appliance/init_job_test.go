package appliance

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatepost/appliance/backup"
	"gatepost/appliance/control"
)

const staticConfig = rightConfig + "# the router is old\n[network]\nmode = \"static\"\naddress = \"192.168.1.30/24\"\ndns = [\"192.168.1.1\"]\n[relay]\nparallel = 9\n"

// lived is a disk after a year of work.
func lived() map[string]string {
	return map[string]string{
		configName: staticConfig, "system/" + lastGoodName: staticConfig, "system/time": "1", "system/lease.json": "192.168.1.30\n",
		"system/" + oldFormName: "old", "system/" + pendingName: "version = 1\n", "system/restarts.json": "{}",
		"relay/tls.pem": "relay key", "relay/gatepost.db": "history", "relay/spool/000001": "waiting mail",
		"web/tls.pem": "web key", "web/owner.json": "Anna", "stray": "x",
	}
}

// estateOf makes a disk of files, and a job.
func estateOf(t *testing.T, files map[string]string, j job) estate {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"system", "relay/spool", "web", "lost+found"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e := estate{owners: map[string]int{".": os.Getuid(), "system": os.Getuid(), RoleRelay: os.Getuid(), RoleWeb: os.Getuid()}}
	var err error
	if e.data, err = os.OpenRoot(dir); err == nil {
		e.system, err = os.OpenRoot(filepath.Join(dir, "system"))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.data.Close(); e.system.Close() })
	if err := writeJob(e.system, j); err != nil {
		t.Fatal(err)
	}
	return e
}

// files lists every file of the disk with its content.
func (e estate) files(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := fs.WalkDir(e.data.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(e.data.FS(), path)
		out[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// subsets are some of the ways in which a power cut can leave work half done:
// the first n names of an order are done.
func subsets(names []string) [][]string {
	var out [][]string
	for _, order := range [][]string{slices.Sorted(slices.Values(names)), func() []string { r := slices.Sorted(slices.Values(names)); slices.Reverse(r); return r }()} {
		for n := range len(order) + 1 {
			out = append(out, order[:n])
		}
	}
	return out
}

// After a factory reset nothing is left, also when the power went while it ran.
func TestFactoryReset(t *testing.T) {
	for _, gone := range subsets(slices.Collect(maps.Keys(lived()))) {
		left := lived()
		for _, name := range gone {
			delete(left, name)
		}
		e := estateOf(t, left, job{Op: control.OpFactoryReset, By: "Anna"})
		line, err := e.finishJob()
		if err != nil || !strings.Contains(line, "Anna") {
			t.Fatalf("%d gone before: got %q, %v", len(gone), line, err)
		}
		if got := e.files(t); len(got) != 0 {
			t.Errorf("%d gone before: got %v, want nothing", len(gone), got)
		}
		for _, folder := range []string{"system", "relay", "web"} {
			if _, err := e.data.Stat(folder); err != nil {
				t.Error(err)
			}
		}
		if line, err := e.finishJob(); line != "" || err != nil {
			t.Errorf("done again: %q, %v", line, err)
		}
	}
}

// What is erased is overwritten first: a second link to the file shows it.
func TestFactoryResetOverwritesSecrets(t *testing.T) {
	e := estateOf(t, lived(), job{Op: control.OpFactoryReset})
	dir := e.data.Name()
	outside := t.TempDir()
	for _, name := range []string{configName, "web/owner.json", "relay/tls.pem"} {
		if err := os.Link(filepath.Join(dir, name), filepath.Join(outside, filepath.Base(name))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.finishJob(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{configName, "owner.json", "tls.pem"} {
		if text, err := os.ReadFile(filepath.Join(outside, name)); err != nil || strings.Trim(string(text), "\x00") != "" {
			t.Errorf("%s: got %q, %v; want zeros", name, text, err)
		}
	}
}

func TestRecoveryReset(t *testing.T) {
	for name, tc := range map[string]struct {
		config, lastGood string
		want             string // config.toml afterwards, "" for none
	}{
		"right settings":      {staticConfig, staticConfig, "parallel = 9"},
		"broken, with a copy": {"relays = 1\n", staticConfig, "parallel = 9"},
		"broken, no copy":     {"relays = 1\n", "", ""},
		"none":                {"", "", ""},
	} {
		files := lived()
		files[configName], files["system/"+lastGoodName] = tc.config, tc.lastGood
		for _, f := range []string{configName, "system/" + lastGoodName} {
			if files[f] == "" {
				delete(files, f)
			}
		}
		e := estateOf(t, files, job{Op: control.OpRecoveryReset})
		if _, err := e.finishJob(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got := e.files(t)
		if _, owned := got["web/owner.json"]; owned {
			t.Errorf("%s: the box still has its owner", name)
		}
		if got["relay/spool/000001"] != "waiting mail" || got["web/tls.pem"] != "web key" || got["relay/gatepost.db"] != "history" {
			t.Errorf("%s: mail or keys are gone: %v", name, got)
		}
		f, _ := chooseSettings(e.data, e.system)
		if f.config.Network.Mode != "dhcp" || !strings.Contains(got[configName], tc.want) || (got[configName] == "") != (tc.want == "") {
			t.Errorf("%s: got mode %s and %q", name, f.config.Network.Mode, got[configName])
		}
		if tc.want == "" && tc.config != "" && got["system/"+asideName] != tc.config {
			t.Errorf("%s: the settings were not kept for a person", name)
		}
	}
}

// A restore gives the files of the backup and takes away what it does not
// have, also when the power went while it ran. Mail stays.
func TestRestore(t *testing.T) {
	saved := []backup.File{
		{Name: configName, Data: []byte(rightConfig)},
		{Name: "relay/tls.pem", Data: []byte("other relay key")},
		{Name: "web/owner.json", Data: []byte("Bert")},
	}
	text, err := json.Marshal(saved)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{configName, "relay/tls.pem", "web/owner.json", "web/tls.pem", "system/lease.json"}
	for _, done := range subsets(names) {
		files := lived()
		files["system/"+restoreName] = string(text)
		for _, name := range done {
			delete(files, name)
			for _, f := range saved {
				if f.Name == name {
					files[name] = string(f.Data)
				}
			}
		}
		e := estateOf(t, files, job{Op: control.OpRestore})
		if _, err := e.finishJob(); err != nil {
			t.Fatalf("%v done before: %v", done, err)
		}
		got := e.files(t)
		want := lived()
		for _, name := range []string{"web/tls.pem", "system/lease.json", "system/" + lastGoodName, "system/" + pendingName, "system/" + oldFormName} {
			delete(want, name)
		}
		for _, f := range saved {
			want[f.Name] = string(f.Data)
		}
		if !maps.Equal(got, want) {
			t.Errorf("%v done before: got %v, want %v", done, got, want)
		}
	}
	// The power went between the last two steps.
	e := estateOf(t, lived(), job{Op: control.OpRestore})
	if _, err := e.finishJob(); err != nil || e.files(t)["web/owner.json"] != "Anna" {
		t.Errorf("after the end: %v", err)
	}
}

func TestJobsThatAreNone(t *testing.T) {
	e := estateOf(t, lived(), job{Op: "format-everything"})
	if _, err := e.finishJob(); err == nil || len(e.files(t)) != len(lived())+1 {
		t.Errorf("an unknown job: got %v", err)
	}
	os.WriteFile(filepath.Join(e.system.Name(), jobName), []byte("{"), 0o600)
	if _, err := e.finishJob(); err == nil || len(e.files(t)) != len(lived()) {
		t.Errorf("a broken job: got %v", err)
	}
	if line, err := e.finishJob(); line != "" || err != nil {
		t.Errorf("no job: got %q, %v", line, err)
	}
	if line, err := (estate{}).finishJob(); line != "" || err != nil {
		t.Errorf("no disk: got %q, %v", line, err)
	}
}

// A backup of one box makes another one the same.
func TestBackupAndRestoreGiveTheSameSettings(t *testing.T) {
	from := estateOf(t, lived(), job{})
	p := &initProcess{InitOptions: InitOptions{Version: "1.2.3"}}
	p.data, p.system = from.data, from.system
	f, _ := chooseSettings(p.data, p.system)
	p.setInForce(f)
	const passphrase = "four quiet herons"
	a, err := p.doAct(control.Request{Op: control.OpBackup, Passphrase: passphrase})
	if err != nil {
		t.Fatal(err)
	}
	blank := &initProcess{}
	to := estateOf(t, nil, job{})
	blank.data, blank.system = to.data, to.system
	for _, wrong := range []control.Request{
		{Passphrase: "another passphrase", Backup: a.Backup}, {Passphrase: passphrase, Backup: a.Backup[:500]}, {Passphrase: passphrase},
	} {
		if _, err := blank.restore(wrong); code(err) == "" || len(to.files(t)) != 1 {
			t.Errorf("got %v, want it refused and nothing written", err)
		}
	}
	got, err := blank.restore(control.Request{Passphrase: passphrase, Backup: a.Backup, By: "Bert"})
	if err != nil {
		t.Fatal(err)
	}
	if want := f.shown().Hash; got.Contents.Hash != want || got.Contents.Box != "gate.office.example" {
		t.Errorf("got %+v, want hash %s", got.Contents, want)
	}
	if _, err := to.finishJob(); err != nil {
		t.Fatal(err)
	}
	after, err := chooseSettings(to.data, to.system)
	if err != nil || after.shown().Hash != f.shown().Hash || string(after.text) != staticConfig {
		t.Errorf("got %+v, %v", after, err)
	}
	if files := to.files(t); files["web/owner.json"] != "Anna" || files["relay/tls.pem"] != "relay key" || files["relay/spool/000001"] != "" {
		t.Errorf("got %v", files)
	}
}
