package store

import (
	"encoding/binary"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// keepDays is how many days with counters are kept.
const keepDays = 400

// dayCounter names a counter of one day, "2026-11-23" in UTC.
type dayCounter struct{ day, name string }

func (c dayCounter) key() []byte { return []byte(c.day + " " + c.name) }

// Count adds n to a counter of the day of at, in UTC. It never waits for the
// disk. Names come from Gatepost itself, never from a stranger.
func (s *Store) Count(at time.Time, name string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[dayCounter{at.UTC().Format(time.DateOnly), name}] += n
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
