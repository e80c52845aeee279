package appliance

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"gatepost/appliance/backup"
	"gatepost/appliance/config"
	"gatepost/appliance/control"
	"gatepost/appliance/statefile"
)

// A job changes files that the roles hold open, or so many that a power cut
// could fall between them. It is written down first and done at the next start,
// before anything else looks at the disk. After a power cut it is done again
// from the beginning; each can be.
const (
	jobName     = "job.json"
	restoreName = "restore.json"          // the files that a restore puts back
	asideName   = "config.set-aside.toml" // settings that could not be taken over
	maxRestore  = 8 << 20                 // bytes
)

// job is the content of jobName.
type job struct {
	Op string `json:"op"` // control.OpFactoryReset, OpRecoveryReset or OpRestore
	By string `json:"by"` // who wanted it, for the console
}

// writeJob makes sure that a job is done at the next start.
func writeJob(system *os.Root, j job) error {
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return statefile.Write(system, jobName, text, 0o600)
}

// estate is the data disk as the jobs see it.
type estate struct {
	data, system *os.Root       // nil without a disk
	owners       map[string]int // user of each folder
}

// folderOwners are the users of the folders of the data disk.
func folderOwners() map[string]int {
	return map[string]int{".": rootUID, "system": rootUID, RoleRelay: relayUID, RoleWeb: webUID}
}

// finishJob does what was written down before the box stopped, if anything
// was, and returns a line for the console, "" for none. On an error the job
// stays and is tried again at the next start.
func (e estate) finishJob() (string, error) {
	if e.system == nil {
		return "", nil
	}
	text, err := statefile.Read(e.system, jobName, 4096)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	var j job
	if err == nil {
		err = json.Unmarshal(text, &j)
	}
	if err != nil {
		// Written whole or not at all: this is no work of ours.
		return "", errors.Join(fmt.Errorf("a job that was left cannot be read: %w", err), e.system.Remove(jobName))
	}
	line := ""
	switch j.Op {
	case control.OpFactoryReset:
		line, err = "everything on the data disk was erased", e.eraseFiles()
	case control.OpRecoveryReset:
		line, err = "the owner is forgotten and the address comes by DHCP; mail and the other settings are as they were", e.recoverAccess()
	case control.OpRestore:
		line, err = "the backup is restored", e.restoreFiles()
	default:
		err = fmt.Errorf("a job %q was left, which this version cannot do", j.Op)
	}
	if err != nil {
		return "", fmt.Errorf("%s, for %s: %w", j.Op, j.By, err)
	}
	if err := e.system.Remove(jobName); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, for %s: %s", j.Op, j.By, line), e.flushFolders()
}

// eraseFiles removes everything but the job itself: settings, the owner, keys,
// leases, the saved time, waiting mail and history. What is secret is
// overwritten first, which helps on a disk and not surely on flash memory. The
// folders of the roles stay, empty.
func (e estate) eraseFiles() error {
	var errs []error
	for _, name := range []string{
		RoleWeb + "/owner.json", RoleWeb + "/tls.pem", RoleRelay + "/tls.pem", configName,
		"system/" + lastGoodName, "system/" + pendingName, "system/" + oldFormName, "system/" + asideName, "system/" + restoreName,
	} {
		errs = append(errs, e.overwrite(name))
	}
	for folder := range e.owners {
		names, err := e.list(folder)
		errs = append(errs, err)
		for _, name := range names {
			full := path.Join(folder, name)
			if _, isFolder := e.owners[full]; isFolder || full == "system/"+jobName || full == "lost+found" {
				continue
			}
			errs = append(errs, e.data.RemoveAll(full))
		}
	}
	return errors.Join(append(errs, e.flushFolders())...)
}

func (e estate) list(folder string) ([]string, error) {
	d, err := e.data.Open(folder)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// overwrite fills a plain file with zeros and flushes it.
func (e estate) overwrite(name string) error {
	st, err := e.data.Lstat(name)
	if errors.Is(err, os.ErrNotExist) || err == nil && !st.Mode().IsRegular() {
		return nil
	}
	if err != nil {
		return err
	}
	f, err := e.data.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, min(st.Size(), maxRestore))); err != nil {
		return err
	}
	return f.Sync()
}

// recoverAccess forgets the owner and gets the address from the network again.
func (e estate) recoverAccess() error {
	if err := e.data.RemoveAll(RoleWeb + "/owner.json"); err != nil {
		return err
	}
	if err := e.system.Remove(pendingName); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, from := range []struct {
		root *os.Root
		name string
	}{{e.data, configName}, {e.system, lastGoodName}} {
		text, err := statefile.Read(from.root, from.name, maxConfig)
		if err != nil {
			continue // the other one may do
		}
		if next, ok := config.WithDHCP(string(text)); ok {
			if err := statefile.Write(e.data, configName, []byte(next), 0o600); err != nil {
				return err
			}
			return keepLastGood(e.system, []byte(next))
		}
	}
	// Neither can be changed: the box goes on with its built-in settings, which
	// use DHCP, and keeps the file for a person to look at.
	err := e.moveAside()
	if rm := e.system.Remove(lastGoodName); rm != nil && !errors.Is(rm, os.ErrNotExist) {
		err = errors.Join(err, rm)
	}
	return err
}

func (e estate) moveAside() error {
	text, err := statefile.Read(e.data, configName, maxConfig)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = statefile.Write(e.system, asideName, text, 0o600)
	}
	return errors.Join(err, e.data.Remove(configName))
}

// restoreFiles puts the files of a backup into their places, with their owners,
// and removes those of its kind that it does not have.
func (e estate) restoreFiles() error {
	text, err := statefile.Read(e.system, restoreName, maxRestore)
	if errors.Is(err, os.ErrNotExist) {
		return nil // it goes last: all of it was done before the power went
	}
	if err != nil {
		return err
	}
	var files []backup.File
	if err := json.Unmarshal(text, &files); err != nil {
		return err
	}
	for _, entry := range backup.Entries() {
		i := slices.IndexFunc(files, func(f backup.File) bool { return f.Name == entry.Name })
		if i < 0 {
			err = e.data.RemoveAll(entry.Name)
		} else {
			err = e.putBack(files[i])
		}
		if err != nil {
			return err
		}
	}
	for _, old := range []string{lastGoodName, pendingName, oldFormName} {
		if err := e.system.RemoveAll(old); err != nil {
			return err
		}
	}
	return errors.Join(e.overwrite("system/"+restoreName), e.system.Remove(restoreName))
}

// putBack writes one file for the user to whom its folder belongs.
func (e estate) putBack(f backup.File) error {
	folder, name := path.Split(f.Name)
	folder = path.Clean(folder)
	uid, known := e.owners[folder]
	if !known {
		return fmt.Errorf("%s has no place on this box", f.Name)
	}
	root, err := e.data.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := statefile.Write(root, name, f.Data, 0o600); err != nil {
		return err
	}
	return root.Lchown(name, uid, uid)
}

// flushFolders makes removals last.
func (e estate) flushFolders() error {
	var errs []error
	for folder := range e.owners {
		d, err := e.data.Open(folder)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = errors.Join(d.Sync(), d.Close())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
