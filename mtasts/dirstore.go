package mtasts

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
)

// DirStore is a Store with one file for each domain in one directory, named
// "<domain>.sts". A file is written beside the old one, synced, renamed over
// it, and the directory is synced, so that a power cut leaves the old entry or
// the new one. One DirStore at a time may use a directory, and nothing else
// should write there.
type DirStore struct {
	root *os.Root
	// create opens a new file; a test puts a failing disk here.
	create func(name string) (newFile, error)

	mu      sync.Mutex
	pending map[string]bool // temporary names in use
}

type newFile interface {
	io.Writer
	Sync() error
	Close() error
}

// NewDirStore makes a store in root. The caller closes root when the store is
// no longer used.
func NewDirStore(root *os.Root) *DirStore {
	return &DirStore{
		root: root,
		create: func(name string) (newFile, error) {
			return root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		},
		pending: make(map[string]bool),
	}
}

const (
	entrySuffix = ".sts"
	tempPrefix  = ".new-"
)

// fileName gives the name of a domain's file. What is no policy domain, and so
// might leave the directory, is refused.
func fileName(domain string) (string, error) {
	if name, err := PolicyDomain(domain); err != nil || name != domain {
		return "", fmt.Errorf("%w: %s", ErrDomain, quote(domain))
	}
	return domain + entrySuffix, nil
}

// Load implements Store.
func (s *DirStore) Load(ctx context.Context, domain string) ([]byte, error) {
	name, err := fileName(domain)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.read(name)
}

func (s *DirStore) read(name string) ([]byte, error) {
	f, err := s.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotStored
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	value, err := io.ReadAll(io.LimitReader(f, MaxEntrySize+1))
	if err != nil {
		return nil, err
	}
	if len(value) > MaxEntrySize {
		return nil, fmt.Errorf("mtasts: %s is longer than %d bytes", name, MaxEntrySize)
	}
	return value, nil
}

// Save implements Store.
func (s *DirStore) Save(ctx context.Context, domain string, value []byte) error {
	name, err := fileName(domain)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	temp := tempPrefix + rand.Text()
	s.mu.Lock()
	s.pending[temp] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.pending, temp)
		s.mu.Unlock()
	}()
	if err := s.write(temp, value); err != nil {
		return errors.Join(err, ignoreMissing(s.root.Remove(temp)))
	}
	if err := s.root.Rename(temp, name); err != nil {
		return errors.Join(err, s.root.Remove(temp))
	}
	return s.syncDir()
}

func (s *DirStore) write(name string, value []byte) error {
	f, err := s.create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(value)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (s *DirStore) syncDir() error {
	d, err := s.root.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Delete implements Store.
func (s *DirStore) Delete(ctx context.Context, domain string) error {
	name, err := fileName(domain)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err = s.root.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.syncDir()
}

// List implements Store. It also removes what a crash in the middle of Save
// left behind. Files that are not the store's are left alone.
func (s *DirStore) List(ctx context.Context, yield func(domain string, value []byte) error) error {
	d, err := s.root.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	var unread []error
	for {
		names, err := d.Readdirnames(listAhead)
		for _, e := range s.readAll(ctx, names) {
			if err := ctx.Err(); err != nil {
				return err
			}
			switch {
			case errors.Is(e.err, ErrNotStored): // deleted meanwhile
			case e.err != nil:
				unread = append(unread[:min(len(unread), 10)], e.err)
			default:
				if err := yield(e.domain, e.value); err != nil {
					return err
				}
			}
		}
		if err == io.EOF {
			return errors.Join(unread...)
		}
		if err != nil {
			return errors.Join(append(unread, err)...)
		}
	}
}

// listed is one entry on its way to List's yield.
type listed struct {
	domain string
	value  []byte
	err    error
}

// readAll reads the entries among names, a few at a time: a start with many
// policies waits for the disk.
func (s *DirStore) readAll(ctx context.Context, names []string) []listed {
	var entries []listed
	for _, name := range names {
		if strings.HasPrefix(name, tempPrefix) {
			s.removeStale(name)
			continue
		}
		domain, ok := strings.CutSuffix(name, entrySuffix)
		if _, err := fileName(domain); ok && err == nil {
			entries = append(entries, listed{domain: domain})
		}
	}
	const readers = 4
	var wg sync.WaitGroup
	for r := range readers {
		wg.Go(func() {
			for i := r; i < len(entries) && ctx.Err() == nil; i += readers {
				e := &entries[i]
				e.value, e.err = s.read(e.domain + entrySuffix)
			}
		})
	}
	wg.Wait()
	return entries
}

func (s *DirStore) removeStale(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.pending[name] {
		// A failure leaves a small file that the next List tries again.
		_ = s.root.Remove(name)
	}
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
