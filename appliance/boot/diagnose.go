package boot

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// errNotWritable is a medium on which nothing can be written: there is no sense
// in offering to format it.
var errNotWritable = errors.New("the disk is write-protected")

// diagnose says why the file system on a device cannot be mounted, as well as
// can be found out by reading: the kernel gives a number, and tells its log the
// rest.
func diagnose(device string, mountErr error) error {
	f, err := os.Open(device)
	if err != nil {
		return fmt.Errorf("it cannot be opened: %w", err)
	}
	defer f.Close()
	size, err := sizeOf(f)
	if err != nil {
		return err
	}
	if ro, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKROGET); err == nil && ro != 0 {
		return fmt.Errorf("%w: is the lock switch of the card set, or is the card worn out?", errNotWritable)
	}
	sb, err := readSuperblock(f, superblockOffset)
	switch {
	case errors.Is(err, ErrNotExt4), errors.Is(err, ErrSuperblock):
		if block := superblockCopy(f, size); block != 0 {
			return fmt.Errorf("its beginning is damaged, but a copy of what is lost there is whole (block %d, for e2fsck -b)", block)
		}
		if h, err := headOf(f); err == nil && h == headEmpty {
			return errors.New("it is empty")
		}
		if errors.Is(err, ErrSuperblock) {
			return ErrSuperblock
		}
		return errors.New("it holds no file system that the box knows")
	case err != nil:
		return fmt.Errorf("it cannot be read: %w", err)
	case sb.bytes() > size:
		return fmt.Errorf("its file system has %d MB and the disk only %d: is this the copy of a larger disk?", sb.bytes()>>20, size>>20)
	case errors.Is(mountErr, syscall.EIO), errors.Is(mountErr, syscall.EROFS), errors.Is(mountErr, syscall.EACCES):
		return fmt.Errorf("the disk does not take what the box must write to it: %w", mountErr)
	case errors.Is(mountErr, syscall.EINVAL), errors.Is(mountErr, syscall.EUCLEAN), errors.Is(mountErr, syscall.EBADMSG):
		return fmt.Errorf("its file system is damaged: %w", mountErr)
	}
	return mountErr
}
