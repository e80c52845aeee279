package boot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"gatepost/appliance/gpt"
	"gatepost/image/layout"
)

// Partitions of the box's disk, see package layout.
var (
	bootPartition = partition(layout.BootIndex, layout.TypeESP, layout.BootGUID, layout.BootName, layout.BootStart, layout.BootSize)
	dataPartition = partition(layout.DataIndex, layout.TypeData, layout.DataGUID, layout.DataName, layout.DataStart, layout.DataSize)
	diskID        = guid(layout.DiskGUID)
)

func partition(number int, kind, id, name string, start, size uint64) gpt.Partition {
	return gpt.Partition{
		Number: number, Type: guid(kind), ID: guid(id), Name: name,
		First: start / gpt.SectorSize, Last: (start+size)/gpt.SectorSize - 1,
	}
}

// guid is for the constants of package layout; a test reads them all.
func guid(s string) gpt.GUID {
	g, err := gpt.ParseGUID(s)
	if err != nil {
		panic(err)
	}
	return g
}

// isOurs reports whether a table is exactly the one that the image has, but for
// the size of the data partition, which the first start makes larger.
func isOurs(t *gpt.Table) bool {
	if t.Disk != diskID || len(t.Partitions) != 2 {
		return false
	}
	data := t.Partitions[1]
	larger := data.Last >= dataPartition.Last
	data.Last = dataPartition.Last
	return larger && t.Partitions[0] == bootPartition && data == dataPartition
}

// tableOf reads the partition table of a disk; the error says why it is not
// ours.
func tableOf(disk *os.File) (*gpt.Table, int64, error) {
	size, err := sizeOf(disk)
	if err != nil {
		return nil, 0, err
	}
	t, err := gpt.Read(disk, size)
	if err != nil {
		return nil, size, err
	}
	if !isOurs(t) {
		return nil, size, errors.New("the partition table is not that of a Gatepost")
	}
	return t, size, nil
}

// sizeOf is the size of a block device, or of a file, in bytes.
func sizeOf(f *os.File) (int64, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", f.Name(), err)
	}
	return size, nil
}

// partitionNode is how the kernel names the node of a partition.
func partitionNode(disk string, number int) string {
	if c := disk[len(disk)-1]; c >= '0' && c <= '9' {
		return fmt.Sprintf("%sp%d", disk, number)
	}
	return fmt.Sprintf("%s%d", disk, number)
}

// growPartition makes the data partition of the disk as large as the disk, and
// mends a primary table that is damaged when the backup is whole. It touches
// no table but ours. said is what was done, "" when there was nothing to do.
// The disk may be in use.
func growPartition(disk string) (said string, err error) {
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		return "", fmt.Errorf("partition table: %w", err)
	}
	defer f.Close()
	// A write that the medium refuses would be told by a later flush only.
	if ro, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKROGET); err == nil && ro != 0 {
		return "", nil
	}
	if n, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKSSZGET); err == nil && n != gpt.SectorSize {
		return "", fmt.Errorf("partition table: %s has sectors of %d bytes", disk, n)
	}
	t, size, err := tableOf(f)
	if err != nil {
		return "", fmt.Errorf("partition table: %s: %w", disk, err)
	}
	g, changed, err := t.Grown(f, size)
	if err != nil || !changed {
		return "", err
	}
	if err := g.Write(f, t); err != nil {
		return "", err
	}
	before, after := t.Partitions[1], g.Partitions[1]
	switch {
	case t.FromBackup:
		// The kernel has no partition of this disk yet, so nothing holds it.
		if err := unix.IoctlSetInt(int(f.Fd()), unix.BLKRRPART, 0); err != nil {
			return "", fmt.Errorf("partition table: %s: the kernel does not read it again: %w", disk, err)
		}
		said = "the partition table was damaged and is mended from its backup"
	case after.Last > before.Last:
		if err := resizePartition(f, after); err != nil {
			return "", fmt.Errorf("partition table: %s: the kernel does not take the new size before a restart: %w", disk, err)
		}
	}
	if after.Last > before.Last && said == "" {
		said = fmt.Sprintf("the data partition grew from %d to %d MB", before.Size()>>20, after.Size()>>20)
	}
	return said, nil
}

// resizePartition tells the kernel the new size of a partition, which may be
// mounted, as may its neighbour.
func resizePartition(disk *os.File, p gpt.Partition) error {
	part := unix.BlkpgPartition{Start: int64(p.First) * gpt.SectorSize, Length: p.Size(), Pno: int32(p.Number)}
	arg := unix.BlkpgIoctlArg{Op: unix.BLKPG_RESIZE_PARTITION, Datalen: int32(unsafe.Sizeof(part)), Data: (*byte)(unsafe.Pointer(&part))}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, disk.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg))); errno != 0 {
		return errno
	}
	return nil
}

// resizeExt4 is EXT4_IOC_RESIZE_FS, _IOW('f', 16, __u64).
const resizeExt4 = 0x40086610

// growFileSystem makes the mounted file system as large as its device. said is
// what was done, "" when there was nothing to do. A power cut leaves the size
// of before or one between, and the next start goes on.
func growFileSystem(device, target string) (said string, err error) {
	d, err := os.Open(device)
	if err != nil {
		return "", fmt.Errorf("grow: %w", err)
	}
	defer d.Close()
	size, err := sizeOf(d)
	if err != nil {
		return "", err
	}
	sb, err := readSuperblock(d, superblockOffset)
	if err != nil {
		return "", fmt.Errorf("grow: %w", err)
	}
	blocks := uint64(size / sb.blockSize)
	if blocks <= uint64(sb.blocks) {
		return "", nil
	}
	root, err := os.Open(target)
	if err != nil {
		return "", fmt.Errorf("grow: %w", err)
	}
	defer root.Close()
	before, _, err := DiskSpace(target)
	if err != nil {
		return "", err
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, root.Fd(), resizeExt4, uintptr(unsafe.Pointer(&blocks))); errno != 0 {
		return "", fmt.Errorf("the file system could not be made as large as its partition: %w", errno)
	}
	after, _, err := DiskSpace(target)
	if err != nil || after == before { // less than a group is too little
		return "", err
	}
	return fmt.Sprintf("the file system grew from %d to %d MB", before>>20, after>>20), nil
}
