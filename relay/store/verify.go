package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
)

// The file format of bbolt, version 2: pages of one size; the first two are
// meta pages, the valid one with the higher transaction number counts.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	pageHeader  = 16
	elementSize = 16
	flagBranch  = 0x01
	flagLeaf    = 0x02
	flagBucket  = 0x01 // of a leaf element
	bucketSize  = 16   // root page and sequence
	maxDepth    = 64
)

// verify reads every page that can be reached and checks its structure. bbolt
// maps the file into memory and trusts what it finds: a page that points
// nowhere would end the process. It returns how many bytes of the file are in
// use. The error is nil when there is no file, and errDamaged when it cannot be
// used.
func verify(root *os.Root, name string) (used int64, err error) {
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if info.Size() == 0 {
		return 0, nil // bbolt makes a new one of it
	}
	v := verifier{f: f, size: info.Size(), seen: make(map[uint64]bool)}
	top, err := v.meta()
	if err == nil {
		_, err = v.tree(top, 0, nil, nil)
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return int64(len(v.seen)+2) * pageSize, nil
}

type verifier struct {
	f    *os.File
	size int64
	high uint64 // no page has this number or a higher one
	seen map[uint64]bool
}

// meta returns the root page of the newest transaction.
func (v *verifier) meta() (top uint64, err error) {
	var newest uint64
	found := false
	for page := range int64(2) {
		b := make([]byte, pageHeader+64)
		if _, err := v.f.ReadAt(b, page*pageSize); err != nil {
			continue
		}
		b = b[pageHeader:]
		le := binary.LittleEndian
		sum := fnv.New64a()
		sum.Write(b[:56])
		if le.Uint32(b) != boltMagic || le.Uint32(b[4:]) != boltVersion || le.Uint32(b[8:]) != pageSize || le.Uint64(b[56:]) != sum.Sum64() {
			continue
		}
		if tx := le.Uint64(b[48:]); !found || tx > newest {
			found, newest = true, tx
			top, v.high = le.Uint64(b[16:]), le.Uint64(b[40:])
		}
	}
	if !found {
		return 0, errors.New("no valid meta page")
	}
	return top, nil
}

// tree checks the page id and everything below it. Its keys must not be less
// than low and must be less than high, where these are not nil; it returns the
// greatest of them. (bbolt checks the same when it opens a file for writing, but
// it panics, beside a goroutine that goes on reading.)
func (v *verifier) tree(id uint64, depth int, low, high []byte) (greatest []byte, err error) {
	if id < 2 || id >= v.high || depth > maxDepth {
		return nil, fmt.Errorf("page %d does not exist", id)
	}
	head := make([]byte, pageHeader)
	if _, err := v.f.ReadAt(head, int64(id)*pageSize); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	le := binary.LittleEndian
	pages := uint64(le.Uint32(head[12:])) + 1
	if le.Uint64(head) != id || pages > v.high-id || int64(id+pages)*pageSize > v.size {
		return nil, fmt.Errorf("page %d has a wrong header", id)
	}
	for p := id; p < id+pages; p++ {
		if v.seen[p] {
			return nil, fmt.Errorf("page %d is used twice", p)
		}
		v.seen[p] = true
	}
	b := make([]byte, pages*pageSize)
	if _, err := v.f.ReadAt(b, int64(id)*pageSize); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	if greatest, err = v.page(b, depth, low, high); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return greatest, nil
}

// page checks the elements of a page, or of a small bucket that is kept in the
// value of its parent. The bounds of the keys are those of tree.
func (v *verifier) page(b []byte, depth int, low, high []byte) (greatest []byte, err error) {
	le := binary.LittleEndian
	flags, count := le.Uint16(b[8:]), int(le.Uint16(b[10:]))
	if flags != flagBranch && flags != flagLeaf || pageHeader+count*elementSize > len(b) || flags == flagBranch && count == 0 {
		return nil, errors.New("wrong header")
	}
	greatest = low
	for i := range count {
		at := pageHeader + i*elementSize
		e := b[at:]
		var pos, keyLen, valueLen uint64
		if flags == flagLeaf {
			pos, keyLen, valueLen = uint64(le.Uint32(e[4:])), uint64(le.Uint32(e[8:])), uint64(le.Uint32(e[12:]))
		} else {
			pos, keyLen = uint64(le.Uint32(e)), uint64(le.Uint32(e[4:]))
		}
		if pos < uint64((count-i)*elementSize) || uint64(at)+pos+keyLen+valueLen > uint64(len(b)) {
			return nil, fmt.Errorf("element %d lies outside", i)
		}
		data := e[pos:]
		key, value := data[:keyLen], data[keyLen:][:valueLen]
		c := bytes.Compare(greatest, key)
		if c > 0 || i > 0 && c == 0 || high != nil && bytes.Compare(key, high) >= 0 {
			return nil, fmt.Errorf("element %d is out of order", i)
		}
		switch {
		case flags == flagBranch:
			next := high
			if i+1 < count {
				if next, err = branchKey(b, i+1); err != nil {
					return nil, err
				}
			}
			greatest, err = v.tree(le.Uint64(e[8:]), depth+1, key, next)
		case le.Uint32(e)&flagBucket != 0:
			greatest, err = key, v.bucket(value, depth+1)
		default:
			greatest = key
		}
		if err != nil {
			return nil, err
		}
	}
	return greatest, nil
}

// branchKey is the key of element i of a branch page.
func branchKey(b []byte, i int) ([]byte, error) {
	at := pageHeader + i*elementSize
	pos, length := uint64(binary.LittleEndian.Uint32(b[at:])), uint64(binary.LittleEndian.Uint32(b[at+4:]))
	if uint64(at)+pos+length > uint64(len(b)) {
		return nil, fmt.Errorf("element %d lies outside", i)
	}
	return b[uint64(at)+pos:][:length], nil
}

// bucket checks the value that describes a bucket.
func (v *verifier) bucket(value []byte, depth int) error {
	if len(value) < bucketSize || depth > maxDepth {
		return errors.New("a bucket is cut short")
	}
	if top := binary.LittleEndian.Uint64(value); top != 0 {
		_, err := v.tree(top, depth, nil, nil)
		return err
	}
	if value = value[bucketSize:]; len(value) < pageHeader {
		return errors.New("a bucket is cut short")
	}
	_, err := v.page(value, depth, nil, nil)
	return err
}
