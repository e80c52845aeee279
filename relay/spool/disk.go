package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Disk is the flat folder that a log lives in. A log is the only user of its
// folder. All methods may be called from several goroutines.
//
// Creating, renaming and removing are durable only after SyncDir; bytes and
// the size of a file only after Sync of a File of it.
type Disk interface {
	// List returns the names of the regular files, in any order.
	List() ([]string, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// Create makes an empty file; it is an error when the name exists.
	Create(name string) (File, error)
	// Rename gives a file a new name; an existing file of that name goes.
	Rename(from, to string) error
	Remove(name string) error
	SyncDir() error
	// Space returns the size of the file system and what of it is free for
	// this process, both in bytes.
	Space() (total, free int64, err error)
}

// File is an open file of a Disk.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Size returns the length of the file in bytes.
	Size() (int64, error)
	// Allocate makes the file at least size bytes long and reserves the
	// space, so that a later write within it does not fail for want of room.
	Allocate(size int64) error
	// Sync returns when every byte written before is durable. After an error
	// nothing may be assumed about bytes written since the last good Sync,
	// not even when they can be read back.
	Sync() error
}

// DirDisk returns the Disk that is the folder root. The caller closes root,
// after the log.
func DirDisk(root *os.Root) Disk { return dirDisk{root} }

type dirDisk struct{ root *os.Root }

func (d dirDisk) List() ([]string, error) {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (d dirDisk) Open(name string) (File, error) { return d.open(name, os.O_RDWR) }

func (d dirDisk) Create(name string) (File, error) {
	return d.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (d dirDisk) open(name string, flag int) (File, error) {
	f, err := d.root.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return dirFile{f}, nil
}

func (d dirDisk) Rename(from, to string) error { return d.root.Rename(from, to) }

func (d dirDisk) Remove(name string) error { return d.root.Remove(name) }

func (d dirDisk) SyncDir() error {
	f, err := d.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d dirDisk) Space() (total, free int64, err error) {
	f, err := d.root.Open(".")
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	var st unix.Statfs_t
	if err := onFD(f, func(fd int) error { return unix.Fstatfs(fd, &st) }); err != nil {
		return 0, 0, fmt.Errorf("statfs: %w", err)
	}
	block := int64(st.Bsize)
	// Blocks kept for root are not ours: leave them out of the total too.
	avail := int64(st.Bavail)
	return (int64(st.Blocks) - int64(st.Bfree) + avail) * block, avail * block, nil
}

type dirFile struct{ *os.File }

func (f dirFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f dirFile) Allocate(size int64) error {
	err := onFD(f.File, func(fd int) error { return unix.Fallocate(fd, 0, 0, size) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		// A file system without reservation: the size alone must do.
		return f.Truncate(size)
	}
	return err
}

// Sync flushes the data and what is needed to find it again; times are not.
func (f dirFile) Sync() error {
	return onFD(f.File, unix.Fdatasync)
}

// onFD calls fn with the descriptor of f and repeats it while a signal
// interrupts it.
func onFD(f *os.File, fn func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = conn.Control(func(fd uintptr) {
		for {
			if inner = fn(int(fd)); inner != unix.EINTR {
				return
			}
		}
	})
	return errors.Join(err, inner)
}
