package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// ownerFile is the name of the owner record in its directory.
const ownerFile = "owner.json"

// ErrNoOwner means that the box has no owner yet: it can be claimed.
var ErrNoOwner = errors.New("session: no owner")

// ErrOwned means that the box has an owner already. Nothing was changed.
var ErrOwned = errors.New("session: the box has an owner already")

// Owner is the person to whom the box belongs.
type Owner struct {
	Version  int       `json:"version"` // 1
	Name     string    `json:"name"`
	Password string    `json:"password"` // argon2id, PHC string form
	Created  time.Time `json:"created"`  // by the box's clock, which may have been wrong
}

// LoadOwner reads the owner record. ErrNoOwner is the only error that means
// "unclaimed": after any other one the box must not be claimable, because a
// record that cannot be read may well exist.
func LoadOwner(dir *os.Root) (Owner, error) {
	f, err := dir.Open(ownerFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Owner{}, ErrNoOwner
	}
	if err != nil {
		return Owner{}, fmt.Errorf("session: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return Owner{}, fmt.Errorf("session: %w", err)
	}
	var o Owner
	if err := json.Unmarshal(data, &o); err != nil {
		return Owner{}, fmt.Errorf("session: %s: %w", ownerFile, err)
	}
	if o.Version != 1 {
		return Owner{}, fmt.Errorf("session: %s: version %d is not known", ownerFile, o.Version)
	}
	if _, _, _, _, _, err := parseHash(o.Password); err != nil || o.Name == "" {
		return Owner{}, fmt.Errorf("session: %s: %w", ownerFile, ErrBadHash)
	}
	return o, nil
}

// CreateOwner writes the first owner record, durably and whole or not at all.
// ErrOwned means that there is one. Calls must not overlap.
func CreateOwner(dir *os.Root, o Owner) error {
	switch _, err := LoadOwner(dir); {
	case err == nil:
		return ErrOwned
	case !errors.Is(err, ErrNoOwner):
		return err
	}
	o.Version = 1
	data, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	if err := writeFile(dir, ownerFile, append(data, '\n')); err != nil {
		return fmt.Errorf("session: saving the owner: %w", err)
	}
	return nil
}

// writeFile replaces a file such that after a power cut there is the old one or
// the new one: temporary file, fsync, rename, fsync of the directory.
func writeFile(dir *os.Root, name string, data []byte) (err error) {
	tmp := name + ".new"
	f, err := dir.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			dir.Remove(tmp)
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err := dir.Rename(tmp, name); err != nil {
		return err
	}
	d, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
