package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Two things of go-diskfs's FAT32 (v1.9.4) are not as Microsoft's FAT
// specification (version 1.03) has them, and fsck.vfat would write on every
// card that was given to it:
//
//   - The entry ".." of a folder in the root folder names the root's cluster,
//     and must name 0.
//   - The number of free clusters is not filled in. It may be left out; then
//     whoever mounts the partition first has to count.
//
// mend puts both right. It knows only file systems as go-diskfs makes them:
// 512-byte sectors, and root entries in the root's first cluster.
type fat struct {
	rw             readWriterAt
	at             int64 // of the partition, in bytes
	cluster        int64 // size in bytes
	data           int64 // of cluster 2, from the partition's start
	table          []byte
	info           int64 // the sector with the number of free clusters
	clusters, root uint32
}

type readWriterAt interface {
	io.ReaderAt
	io.WriterAt
}

var errNotFAT = errors.New("not a FAT32 file system as go-diskfs makes it")

func openFAT(rw readWriterAt, at int64) (*fat, error) {
	b := make([]byte, sector)
	if _, err := rw.ReadAt(b, at); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	perCluster, reserved, copies := int64(b[13]), int64(le.Uint16(b[14:])), int64(b[16])
	total, perTable := int64(le.Uint32(b[32:])), int64(le.Uint32(b[36:]))
	data := (reserved + copies*perTable) * sector
	if le.Uint16(b[11:]) != sector || string(b[82:87]) != "FAT32" || perCluster == 0 || total*sector <= data || perTable > 1<<16 {
		return nil, errNotFAT
	}
	f := &fat{
		rw: rw, at: at, cluster: perCluster * sector, data: data,
		table: make([]byte, perTable*sector),
		info:  int64(le.Uint16(b[48:])) * sector,
		root:  le.Uint32(b[44:]),
	}
	f.clusters = uint32((total*sector - data) / f.cluster)
	if f.root < 2 || int64(f.clusters)+2 > perTable*sector/4 {
		return nil, errNotFAT
	}
	if _, err := rw.ReadAt(f.table, at+reserved*sector); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *fat) mend() error {
	const folder, entry = 0x10, 32
	root, err := f.read(f.root)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	for ; len(root) >= entry && root[0] != 0; root = root[entry:] {
		if root[11] != folder || root[0] == 0xe5 { // a file, the label, part of a long name, or deleted
			continue
		}
		number := uint32(le.Uint16(root[20:]))<<16 | uint32(le.Uint16(root[26:]))
		first, err := f.read(number)
		if err != nil {
			return err
		}
		parent := first[entry : 2*entry]
		if string(parent[:11]) != "..         " {
			return fmt.Errorf("%w: a folder does not begin with its parent", errNotFAT)
		}
		clear(parent[20:22])
		clear(parent[26:28])
		if _, err := f.rw.WriteAt(first[:2*entry], f.place(number)); err != nil {
			return err
		}
	}
	free := uint32(0)
	for n := range f.clusters {
		if le.Uint32(f.table[4*(n+2):])&0x0fffffff == 0 {
			free++
		}
	}
	_, err = f.rw.WriteAt(le.AppendUint32(nil, free), f.at+f.info+488)
	return err
}

func (f *fat) place(cluster uint32) int64 {
	return f.at + f.data + int64(cluster-2)*f.cluster
}

func (f *fat) read(cluster uint32) ([]byte, error) {
	if cluster < 2 || cluster-2 >= f.clusters {
		return nil, fmt.Errorf("%w: cluster %d of %d", errNotFAT, cluster, f.clusters)
	}
	b := make([]byte, f.cluster)
	_, err := f.rw.ReadAt(b, f.place(cluster))
	return b, err
}
