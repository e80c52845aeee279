// Package disk makes the disk of a new box (Card: a partition table, the boot
// partition and the data partition, laid out as package layout says) and data
// file systems by themselves: an ext4, in a sparse file. The same Card or Spec
// gives the same bytes.
//
// The partition table and the boot partition's FAT32 are written by go-diskfs.
// For ext4 it calls mke2fs and debugfs (Debian package e2fsprogs), because a file
// system that is to survive power cuts should be written by the program that
// its kernel driver is tested with.
package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatepost/image/layout"
)

// DefaultSize is the size of a new data disk, in bytes. The file is sparse.
const DefaultSize = 256 << 20

// minSize is the least that holds the journal and something beside it.
const minSize = 16 << 20

// hashSeed is fixed as the ids in package layout are: a random one would make
// each build another.
const hashSeed = "2c7d9e50-3b84-4f16-8d0b-706f73746770"

// journalMB is the size of the journal in MB. It does not grow with the file
// system, so it is what a large disk needs, not what mke2fs gives a small one.
const journalMB = "8"

// growBlocks is how many blocks of 4 KiB the kernel can make of the mounted
// file system before it has to change its form: 2 TiB, the largest card.
const growBlocks = "536870912"

// A Spec describes the disk.
type Spec struct {
	// Size is in bytes; 0 means DefaultSize.
	Size int64
	// Files are what is on the disk at first, by their path without a
	// leading slash, such as config.toml. Folders on the way are made.
	Files map[string]File
	// Time is stamped on everything; the zero value means the year 2001,
	// long before any box was built.
	Time time.Time
}

// A File is a file that the disk has at first. It belongs to root unless UID
// and GID say otherwise.
type File struct {
	Data     []byte
	Mode     fs.FileMode // permission bits; 0 means 0600
	UID, GID int
}

// ext4 features, spelled out so that the machine's mke2fs.conf has no say.
const features = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg," +
	"sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum"

// Create writes a new disk to the file at name. A file that is there already
// is replaced, whole or not at all: Create is not for a disk with mail on it.
func Create(ctx context.Context, name string, s Spec) (err error) {
	if s.Size == 0 {
		s.Size = DefaultSize
	}
	if s.Size < minSize {
		return fmt.Errorf("disk: %d bytes, at least %d are needed", s.Size, minSize)
	}
	if s.Time.IsZero() {
		s.Time = time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(name), ".disk-*")
	if err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	content, img := filepath.Join(tmp, "content"), filepath.Join(tmp, "disk.img")
	if err := s.lay(content); err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	if err := sparse(img, s.Size); err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	if err := s.tool(ctx, nil, "mke2fs", "-q", "-F", "-t", "ext4", "-O", features,
		"-b", "4096", "-I", "256", "-m", "2", "-L", layout.DataLabel, "-U", layout.DataUUID, "-J", "size="+journalMB,
		"-E", "hash_seed="+hashSeed+",resize="+growBlocks+",root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,nodiscard",
		"-d", content, img); err != nil {
		return err
	}
	if err := s.tool(ctx, []byte(s.script()), "debugfs", "-w", "-f", "/dev/stdin", img); err != nil {
		return err
	}
	if err := os.Rename(img, name); err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	return nil
}

// lay writes the files into a folder, from which mke2fs takes them.
func (s Spec) lay(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		// debugfs reads the names in a script: no blanks, no quotes.
		if !fs.ValidPath(name) || name == "." || strings.ContainsAny(name, " \t\n\"'\\") {
			return fmt.Errorf("bad file name %q", name)
		}
		full := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(full, s.Files[name].Data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// script sets what mke2fs took from the builder's machine: owner, mode and
// times of each file and folder.
func (s Spec) script() string {
	var b strings.Builder
	stamp := s.Time.UTC().Format("20060102150405")
	set := func(name string, mode uint32, uid, gid int) {
		fields := [][2]string{
			{"mode", "0" + strconv.FormatUint(uint64(mode), 8)},
			{"uid", strconv.Itoa(uid)},
			{"gid", strconv.Itoa(gid)},
			{"atime", stamp},
			{"ctime", stamp},
			{"mtime", stamp},
			{"crtime", stamp},
			{"atime_extra", "0"},
			{"ctime_extra", "0"},
			{"mtime_extra", "0"},
			{"crtime_extra", "0"},
		}
		for _, f := range fields {
			fmt.Fprintf(&b, "set_inode_field /%s %s %s\n", name, f[0], f[1])
		}
	}
	const (
		folder  = 0o040755
		regular = 0o100000
	)
	folders := map[string]bool{"": true, "lost+found": true}
	for name := range s.Files {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			folders[dir] = true
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(folders)) {
		mode := uint32(folder)
		if dir == "lost+found" {
			mode = 0o040700
		}
		set(dir, mode, 0, 0)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		f := s.Files[name]
		perm := f.Mode.Perm()
		if perm == 0 {
			perm = 0o600
		}
		set(name, regular|uint32(perm), f.UID, f.GID)
	}
	return b.String()
}

// tool runs one of e2fsprogs' programs with a clock that stands still.
func (s Spec) tool(ctx context.Context, stdin []byte, name string, args ...string) error {
	program, err := find(name)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(),
		"E2FSPROGS_FAKE_TIME="+strconv.FormatInt(s.Time.Unix(), 10),
		"MKE2FS_CONFIG=/dev/null", "MKE2FS_SYNC=0", "TZ=UTC", "LC_ALL=C")
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("disk: %s: %w: %s", name, err, bytes.TrimSpace(stderr.Bytes()))
	}
	// debugfs ends with status 0 whatever happens. Its first line of
	// complaint is its name and version.
	complaint := bytes.TrimSpace(stderr.Bytes())
	if _, rest, _ := bytes.Cut(complaint, []byte("\n")); name == "debugfs" && len(rest) > 0 {
		return fmt.Errorf("disk: %s: %s", name, rest)
	}
	return nil
}

// Version gives the version of mke2fs, which decides the bytes of the file
// systems.
func Version(ctx context.Context) (string, error) {
	program, err := find("mke2fs")
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, program, "-V")
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("disk: mke2fs -V: %w: %s", err, bytes.TrimSpace(out))
	}
	// The first line is "mke2fs 1.47.0 (5-Feb-2023)".
	if f := strings.Fields(string(out)); len(f) > 1 && f[0] == "mke2fs" {
		return f[1], nil
	}
	return "", fmt.Errorf("disk: mke2fs -V tells no version: %s", bytes.TrimSpace(out))
}

// packages names where the programs are from that this package and its tests
// call.
var packages = map[string]string{
	"mke2fs": "e2fsprogs", "debugfs": "e2fsprogs", "e2fsck": "e2fsprogs", "dumpe2fs": "e2fsprogs", "resize2fs": "e2fsprogs",
	"sgdisk": "gdisk", "fsck.vfat": "dosfstools", "mdir": "mtools", "mtype": "mtools",
}

// find looks where ordinary users' PATH does not.
func find(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("disk: %s is not installed (Debian package %s)", name, packages[name])
}

// sparse makes a file of this size that takes no space.
func sparse(name string, size int64) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}
