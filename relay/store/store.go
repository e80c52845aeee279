// Package store keeps what Gatepost remembers besides mail: the policy cache
// of mtasts, the history of delivery attempts with what each of them saw, notes
// for the people of the box, small settings and counters per day, in one bbolt
// database. It is the only importer of bbolt.
//
// It holds no mail and is not in the path to 250: the spool does not depend on
// it. A database that is damaged is set aside under a dated name, reported,
// and begun anew; what is lost then is the history and the saved policies,
// which are fetched again.
//
// Policies and settings are durable when Save and SaveSetting return.
// Attempts, notes and counters are collected and written once a second, so
// that a power cut can lose the last second of them.
//
// # Size
//
// The history has three bounds: [Config.Keep], [Config.Attempts] and
// [Config.HistoryBytes]; the oldest lines go first. A line costs about 0.9 KB,
// and what an attempt saw (one host, three certificates) about 0.6 KB more, once
// for all recipients of the attempt. A search reads 90 bytes a line.
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"gatepost/relay/event"
)

const (
	pageSize = 4096
	// lockTimeout bounds the wait for another process that has the database
	// open.
	lockTimeout = 5 * time.Second
	// flushEvery is how often attempts and counters are written.
	flushEvery = time.Second
	// What bounds the history when nothing is configured.
	defaultKeep     = 30 * 24 * time.Hour
	defaultAttempts = 50_000
	defaultBytes    = 96 << 20
)

// The buckets.
var (
	bucketPolicies = []byte("policies")
	bucketHistory  = []byte("history")  // number -> attempt as JSON
	bucketLines    = []byte("lines")    // number -> what is searched for, see lineOf
	bucketEvidence = []byte("evidence") // number of the last attempt that shares it -> evidence
	bucketNotes    = []byte("notes")    // number -> note as JSON
	bucketSettings = []byte("settings")
	bucketDays     = []byte("days")
)

// Config configures a [Store]. The zero value is usable.
type Config struct {
	// Keep is how long attempts and notes are kept by the time they carry;
	// zero means 30 days.
	Keep time.Duration
	// Attempts is how many attempts the history keeps at the most; zero means
	// 50,000.
	Attempts int
	// HistoryBytes bounds the attempts and what they saw, in bytes of keys and
	// values; the database has up to a quarter more. Zero means 96 MiB.
	HistoryBytes int64
	// Events gets an [event.StoreDamaged] when the database was damaged. Nil
	// discards.
	Events event.Sink
	Now    func() time.Time // nil means time.Now
	Log    *slog.Logger     // nil discards
}

// Store is an open database. Its methods may be called from many goroutines at
// once.
type Store struct {
	db       *bolt.DB
	now      func() time.Time
	log      *slog.Logger
	bounds   bounds
	setAside string

	// flushing is held while collected facts go from memory to the database,
	// and shared while both are read.
	flushing sync.RWMutex
	// kept is what the database holds of the history; guarded by flushing.
	kept extent

	mu      sync.Mutex
	pending []Attempt
	notes   []Note
	counts  map[dayCounter]int64
	last    uint64 // number of the newest attempt
}

