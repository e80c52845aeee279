package boot

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"gatepost/image/layout"
)

// Where the label is in the boot sector of a FAT file system, and its length.
const (
	fat32Label = 71
	fat16Label = 43
	fatLabel   = 11
	fatEnd     = 510 // 0x55 0xAA
)

// FindBoot returns the node of the boot partition: the FAT file system with our
// label, "" when there is none. Of several the first by name is meant.
func FindBoot(sysBlock, dev string) string {
	for _, name := range blockDevices(sysBlock) {
		path := filepath.Join(dev, strings.ReplaceAll(name, "!", "/"))
		if isBootFAT(path) {
			return path
		}
	}
	return ""
}

func isBootFAT(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	b := make([]byte, 512)
	if _, err := f.ReadAt(b, 0); err != nil || b[fatEnd] != 0x55 || b[fatEnd+1] != 0xAA {
		return false
	}
	for _, at := range []int{fat32Label, fat16Label} {
		if string(bytes.TrimRight(b[at:at+fatLabel], " ")) == layout.BootLabel {
			return true
		}
	}
	return false
}

// WithBoot mounts the boot partition at target for the time of use, to be read
// only unless write is true. A write is on the medium when WithBoot returns
// without an error.
func WithBoot(device, target string, write bool, use func(*os.Root) error) (err error) {
	if err := os.MkdirAll(target, 0o700); err != nil {
		return fmt.Errorf("boot partition: %w", err)
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME)
	if !write {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount(device, target, "vfat", flags, "umask=077,errors=remount-ro"); err != nil {
		return fmt.Errorf("boot partition %s: %w", device, err)
	}
	defer func() {
		if e := unix.Unmount(target, 0); e != nil {
			err = errors.Join(err, fmt.Errorf("boot partition %s: unmount: %w", device, e))
		}
	}()
	root, err := os.OpenRoot(target)
	if err != nil {
		return fmt.Errorf("boot partition: %w", err)
	}
	defer root.Close() // before the unmount
	return use(root)
}
