package store

import (
	"encoding/binary"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"gatepost/relay/verdict"
)

// Attempt is one line of the history.
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
	Rcpt   string // only this recipient
	Domain string // only this policy domain
	Limit  int    // at most so many; zero means 100
}

// AddAttempt remembers an attempt. It is on the disk a second later.
func (s *Store) AddAttempt(a Attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.attempts) < maxPending {
		s.attempts = append(s.attempts, a)
	}
}

// Count adds n to a counter of the day (UTC) of at.
func (s *Store) Count(at time.Time, name string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := at.UTC().Format(dateForm) + " " + name
	if _, have := s.counts[key]; have || len(s.counts) < maxPending {
		s.counts[key] += n
	}
}

// flush writes what is pending. When it fails everything stays pending.
func (s *Store) flush() {
	s.mu.Lock()
	attempts, counts := s.attempts, s.counts
	s.attempts, s.counts = nil, map[string]int64{}
	s.mu.Unlock()
	if len(attempts) == 0 && len(counts) == 0 {
		return
	}
	err := s.db.Update(func(tx *bbolt.Tx) error {
		if err := putAttempts(tx.Bucket(bucketAttempts), attempts, s.cfg.Attempts); err != nil {
			return err
		}
		return addCounts(tx.Bucket(bucketDays), counts, s.cfg.Now())
	})
	if err == nil {
		return
	}
	s.cfg.Log.Warn("history and counters could not be written", "err", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts = append(attempts, s.attempts...)
	s.attempts = s.attempts[:min(len(s.attempts), maxPending)]
	for k, n := range counts {
		s.counts[k] += n
	}
}

// putAttempts appends and drops the oldest beyond keep.
func putAttempts(b *bbolt.Bucket, list []Attempt, keep int) error {
	for _, a := range list {
		v, err := json.Marshal(a)
		if err != nil {
			return err
		}
		n, err := b.NextSequence()
		if err != nil {
			return err
		}
		if err := b.Put(binary.BigEndian.AppendUint64(nil, n), v); err != nil {
			return err
		}
	}
	newest := b.Sequence()
	c := b.Cursor()
	for k, _ := c.First(); k != nil && binary.BigEndian.Uint64(k)+uint64(keep) <= newest; k, _ = c.First() {
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return nil
}

// addCounts adds to the sums and drops those of days long ago.
func addCounts(b *bbolt.Bucket, counts map[string]int64, now time.Time) error {
	for key, n := range counts {
		old, _ := strconv.ParseInt(string(b.Get([]byte(key))), 10, 64) // none is zero
		if err := b.Put([]byte(key), strconv.AppendInt(nil, old+n, 10)); err != nil {
			return err
		}
	}
	oldest := now.UTC().AddDate(0, 0, -keepDays).Format(dateForm)
	c := b.Cursor()
	for k, _ := c.First(); k != nil && string(k) < oldest; k, _ = c.First() {
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return nil
}

// Attempts finds attempts of the history. Those of the last second may be
// missing.
func (s *Store) Attempts(o HistoryOptions) ([]Attempt, error) {
	limit := o.Limit
	if limit <= 0 {
		limit = defaultFound
	}
	var out []Attempt
	err := s.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketAttempts).Cursor()
		for k, v := c.Last(); k != nil && len(out) < limit; k, v = c.Prev() {
			var a Attempt
			if err := json.Unmarshal(v, &a); err != nil {
				continue // one damaged line must not hide the others
			}
			if o.ID != "" && a.ID != o.ID || o.Rcpt != "" && !strings.EqualFold(a.Rcpt, o.Rcpt) ||
				o.Domain != "" && !strings.EqualFold(a.Verdict.Domain, o.Domain) {
				continue
			}
			out = append(out, a)
		}
		return nil
	})
	return out, err
}

// Days returns the counters of the days from from to to, both in the form
// "2026-11-23" and included: day, then name, then sum.
func (s *Store) Days(from, to string) (map[string]map[string]int64, error) {
	out := map[string]map[string]int64{}
	add := func(key string, n int64) {
		day, name, ok := strings.Cut(key, " ")
		if !ok || day < from || day > to {
			return
		}
		if out[day] == nil {
			out[day] = map[string]int64{}
		}
		out[day][name] += n
	}
	err := s.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketDays).Cursor()
		for k, v := c.Seek([]byte(from)); k != nil; k, v = c.Next() {
			n, err := strconv.ParseInt(string(v), 10, 64)
			if err != nil {
				continue
			}
			add(string(k), n)
		}
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, n := range s.counts {
		add(k, n)
	}
	return out, err
}
