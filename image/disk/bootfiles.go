package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"

	"gatepost/image/layout"
)

// A BootFile is a file of the boot partition.
type BootFile struct {
	Name string // with slashes, not at the beginning
	Data []byte
}

// BootFiles reads all files of the boot partition of a disk that Card wrote,
// sorted by folder and name. It is for comparing what we wrote ourselves, not
// for disks of strangers.
func BootFiles(img []byte) ([]BootFile, error) {
	if len(img) < layout.BootStart+layout.BootSize {
		return nil, errors.New("disk: too small for a boot partition")
	}
	b := file.New(image{bytes.NewReader(img)}, true)
	fat, err := fat32.Read(b, layout.BootSize, layout.BootStart, sector)
	if err != nil {
		return nil, fmt.Errorf("disk: boot partition: %w", err)
	}
	var files []BootFile
	err = fs.WalkDir(fat, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fat.ReadFile(name)
		files = append(files, BootFile{name, data})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("disk: boot partition: %w", err)
	}
	return files, nil
}

// image is a disk in memory, as the library takes it.
type image struct{ *bytes.Reader }

func (image) Stat() (fs.FileInfo, error) {
	return nil, errors.New("a disk in memory has no file information")
}
func (image) Close() error { return nil }
