package store

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatepost/relay/verdict"
)

const (
	// defaultLimit is the length of a list when nobody asks for another.
	defaultLimit = 100
	// keepDays is how many days with counters are kept.
	keepDays = 400
)

// Attempt is one line of the history: how one attempt ended for one recipient.
type Attempt struct {
	Time    time.Time       `json:"time"`
	ID      string          `json:"id"` // of the message
	From    string          `json:"from"`
	Rcpt    string          `json:"rcpt"`
	Tries   int             `json:"tries"`
	Verdict verdict.Verdict `json:"verdict"`
}

// HistoryOptions selects attempts; the newest come first.
type HistoryOptions struct {
	ID     string // only this message
	Rcpt   string // only this recipient, in any case
	Domain string // only this policy domain
	Limit  int    // at most so many; zero means 100
}

func (o HistoryOptions) match(a *Attempt) bool {
	return (o.ID == "" || a.ID == o.ID) &&
		(o.Rcpt == "" || strings.EqualFold(a.Rcpt, o.Rcpt)) &&
		(o.Domain == "" || strings.EqualFold(a.Verdict.Domain, o.Domain))
}

// dayCounter names a counter of one day, "2026-11-23" in UTC.
type dayCounter struct{ day, name string }

func (c dayCounter) key() []byte { return []byte(c.day + " " + c.name) }

// AddAttempt adds a line to the history. It never waits for the disk; while
// the database cannot be written the oldest lines that wait are dropped.
func (s *Store) AddAttempt(a Attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending = append(s.pending, a); len(s.pending) > s.attempts {
		s.pending = slices.Delete(s.pending, 0, 1)
	}
}

// Count adds n to a counter of the day of at, in UTC. It never waits for the
// disk. Names come from Gatepost itself, never from a stranger.
func (s *Store) Count(at time.Time, name string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[dayCounter{at.UTC().Format(time.DateOnly), name}] += n
}

// flush writes what is collected. After an error it is still collected.
func (s *Store) flush() error {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	s.mu.Lock()
	pending, counts := s.pending, s.counts
	s.pending, s.counts = nil, make(map[dayCounter]int64)
	s.mu.Unlock()
	if len(pending) == 0 && len(counts) == 0 {
		return nil
	}
	err := s.update(func(tx *bolt.Tx) error {
		if err := writeHistory(tx.Bucket(bucketHistory), pending, s.attempts); err != nil {
			return err
		}
		return writeCounts(tx.Bucket(bucketDays), counts)
	})
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(pending, s.pending...)
	if excess := len(s.pending) - s.attempts; excess > 0 {
		s.pending = slices.Delete(s.pending, 0, excess)
	}
	for c, n := range counts {
		s.counts[c] += n
	}
	return fmt.Errorf("store: %w", err)
}

// writeHistory adds attempts under ascending numbers and drops the oldest ones
// beyond limit.
func writeHistory(b *bolt.Bucket, attempts []Attempt, limit int) error {
	for _, a := range attempts {
		value, err := json.Marshal(a)
		if err != nil {
			return err
		}
		n, err := b.NextSequence()
		if err != nil {
			return err
		}
		if err := b.Put(binary.BigEndian.AppendUint64(nil, n), value); err != nil {
			return err
		}
	}
	var old [][]byte
	c := b.Cursor()
	for k, _ := c.First(); len(k) == 8 && b.Sequence()-binary.BigEndian.Uint64(k) >= uint64(limit); k, _ = c.Next() {
		old = append(old, slices.Clone(k))
	}
	for _, k := range old {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

func writeCounts(b *bolt.Bucket, counts map[dayCounter]int64) error {
	newest := ""
	for c, n := range counts {
		newest = max(newest, c.day)
		if err := b.Put(c.key(), binary.BigEndian.AppendUint64(nil, uint64(n+counter(b.Get(c.key()))))); err != nil {
			return err
		}
	}
	day, err := time.Parse(time.DateOnly, newest)
	if err != nil {
		return nil // nothing was counted
	}
	oldest := day.AddDate(0, 0, -keepDays).Format(time.DateOnly)
	var old [][]byte
	c := b.Cursor()
	for k, _ := c.First(); k != nil && string(k) < oldest; k, _ = c.Next() {
		old = append(old, slices.Clone(k))
	}
	for _, k := range old {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

func counter(value []byte) int64 {
	if len(value) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(value))
}

// Attempts returns lines of the history, the newest first, those that are not
// written yet included.
func (s *Store) Attempts(o HistoryOptions) ([]Attempt, error) {
	if o.Limit <= 0 {
		o.Limit = defaultLimit
	}
	s.flushing.RLock()
	defer s.flushing.RUnlock()
	var list []Attempt
	s.mu.Lock()
	for i := len(s.pending) - 1; i >= 0 && len(list) < o.Limit; i-- {
		if o.match(&s.pending[i]) {
			list = append(list, s.pending[i])
		}
	}
	s.mu.Unlock()
	err := s.view(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketHistory).Cursor()
		for k, v := c.Last(); k != nil && len(list) < o.Limit; k, v = c.Prev() {
			var a Attempt
			// A line that cannot be read is not worth more than a log line.
			if err := json.Unmarshal(v, &a); err != nil {
				s.log.Warn("store: a line of the history cannot be read", "key", fmt.Sprintf("%x", k), "error", err)
				continue
			}
			if o.match(&a) {
				list = append(list, a)
			}
		}
		return nil
	})
	return list, err
}

// Days returns the counters of each day from and to, "2026-11-23" in UTC, both
// included, by day and name. Days without any are not there.
func (s *Store) Days(from, to string) (map[string]map[string]int64, error) {
	days := make(map[string]map[string]int64)
	add := func(day, name string, n int64) {
		if day < from || day > to {
			return
		}
		if days[day] == nil {
			days[day] = make(map[string]int64)
		}
		days[day][name] += n
	}
	s.flushing.RLock()
	defer s.flushing.RUnlock()
	s.mu.Lock()
	for c, n := range s.counts {
		add(c.day, c.name, n)
	}
	s.mu.Unlock()
	err := s.view(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketDays).Cursor()
		for k, v := c.Seek([]byte(from)); k != nil; k, v = c.Next() {
			day, name, _ := strings.Cut(string(k), " ")
			if day > to {
				break
			}
			add(day, name, counter(v))
		}
		return nil
	})
	return days, err
}
