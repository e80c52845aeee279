// Package store is the relay's database: the saved policies of other domains,
// the history of attempts, and counters by day. It is one bbolt file and the
// only importer of bbolt.
//
// Waiting mail is not here: it is in relay/spool, and losing this file loses no
// message. Policies are durable when Save returns; history and counters are
// gathered in memory and written once a second by Run, so that they are not in
// the path to 250 and cost one write however busy the relay is.
//
//	bucket "policies"   policy domain -> value of mtasts.Cache
//	bucket "attempts"   big-endian sequence number (8 bytes) -> Attempt as JSON
//	bucket "days"       "2026-11-23 name" -> decimal sum
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"gatepost/relay/event"
)

// Buckets of the file.
var (
	bucketPolicies = []byte("policies")
	bucketAttempts = []byte("attempts")
	bucketDays     = []byte("days")
)

const (
	defaultAttempts = 10000
	defaultFound    = 100
	flushEvery      = time.Second
	// maxPending bounds what is kept in memory when the file cannot be written.
	maxPending = 20000
	openWait   = 5 * time.Second
	keepDays   = 400
	dateForm   = "2006-01-02"
)

// Config configures a [Store]. The zero value is usable.
type Config struct {
	// Attempts is how many attempts the history keeps; zero means 10,000.
	Attempts int
	// Events hears of damage. Nil discards.
	Events event.Sink
	Now    func() time.Time // nil means time.Now
	Log    *slog.Logger     // nil discards
}

// Store is an open database. Its methods may be called from many goroutines at
// once.
type Store struct {
	cfg Config
	db  *bbolt.DB

	mu       sync.Mutex
	attempts []Attempt
	counts   map[string]int64
}

// Open opens the database, or makes it. A file that is damaged is renamed to
// name.damaged-DATE, reported as an event.SpoolDamaged, and a new one is begun:
// policies are then fetched again when they are needed. The error is that of a
// disk that cannot be used. The caller must call Close.
func Open(root *os.Root, name string, cfg Config) (*Store, error) {
	if cfg.Attempts == 0 {
		cfg.Attempts = defaultAttempts
	}
	if cfg.Events == nil {
		cfg.Events = event.Discard
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{cfg: cfg, counts: map[string]int64{}}
	err := s.open(root, name)
	if err == nil {
		return s, nil
	}
	if errors.Is(err, os.ErrPermission) || errors.Is(err, bbolt.ErrTimeout) {
		return nil, err
	}
	aside := name + ".damaged-" + cfg.Now().UTC().Format("20060102T150405")
	if renameErr := root.Rename(name, aside); renameErr != nil {
		return nil, errors.Join(err, renameErr)
	}
	if err2 := s.open(root, name); err2 != nil {
		// It was not the file: put it back.
		return nil, errors.Join(err2, root.Rename(aside, name))
	}
	cfg.Events(event.SpoolDamaged{Time: cfg.Now(), Detail: fmt.Sprintf("the database was damaged (%v) and was set aside as %s", err, aside)})
	return s, nil
}

// open opens the file and makes its buckets.
func (s *Store) open(root *os.Root, name string) error {
	if err := inspect(root, name); err != nil {
		return err
	}
	db, err := bbolt.Open(filepath.Join(root.Name(), name), 0o600, options(root, false))
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, b := range [][]byte{bucketPolicies, bucketAttempts, bucketDays} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return errors.Join(err, db.Close())
	}
	s.db = db
	return nil
}

func options(root *os.Root, readOnly bool) *bbolt.Options {
	return &bbolt.Options{
		PageSize: 4096, NoFreelistSync: true, Timeout: openWait, ReadOnly: readOnly,
		OpenFile: func(path string, flag int, mode os.FileMode) (*os.File, error) {
			return root.OpenFile(filepath.Base(path), flag, mode)
		},
	}
}

// inspect reads every page of an existing file. bbolt panics on a damaged page,
// and when it opens a file for writing it does so in a goroutine of its own,
// where nobody could catch it: so the file is read first, without writing.
func inspect(root *os.Root, name string) (err error) {
	if _, err := root.Stat(name); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	db, err := bbolt.Open(filepath.Join(root.Name(), name), 0o600, options(root, true))
	if err != nil {
		return err
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
		err = errors.Join(err, db.Close())
	}()
	return db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(_, _ []byte) error { return nil })
		})
	})
}

// Run writes history and counters once a second until ctx is done, and then
// once more. A write that fails is tried again and logged; it is never an error
// of Run, since only figures depend on it.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.flush()
			return nil
		case <-tick.C:
			s.flush()
		}
	}
}

// Close writes what is pending and closes the file. It may be called again.
func (s *Store) Close() error {
	s.flush()
	return s.db.Close()
}