// Open opens the database name in root, or begins one. When the file is
// damaged it is renamed to name.damaged-DATE and a new one is begun; see
// [Store.SetAside]. It starts nothing: see [Store.Run]. The caller calls Close.
//
// An error means that there is no database: the folder cannot be used, or
// another process has the database open.
func Open(root *os.Root, name string, cfg Config) (*Store, error) {
	s := &Store{
		now: cfg.Now, log: cfg.Log, counts: make(map[dayCounter]int64),
		bounds: bounds{keep: cfg.Keep, attempts: cfg.Attempts, bytes: cfg.HistoryBytes},
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.bounds.fill()
	used, damage := verify(root, name)
	if damage == nil {
		if err := compact(root, name, used, s.log); err != nil {
			s.log.Warn("store: the database was not made smaller", "error", err)
		}
		damage = s.open(root, name)
	}
	if damage == nil {
		return s, nil
	}
	if !errors.Is(damage, errDamaged) {
		return nil, fmt.Errorf("store: %w", damage)
	}
	aside, err := setAside(root, name, s.now())
	if err != nil {
		return nil, fmt.Errorf("store: %w (%w)", err, damage)
	}
	s.setAside = aside
	s.log.Error("store: the database is damaged and was set aside", "file", aside, "error", damage)
	if cfg.Events != nil {
		cfg.Events(event.StoreDamaged{Time: s.now(), Detail: fmt.Sprintf(
			"the database %s was damaged (%v) and set aside as %s; saved policies, the history, notes and settings such as pauses begin anew, no message is affected", name, damage, aside)})
	}
	if err := s.open(root, name); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return s, nil
}

// SetAside returns the name of the file that a damaged database was renamed to
// by Open, "" when it was not damaged.
func (s *Store) SetAside() string { return s.setAside }

// errDamaged means that the file is not a database that can be used.
var errDamaged = errors.New("damaged")

// open opens the file, which verify has approved, and makes the buckets.
func (s *Store) open(root *os.Root, name string) (err error) {
	db, err := openBolt(root, name)
	if err != nil {
		return err
	}
	s.db = db
	err = s.update(func(tx *bolt.Tx) error {
		for _, bucket := range [][]byte{bucketPolicies, bucketHistory, bucketLines, bucketEvidence, bucketNotes, bucketSettings, bucketDays} {
			if _, err := tx.CreateBucketIfNotExists(bucket); err != nil {
				return err
			}
		}
		s.last = tx.Bucket(bucketHistory).Sequence()
		s.kept = measure(tx)
		return nil
	})
	if err != nil {
		return errors.Join(damaging(err), db.Close())
	}
	return nil
}

// damaging makes errDamaged of the errors of bbolt that mean it.
func damaging(err error) error {
	for _, sign := range []error{
		berrors.ErrInvalid, berrors.ErrVersionMismatch, berrors.ErrChecksum,
		berrors.ErrIncompatibleValue, berrors.ErrBucketNotFound,
	} {
		if errors.Is(err, sign) {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
	}
	return err
}

func openBolt(root *os.Root, name string) (db *bolt.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errDamaged, r)
		}
	}()
	db, err = bolt.Open(name, 0o600, &bolt.Options{
		Timeout:        lockTimeout,
		PageSize:       pageSize,
		NoFreelistSync: true,
		FreelistType:   bolt.FreelistMapType,
		NoStatistics:   true,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			return root.OpenFile(name, flag, mode)
		},
	})
	if err != nil {
		return nil, damaging(err)
	}
	db.AllocSize = 1 << 20
	return db, nil
}

// setAside renames a damaged database.
func setAside(root *os.Root, name string, now time.Time) (string, error) {
	base := name + ".damaged-" + now.UTC().Format("20060102-150405")
	aside := base
	for i := 2; ; i++ {
		if _, err := root.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			break
		}
		aside = fmt.Sprintf("%s-%d", base, i)
	}
	return aside, root.Rename(name, aside)
}

// update runs a read-write transaction; a panic in the database is an error.
func (s *Store) update(fn func(*bolt.Tx) error) error { return guarded(s.db.Update, fn) }

// view runs a read-only transaction.
func (s *Store) view(fn func(*bolt.Tx) error) error { return guarded(s.db.View, fn) }

func guarded(run func(func(*bolt.Tx) error) error, fn func(*bolt.Tx) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("store: %w: %v", errDamaged, r)
		}
	}()
	return run(fn)
}

// Run writes what is collected once a second until ctx ends, then once more,
// and returns nil.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.logFlush()
			return nil
		case <-tick.C:
			s.logFlush()
		}
	}
}

func (s *Store) logFlush() {
	if err := s.flush(); err != nil {
		s.log.Error("store: history is not written yet", "error", err)
	}
}

// Close writes what is collected and closes the database. Run must have ended.
func (s *Store) Close() error {
	err := s.flush()
	return errors.Join(err, s.db.Close())
}
