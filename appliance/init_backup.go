package appliance

import (
	"encoding/json"
	"errors"
	"os"
	"path"
	"runtime/debug"
	"time"

	"gatepost/appliance/backup"
	"gatepost/appliance/config"
	"gatepost/appliance/control"
	"gatepost/appliance/statefile"
)

// makeBackup collects what is in a backup from the folders of all roles and
// seals it.
func (p *initProcess) makeBackup(r control.Request) (control.Answer, error) {
	if p.data == nil {
		return control.Answer{}, refusal(control.CodeNoDisk, "there is no data disk, so there is nothing to save")
	}
	files, err := collect(p.data)
	if err != nil {
		return control.Answer{}, err
	}
	f := p.inForce()
	m := backup.Manifest{Box: f.config.Hostname, Version: p.Version, Time: time.Now().UTC().Truncate(time.Second), ConfigHash: config.Hash(f.config)}
	defer debug.FreeOSMemory() // the passphrase took more than all else of this process
	sealed, err := backup.Seal(m, files, string(r.Passphrase))
	if errors.Is(err, backup.ErrShort) {
		return control.Answer{}, refusal(control.CodePassphrase, "%v", err)
	}
	if err != nil {
		return control.Answer{}, err
	}
	return control.Answer{Backup: sealed}, nil
}

// collect reads the files of a backup. Without config.toml there is nothing
// that is worth one.
func collect(data *os.Root) ([]backup.File, error) {
	var files []backup.File
	for _, e := range backup.Entries() {
		folder, name := path.Split(e.Name)
		root, err := data.OpenRoot(path.Clean(folder))
		if err == nil {
			var text []byte
			text, err = statefile.Read(root, name, e.Max)
			root.Close()
			if err == nil {
				files = append(files, backup.File{Name: e.Name, Data: text})
			}
		}
		switch {
		case errors.Is(err, os.ErrNotExist) && e.Needed:
			return nil, refusal(control.CodeFailed, "there are no settings on the data disk yet: save some first")
		case err != nil && !errors.Is(err, os.ErrNotExist):
			return nil, err
		}
	}
	return files, nil
}

// restore checks a backup whole and lays it ready for the next start, which it
// asks for. On an error nothing was changed.
func (p *initProcess) restore(r control.Request) (control.Answer, error) {
	if p.data == nil {
		return control.Answer{}, refusal(control.CodeNoDisk, "nothing can be restored without the data disk")
	}
	defer debug.FreeOSMemory()
	m, files, err := backup.Open(r.Backup, string(r.Passphrase))
	switch {
	case errors.Is(err, backup.ErrPassphrase):
		return control.Answer{}, refusal(control.CodePassphrase, "%v", err)
	case err != nil:
		return control.Answer{}, refusal(control.CodeBadBackup, "%v", err)
	}
	c, err := settingsOf(files)
	if err != nil {
		return control.Answer{}, err
	}
	text, err := json.Marshal(files)
	if err == nil {
		err = statefile.Write(p.system, restoreName, text, 0o600)
	}
	if err == nil {
		err = writeJob(p.system, job{Op: control.OpRestore, By: who(r)})
	}
	if err != nil {
		return control.Answer{}, err
	}
	return control.Answer{Contents: &control.Contents{Box: m.Box, Version: m.Version, Time: m.Time, Hash: config.Hash(c)}}, nil
}

// settingsOf reads the settings of a backup: wrong ones would leave a box on
// which no mail passes.
func settingsOf(files []backup.File) (config.Config, error) {
	for _, f := range files {
		if f.Name != configName {
			continue
		}
		c, err := config.Parse(configName, f.Data)
		if err != nil {
			return config.Config{}, &control.ActError{
				Code: control.CodeInvalid, Text: "the settings in the backup have faults; nothing was changed", Faults: config.Faults(err),
			}
		}
		return c, nil
	}
	return config.Config{}, refusal(control.CodeBadBackup, "there are no settings in the backup")
}
