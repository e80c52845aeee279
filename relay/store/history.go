package store

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatepost/relay/verdict"
)

const (
	// maxPending bounds the attempts, and the notes, that wait to be written.
	maxPending = 5000
	// maxExpired is how many attempts one transaction drops, so that none is
	// long. A flush follows every second.
	maxExpired = 5000
	// fillPercent is for buckets that grow at their end only.
	fillPercent = 0.95
)

// Attempt is one line of the history: how one attempt ended for one recipient.
type Attempt struct {
	// Seq is the number of the line, for HistoryOptions.After; AddAttempt sets
	// it.
	Seq   uint64    `json:"seq"`
	Time  time.Time `json:"time"`
	ID    string    `json:"id"` // of the message
	From  string    `json:"from"`
	Rcpt  string    `json:"rcpt"`
	Tries int       `json:"tries"`
	// Verdict holds the Evidence. Attempts that share it, because they are one
	// attempt for several recipients, share it in lists too: do not change it.
	Verdict verdict.Verdict `json:"verdict"`
}

// record is an Attempt in the database.
type record struct {
	Attempt
	// Evidence is the key of what the attempt saw, 0 for nothing.
	Evidence uint64 `json:"evidence,omitempty"`
}

// bounds are the limits of the history.
type bounds struct {
	keep     time.Duration
	attempts int
	bytes    int64
}

func (b *bounds) fill() {
	if b.keep <= 0 {
		b.keep = defaultKeep
	}
	if b.attempts <= 0 {
		b.attempts = defaultAttempts
	}
	if b.bytes <= 0 {
		b.bytes = defaultBytes
	}
}

// extent is how much there is of the history.
type extent struct {
	attempts int
	bytes    int64 // keys and values: lines, what they saw, what is searched for
}

// measure counts what the database holds.
func measure(tx *bolt.Tx) (e extent) {
	for _, name := range [][]byte{bucketHistory, bucketLines, bucketEvidence} {
		c := tx.Bucket(name).Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			e.bytes += int64(len(k) + len(v))
			if string(name) == string(bucketHistory) {
				e.attempts++
			}
		}
	}
	return e
}

// AddAttempt adds a line to the history, and what the attempt saw
// (Verdict.Evidence) once for all lines that share the pointer. It never waits
// for the disk; while the database cannot be written the oldest lines that wait
// are dropped. The Evidence must not be changed any more.
func (s *Store) AddAttempt(a Attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	a.Seq = s.last
	s.pending = trim(append(s.pending, a))
}

// trim drops the oldest of what waits beyond maxPending.
func trim[T any](waiting []T) []T {
	return slices.Delete(waiting, 0, max(0, len(waiting)-maxPending))
}

// flush writes what is collected and drops what is too old. After an error it
// is still collected.
func (s *Store) flush() error {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	s.mu.Lock()
	pending, notes, counts := s.pending, s.notes, s.counts
	s.pending, s.notes, s.counts = nil, nil, make(map[dayCounter]int64)
	s.mu.Unlock()
	old := s.expired()
	if len(pending)+len(notes)+len(counts) == 0 && !old {
		return nil
	}
	kept := s.kept
	err := s.update(func(tx *bolt.Tx) error {
		kept = s.kept
		h := history{tx: tx, extent: &kept}
		if err := h.add(pending); err != nil {
			return err
		}
		if err := h.expire(s.bounds, s.now()); err != nil {
			return err
		}
		if err := writeNotes(tx.Bucket(bucketNotes), notes, s.now().Add(-s.bounds.keep)); err != nil {
			return err
		}
		return writeCounts(tx.Bucket(bucketDays), counts)
	})
	if err == nil {
		s.kept = kept
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = trim(append(pending, s.pending...))
	s.notes = trim(append(notes, s.notes...))
	for c, n := range counts {
		s.counts[c] += n
	}
	return fmt.Errorf("store: %w", err)
}

// expired reports whether the oldest attempt or note is too old to be kept.
func (s *Store) expired() (yes bool) {
	limit := s.now().Add(-s.bounds.keep)
	err := s.view(func(tx *bolt.Tx) error {
		_, v := tx.Bucket(bucketHistory).Cursor().First()
		yes = before(v, limit)
		_, v = tx.Bucket(bucketNotes).Cursor().First()
		yes = yes || before(v, limit)
		return nil
	})
	return yes && err == nil
}

// before reports whether a value, an attempt or a note, is of a time before
// limit. What cannot be read counts as old.
func before(value []byte, limit time.Time) bool {
	if value == nil {
		return false
	}
	var dated struct{ Time time.Time }
	return json.Unmarshal(value, &dated) != nil || dated.Time.Before(limit)
}

// history writes attempts in one transaction and keeps count.
type history struct {
	tx *bolt.Tx
	*extent
}

func (h history) put(bucket []byte, key uint64, value []byte) error {
	b := h.tx.Bucket(bucket)
	b.FillPercent = fillPercent
	h.bytes += 8 + int64(len(value))
	return b.Put(binary.BigEndian.AppendUint64(nil, key), value)
}

// add writes attempts, which have ascending numbers.
func (h history) add(attempts []Attempt) error {
	if len(attempts) == 0 {
		return nil
	}
	// Under the number of the last that shares it, evidence is needed exactly
	// until that one goes.
	keys := make(map[*verdict.Evidence]uint64)
	for i := range attempts {
		if e := attempts[i].Verdict.Evidence; e != nil {
			keys[e] = attempts[i].Seq
		}
	}
	var packer packer
	for _, a := range attempts {
		r := record{Attempt: a}
		if e := a.Verdict.Evidence; e != nil {
			r.Evidence = keys[e]
			r.Verdict.Evidence = nil
			if a.Seq == r.Evidence {
				value, err := packer.pack(e)
				if err != nil {
					return err
				}
				if err := h.put(bucketEvidence, a.Seq, value); err != nil {
					return err
				}
			}
		}
		value, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if err := h.put(bucketHistory, a.Seq, value); err != nil {
			return err
		}
		if err := h.put(bucketLines, a.Seq, lineOf(&a)); err != nil {
			return err
		}
		h.attempts++
	}
	return h.tx.Bucket(bucketHistory).SetSequence(attempts[len(attempts)-1].Seq)
}

// expire drops the oldest attempts, at most maxExpired, until the rest is
// within the bounds.
func (h history) expire(b bounds, now time.Time) error {
	limit := now.Add(-b.keep)
	for range maxExpired {
		k, v := h.tx.Bucket(bucketHistory).Cursor().First()
		if k == nil || h.attempts <= b.attempts && h.bytes <= b.bytes && !before(v, limit) {
			return nil
		}
		last := slices.Clone(k)
		h.attempts--
		for _, bucket := range [][]byte{bucketHistory, bucketLines, bucketEvidence} {
			if err := h.drop(bucket, last); err != nil {
				return err
			}
		}
	}
	return nil
}

// drop deletes what a bucket holds up to the key last.
func (h history) drop(bucket, last []byte) error {
	for {
		b := h.tx.Bucket(bucket)
		k, v := b.Cursor().First()
		if k == nil || string(k) > string(last) {
			return nil
		}
		h.bytes -= int64(len(k) + len(v))
		if err := b.Delete(slices.Clone(k)); err != nil {
			return err
		}
	}
}
