package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

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
	Message string // why not OK, or a warning
}

// OpenStorage finds the data disk, mounts it at target and prepares its
// folders. It never formats and never repairs: whatever goes wrong is told in
// the result, and the box goes on without the disk.
func OpenStorage(ctx context.Context, find DiskFinder, target string, folders []Folder) Storage {
	device, others, err := find.Find(ctx)
	if err != nil {
		return Storage{Missing: errors.Is(err, ErrNoDataDisk), Message: err.Error()}
	}
	if err := mountData(device, target); err != nil {
		return Storage{Device: device, Message: err.Error()}
	}
	if err := PrepareFolders(target, folders); err != nil {
		return Storage{Device: device, Message: err.Error()}
	}
	s := Storage{OK: true, Device: device}
	if len(others) > 0 {
		s.Message = fmt.Sprintf("more than one data disk: %v is not used", others)
	}
	return s
}

// mountData mounts with nothing executable on it. On an error of the medium
// the kernel makes it read-only, so that nothing is built on sand; the mail
// machine then answers 452 and the light says it.
func mountData(device, target string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("data disk %s: %w", device, err)
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME
	err := unix.Mount(device, target, "ext4", flags, "errors=remount-ro")
	switch {
	case errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.EUCLEAN), errors.Is(err, syscall.EBADMSG):
		return fmt.Errorf("data disk %s is damaged and was left as it is: %w", device, err)
	case err != nil:
		return fmt.Errorf("data disk %s cannot be mounted and was left as it is: %w", device, err)
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
