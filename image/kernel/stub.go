package kernel

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"
)

// A Stub is the EFI program that package uki puts in front of the kernel.
type Stub struct {
	Fetched
	// Program is the program itself, as Debian built it.
	Program []byte
	// Copyright is the package's list of licences; nil if it has none.
	Copyright []byte
}

// stubFile is the program's path in its package.
const stubFile = "usr/lib/systemd/boot/efi/linuxaa64.efi.stub"

// maxStub bounds a file of the stub's package in memory, in bytes.
const maxStub = 16 << 20

// readStub takes the two files out of the package, which is so small that
// nothing is kept unpacked.
func readStub(ctx context.Context, f Fetched) (*Stub, error) {
	s := &Stub{Fetched: f}
	err := readData(ctx, f.Path, func(tr *tar.Reader) error {
		for {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			name := path.Clean(h.Name)
			var to *[]byte
			switch {
			case name == stubFile:
				to = &s.Program
			case strings.HasPrefix(name, "usr/share/doc/") && path.Base(name) == copyrightFile:
				to = &s.Copyright
			default:
				continue
			}
			if h.Size > maxStub {
				return fmt.Errorf("%s has %d bytes, more than %d", name, h.Size, maxStub)
			}
			if *to, err = io.ReadAll(tr); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", filepath.Base(f.Path), err)
	}
	if len(s.Program) == 0 {
		return nil, fmt.Errorf("%s holds no %s", f.Package, stubFile)
	}
	return s, nil
}
