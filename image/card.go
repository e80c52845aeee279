package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"gatepost/image/disk"
	"gatepost/image/kernel"
	"gatepost/image/manifest"
	"gatepost/image/uki"
)

// panicSeconds is how long a kernel that gives up stands still before it
// starts the box again; Debian's own value is for ever.
const panicSeconds = 10

// commandLine is the kernel's command line on a box. Who boots the kernel
// directly writes his own.
func (s Spec) commandLine() string {
	line := fmt.Sprintf("panic=%d quiet cma=0", panicSeconds)
	if c := s.Profile.Console; c != "" {
		line = "console=" + c + " " + line
	}
	return line
}

// osRelease is what the UKI says of itself, in the form of os-release(5). Boot
// loaders that choose among several sort by IMAGE_VERSION.
func (s Spec) osRelease() string {
	var b strings.Builder
	for _, kv := range [][2]string{
		{"ID", "gatepost"},
		{"NAME", "Gatepost"},
		{"PRETTY_NAME", "Gatepost " + s.Version},
		{"VERSION_ID", s.Version},
		{"IMAGE_ID", "gatepost"},
		{"IMAGE_VERSION", s.Version},
	} {
		fmt.Fprintf(&b, "%s=%q\n", kv[0], kv[1])
	}
	return b.String()
}

// uki makes the one file that firmware starts.
func (s Spec) uki(k kernel.Kernel, vmlinuz, initrd []byte) ([]byte, error) {
	return uki.Build(k.Stub.Program, uki.Content{
		OSRelease: s.osRelease(), CommandLine: s.commandLine(), Uname: k.Release,
		Linux: vmlinuz, Initrd: initrd,
	})
}

// card writes the disk, and once more compressed, for people who flash it.
func (s Spec) card(ctx context.Context, program, template []byte) ([]manifest.File, error) {
	fmt.Fprintln(s.Progress, "image: writing the disk")
	img := filepath.Join(s.Out, DiskName)
	c := disk.Card{UKI: program, Data: template, Time: s.BuildTime}
	if err := c.Write(ctx, img); err != nil {
		return nil, err
	}
	plain, err := os.Open(img)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	defer plain.Close()
	h := sha256.New()
	size := &counter{w: h}
	var packed bytes.Buffer
	fmt.Fprintln(s.Progress, "image: compressing the disk")
	if err := compress(&packed, io.TeeReader(plain, size), zstd.SpeedDefault); err != nil {
		return nil, err
	}
	if err := errors.Join(ctx.Err(), replace(filepath.Join(s.Out, PackedName), packed.Bytes())); err != nil {
		return nil, err
	}
	return []manifest.File{
		{Name: DiskName, Size: size.n, SHA256: hex.EncodeToString(h.Sum(nil))},
		describeFile(PackedName, packed.Bytes()),
	}, nil
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
