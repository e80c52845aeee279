package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"gatepost/image/layout"
)

// Template gives the empty data file system, layout.DataSize bytes, most of
// them zero. It is the same on every box, as built: the disk image has it as
// its data partition, and PID 1 writes it to format one.
func Template(ctx context.Context) (data []byte, err error) {
	dir, err := os.MkdirTemp("", "gatepost-disk-*")
	if err != nil {
		return nil, fmt.Errorf("disk: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	name := filepath.Join(dir, "data.ext4")
	if err := Create(ctx, name, Spec{Size: layout.DataSize}); err != nil {
		return nil, err
	}
	if data, err = os.ReadFile(name); err != nil {
		return nil, fmt.Errorf("disk: %w", err)
	}
	return data, nil
}
