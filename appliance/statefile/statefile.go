// Package statefile reads and replaces the small files in which the box keeps
// what it must know after a power cut: a file is either the old one or the new
// one, never half of each. It knows nothing of what is in them.
package statefile

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrTooLarge means that a file holds more than the caller wants to read.
var ErrTooLarge = errors.New("larger than expected")

// Write replaces the file name in root with data: it writes beside it, flushes,
// renames, and flushes the folder. On an error the old file is still there.
// name must not contain a path. Two writers of one name must not run at once.
func Write(root *os.Root, name string, data []byte, mode os.FileMode) (err error) {
	temp := name + ".new"
	// A rest from a power cut may have another owner or mode.
	if err := root.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("write %s: %w", name, err)
	}
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			root.Remove(temp)
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = root.Rename(temp, name)
	}
	if err == nil {
		err = syncFolder(root)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func syncFolder(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Read returns the content of the file name in root, at most limit bytes; a
// larger one is ErrTooLarge. A file that is not there is os.ErrNotExist.
func Read(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a plain file", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("read %s: %w", name, ErrTooLarge)
	}
	return data, nil
}
