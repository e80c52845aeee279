// Package initramfs writes the guest's first and only root file system: a
// newc cpio archive, compressed with zstd, that is the same byte for byte
// for the same input on any machine.
//
// It holds one executable, /init. There is no shell and no second program;
// the other regular files are kernel modules, the list of their order, and
// the data file system as it is before anything is in it.
// Everything belongs to root, and every time stamp is zero.
//
// It does not choose modules (package kernel does) and does not build the
// executable (package image does).
package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"

	"gatepost/image/layout"
)

// Where PID 1 finds the modules.
const (
	// ModuleDir holds the modules, without sub-folders.
	ModuleDir = "/lib/modules"
	// ModuleList names them, one file name a line, in the order in which
	// to load them.
	ModuleList = "/lib/modules.list"
)

// Content is what goes into the archive.
type Content struct {
	// Init is the static executable that becomes PID 1.
	Init []byte
	// Modules are the kernel modules in the order in which to load them.
	Modules []Module
	// DataTemplate is the compressed file system that goes to
	// layout.DataTemplate.
	DataTemplate []byte
}

// A Module is one kernel module's file.
type Module struct {
	Name string // file name without folder, such as virtio_net.ko
	Data []byte
}

// Modes of what is in the archive.
const (
	dirMode  = 0o755
	initMode = 0o755
	fileMode = 0o444
	ttyMode  = 0o600
)

// folders are the empty folders that PID 1 mounts on or writes into.
var folders = []string{"data", "dev", "etc", "etc/gatepost", "lib", "lib/modules", "proc", "run", "sys", "tmp"}

// records lists the archive's entries, parents before children.
func (c Content) records() ([]cpio.Record, error) {
	if len(c.Init) == 0 {
		return nil, errors.New("initramfs: no init")
	}
	if len(c.DataTemplate) == 0 {
		return nil, errors.New("initramfs: no data file system")
	}
	var records []cpio.Record
	for _, dir := range folders {
		records = append(records, cpio.Directory(dir, dirMode))
	}
	// The kernel opens /dev/console for PID 1 before PID 1 can mount /dev.
	records = append(records,
		cpio.CharDev("dev/console", ttyMode, 5, 1),
		cpio.StaticFile("init", string(c.Init), initMode),
		cpio.StaticFile(strings.TrimPrefix(layout.DataTemplate, "/"), string(c.DataTemplate), fileMode))
	var list strings.Builder
	seen := map[string]bool{}
	for _, m := range c.Modules {
		if m.Name == "" || m.Name != path.Base(m.Name) || strings.ContainsAny(m.Name, "\n\x00") {
			return nil, fmt.Errorf("initramfs: %q is not the name of a module's file", m.Name)
		}
		// cpio's writer would drop the second one without a word.
		if seen[m.Name] {
			return nil, fmt.Errorf("initramfs: module %s is there twice", m.Name)
		}
		seen[m.Name] = true
		list.WriteString(m.Name + "\n")
		records = append(records,
			cpio.StaticFile(strings.TrimPrefix(path.Join(ModuleDir, m.Name), "/"), string(m.Data), fileMode))
	}
	records = append(records, cpio.StaticFile(strings.TrimPrefix(ModuleList, "/"), list.String(), fileMode))
	cpio.MakeAllReproducible(records)
	return records, nil
}

// WriteArchive writes the archive, not compressed.
func (c Content) WriteArchive(w io.Writer) error {
	records, err := c.records()
	if err != nil {
		return err
	}
	archive := cpio.Newc.Writer(w)
	if err := cpio.WriteRecords(archive, records); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	if err := cpio.WriteTrailer(archive); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	return nil
}

// window is the compression window in bytes. The kernel sets as much memory
// aside while it unpacks, in a guest that may have 128 MB.
const window = 8 << 20

// Write writes the archive as the boot loader hands it to the kernel,
// compressed with zstd. It returns the archive's size before compression.
func (c Content) Write(w io.Writer) (raw int64, err error) {
	z, err := zstd.NewWriter(w,
		zstd.WithEncoderLevel(zstd.SpeedBestCompression),
		zstd.WithEncoderConcurrency(1), // the result must not depend on the number of CPUs
		zstd.WithWindowSize(window))
	if err != nil {
		return 0, fmt.Errorf("initramfs: %w", err)
	}
	count := &counter{w: z}
	err = c.WriteArchive(count)
	if closeErr := z.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("initramfs: %w", closeErr))
	}
	return count.n, err
}

// In reports whether a compressed archive holds exactly this content, and the
// archive's size before compression. Anything that cannot be read does not.
func (c Content) In(compressed []byte) (raw int64, same bool) {
	var want bytes.Buffer
	if c.WriteArchive(&want) != nil {
		return 0, false
	}
	z, err := zstd.NewReader(bytes.NewReader(compressed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window))
	if err != nil {
		return 0, false
	}
	defer z.Close()
	have, err := io.ReadAll(io.LimitReader(z, int64(want.Len())+1))
	return int64(want.Len()), err == nil && bytes.Equal(have, want.Bytes())
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
