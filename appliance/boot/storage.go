package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// DataDir is where the data disk is mounted.
const DataDir = "/data"

// Folder is a folder of the data disk and who owns it.
type Folder struct {
	Name     string
	UID, GID int
	Mode     os.FileMode
}

// Storage is what became of the data disk.
type Storage struct {
	OK      bool
	Device  string // "" when none was found
	Missing bool   // no disk with our label; false with OK false: it is there but of no use
	// Erasable says that it is ours without doubt, so that FormatData can make
	// an empty one of it. It is false for one that is of no use to write on.
	Erasable bool
	Message  string   // why not OK, or a warning
	Done     []string // what was done to it, for the console
}

// Opener opens the data disk.
type Opener struct {
	Find    DiskFinder
	Target  string // folder on which it is mounted
	Folders []Folder
	// Template is an empty data file system for FormatData. nil: a partition
	// that is empty stays so.
	Template []byte
}

// Open finds the data disk, makes it as large as it can be, mounts it and
// prepares its folders. It formats a data partition of ours that holds nothing
// but zeros, and one that FormatData has begun; nothing else, and it repairs no
// file system: whatever goes wrong is told in the result, and the box goes on
// without the disk.
func (o Opener) Open(ctx context.Context) Storage {
	found, err := o.Find.Find(ctx)
	if err != nil {
		return Storage{Missing: errors.Is(err, ErrNoDataDisk), Message: err.Error()}
	}
	s := Storage{Device: found.Device}
	var warnings []string
	step := func(said string, err error) {
		if said != "" {
			s.Done = append(s.Done, said)
		}
		if err != nil {
			warnings = append(warnings, err.Error())
		}
	}
	if len(found.Others) > 0 {
		warnings = append(warnings, fmt.Sprintf("more than one data disk: %s is used, %s is not", found.Device, strings.Join(found.Others, ", ")))
	}
	if found.Disk != "" {
		step(growPartition(found.Disk))
		step(fillEmpty(found.Device, o.Template))
	}
	if err := mountData(found.Device, o.Target); err != nil {
		s.Erasable = !errors.Is(err, errNotWritable)
		s.Message = strings.Join(append([]string{err.Error()}, warnings...), "; ")
		return s
	}
	step(growFileSystem(found.Device, o.Target))
	if err := PrepareFolders(o.Target, o.Folders); err != nil {
		s.Message = err.Error()
		return s
	}
	s.OK, s.Message = true, strings.Join(warnings, "; ")
	return s
}

// fillEmpty formats a data partition that has never held anything, or whose
// formatting was cut off.
func fillEmpty(device string, template []byte) (said string, err error) {
	f, err := os.Open(device)
	if err != nil {
		return "", fmt.Errorf("data disk: %w", err)
	}
	h, err := headOf(f)
	f.Close()
	if err != nil || h == headUsed {
		return "", nil // what is wrong with it is said when it is mounted
	}
	if template == nil {
		return "", errors.New("the data partition is empty, and this image has no empty file system for it")
	}
	if err := FormatData(device, template); err != nil {
		return "", err
	}
	if h == headBegun {
		return "the formatting that was cut off is done", nil
	}
	return "the data partition was empty and is formatted", nil
}

// mountOptions of the data file system, each for a reason:
//
//   - data=ordered: the data of a file is on the medium before the metadata
//     that makes it visible, so that no file shows what was in its blocks
//     before. A journal of the data as well would write everything twice and
//     buy nothing: whatever must survive a power cut is flushed by its writer.
//   - barrier=1: the journal waits for the medium's own cache. It is the
//     default, spelled out because everything rests on it.
//   - commit=30: what nobody flushed may be written up to 30 s later, six times
//     the usual, for the sake of flash.
//   - errors=remount-ro: after an error of the medium or of the metadata nothing
//     is built on sand; mail is answered with 452 and the light says it.
//
// The flags besides: nothing on the disk is a program or a device, and reading
// a file writes nothing.
const (
	mountOptions = "data=ordered,barrier=1,commit=30,errors=remount-ro"
	mountFlags   = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME
)

// mountData mounts the file system, or says in words why it cannot be.
func mountData(device, target string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("data disk %s: %w", device, err)
	}
	if err := unix.Mount(device, target, "ext4", mountFlags, mountOptions); err != nil {
		return fmt.Errorf("the data disk %s was left as it is: %w", device, diagnose(device, err))
	}
	return nil
}

// PrepareFolders makes the folders of the data disk and gives them their
// owners and modes. It also shows whether the disk can be written.
func PrepareFolders(target string, folders []Folder) error {
	for _, f := range folders {
		path := filepath.Join(target, f.Name)
		if err := os.Mkdir(path, f.Mode); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("data disk: %w", err)
		}
		if err := os.Lchown(path, f.UID, f.GID); err != nil {
			return fmt.Errorf("data disk: %w", err)
		}
		if err := os.Chmod(path, f.Mode); err != nil {
			return fmt.Errorf("data disk: %w", err)
		}
	}
	return nil
}

// DiskSpace returns the size of the file system at path and what a process
// without privileges may still use, in bytes.
func DiskSpace(path string) (total, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, 0, fmt.Errorf("space on %s: %w", path, err)
	}
	size := int64(st.Bsize) //nolint:unconvert // 32 bits on some platforms
	// Blocks that only root may use count as used: the relay cannot have them.
	return int64(st.Blocks-st.Bfree+st.Bavail) * size, int64(st.Bavail) * size, nil
}

// ReadOnly reports whether the file system at path can only be read, which is
// what the kernel makes of a disk that fails.
func ReadOnly(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Flags&unix.ST_RDONLY != 0
}
