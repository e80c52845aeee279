package store

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	bolt "go.etcd.io/bbolt"
)

const (
	// A database of more than minCompact bytes of which more than half is free
	// is written anew by Open.
	minCompact = 8 << 20
	// compactTx bounds the transactions of that, in bytes.
	compactTx     = 1 << 20
	compactSuffix = ".compact"
)

// compact makes the file smaller when much of it is free: bbolt never gives
// space back. Of the file, which verify has approved, used bytes are in use.
// The copy is durable before it takes the name. After an error the database is
// what it was.
func compact(root *os.Root, name string, used int64, log *slog.Logger) (err error) {
	temp := name + compactSuffix
	if err := root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // of an earlier start that was cut off
	}
	info, err := root.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Size() <= minCompact || used*2 >= info.Size() {
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errDamaged, r)
		}
		if err != nil {
			err = errors.Join(err, ignoreMissing(root.Remove(temp)))
		}
	}()
	if err := copyDatabase(root, temp, name); err != nil {
		return err
	}
	if err := root.Rename(temp, name); err != nil {
		return err
	}
	log.Info("store: the database was made smaller", "from", info.Size(), "used", used)
	folder, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func copyDatabase(root *os.Root, to, from string) error {
	src, err := openBolt(root, from)
	if err != nil {
		return err
	}
	dst, err := openBolt(root, to)
	if err != nil {
		return errors.Join(err, src.Close())
	}
	dst.NoSync = true // one flush at the end is enough: nobody relies on it before
	err = bolt.Compact(dst, src, compactTx)
	if err == nil {
		err = dst.Sync()
	}
	return errors.Join(err, dst.Close(), src.Close())
}
