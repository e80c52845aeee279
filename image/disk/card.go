package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/diskfs/go-diskfs/partition/gpt"

	"gatepost/image/layout"
)

// A Card describes the disk of a new box, as it is written to a card.
type Card struct {
	// UKI is what the firmware starts; it becomes slot A.
	UKI []byte
	// Data is the data partition's content, as Template gives it.
	Data []byte
	// Time is stamped on the files of the boot partition; UTC, and not before
	// 1980, where FAT's time begins.
	Time time.Time
}

// sector is the size of a sector in bytes, behindData the room for the GPT's
// second copy.
const (
	sector     = 512
	behindData = 1 << 20
	cardSize   = layout.DataStart + layout.DataSize + behindData
)

// Write makes the disk in the file at name, which is replaced, whole or not at
// all. The file is sparse. The same Card gives the same bytes.
//
// One Write at a time runs in a process: the library takes the time of the
// boot partition's files from the environment, where Write puts it.
func (c Card) Write(ctx context.Context, name string) (err error) {
	if len(c.UKI) > layout.SlotSize {
		return fmt.Errorf("disk: the UKI has %d bytes, and a slot takes %d", len(c.UKI), layout.SlotSize)
	}
	if len(c.Data) != layout.DataSize {
		return fmt.Errorf("disk: the data file system has %d bytes, want %d", len(c.Data), layout.DataSize)
	}
	if c.Time.Year() < 1980 || c.Time.Year() > 2107 {
		return fmt.Errorf("disk: FAT has no way to write the year %d", c.Time.Year())
	}
	dir, err := os.MkdirTemp(filepath.Dir(name), ".disk-*")
	if err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	img := filepath.Join(dir, "disk.img")
	if err := c.write(ctx, img); err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	if err := os.Rename(img, name); err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	return nil
}

func (c Card) write(ctx context.Context, name string) (err error) {
	if err := sparse(name, cardSize); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b := file.New(f, false)
	if err := table().Write(f, cardSize); err != nil {
		return fmt.Errorf("partition table: %w", err)
	}
	if err := c.boot(b); err != nil {
		return fmt.Errorf("boot partition: %w", err)
	}
	fat, err := openFAT(f, layout.BootStart)
	if err != nil {
		return fmt.Errorf("boot partition: %w", err)
	}
	if err := fat.mend(); err != nil {
		return fmt.Errorf("boot partition: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return writeSparse(f, c.Data, layout.DataStart)
}

// table is the partition table, by package layout.
func table() *gpt.Table {
	part := func(index int, start, size int64, kind, name, guid string) *gpt.Partition {
		return &gpt.Partition{
			Index: index, Start: uint64(start / sector), End: uint64((start+size)/sector - 1), Size: uint64(size),
			Type: gpt.Type(kind), Name: name, GUID: guid,
		}
	}
	return &gpt.Table{
		LogicalSectorSize: sector, PhysicalSectorSize: sector,
		GUID: layout.DiskGUID, ProtectiveMBR: true,
		Partitions: []*gpt.Partition{
			part(layout.BootIndex, layout.BootStart, layout.BootSize, layout.TypeESP, layout.BootName, layout.BootGUID),
			part(layout.DataIndex, layout.DataStart, layout.DataSize, layout.TypeData, layout.DataName, layout.DataGUID),
		},
	}
}

// clock guards the environment variable by which go-diskfs learns the time.
var clock sync.Mutex

const clockName = "SOURCE_DATE_EPOCH"

// boot makes the boot partition: slot A, and the folder for slot B.
func (c Card) boot(b backend.Storage) (err error) {
	clock.Lock()
	defer clock.Unlock()
	if old, was := os.LookupEnv(clockName); was {
		defer func() { err = errors.Join(err, os.Setenv(clockName, old)) }()
	} else {
		defer func() { err = errors.Join(err, os.Unsetenv(clockName)) }()
	}
	if err := os.Setenv(clockName, strconv.FormatInt(c.Time.Unix(), 10)); err != nil {
		return err
	}
	fs, err := fat32.Create(b, layout.BootSize, layout.BootStart, sector, layout.BootLabel, true)
	if err != nil {
		return err
	}
	for _, dir := range []string{path.Dir(layout.SlotA), path.Dir(layout.SlotB)} {
		if err := fs.Mkdir(dir); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	f, err := fs.OpenFile(layout.SlotA, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return fmt.Errorf("%s: %w", layout.SlotA, err)
	}
	_, err = f.Write(c.UKI)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", layout.SlotA, err)
	}
	return nil
}

// writeSparse writes data and leaves out what is zero: the file has nothing
// there yet.
func writeSparse(w io.WriterAt, data []byte, at int64) error {
	zeros := make([]byte, 4096)
	for len(data) > 0 {
		n := min(len(zeros), len(data))
		if !bytes.Equal(data[:n], zeros[:n]) {
			if _, err := w.WriteAt(data[:n], at); err != nil {
				return err
			}
		}
		data, at = data[n:], at+int64(n)
	}
	return nil
}
