package store

import (
	"encoding/binary"
	"encoding/json"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	// maxNotes is how many notes are kept at the most.
	maxNotes = 2000
	// maxNoteText bounds each text of a note in bytes.
	maxNoteText = 1000
)

// Note is something that the people of the box should be able to read later
// and that belongs to no attempt: a notice that nobody took, a message that a
// person removed.
type Note struct {
	Time time.Time `json:"time"`
	// Kind is a word of the caller, such as "double_bounce" or "removed".
	Kind string `json:"kind"`
	ID   string `json:"id,omitempty"` // of the message
	From string `json:"from,omitempty"`
	Rcpt string `json:"rcpt,omitempty"`
	By   string `json:"by,omitempty"` // who did it
	// Text may hold what a stranger wrote: escape it before showing. Every
	// text is cut to 1000 bytes.
	Text string `json:"text,omitempty"`
}

// AddNote keeps a note for [Config.Keep], at most 2,000 of them. It never
// waits for the disk; see AddAttempt.
func (s *Store) AddNote(n Note) {
	for _, text := range []*string{&n.Kind, &n.ID, &n.From, &n.Rcpt, &n.By, &n.Text} {
		*text = (*text)[:min(len(*text), maxNoteText)]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = trim(append(s.notes, n))
}

// writeNotes adds notes and drops those before limit and beyond maxNotes.
func writeNotes(b *bolt.Bucket, notes []Note, limit time.Time) error {
	b.FillPercent = fillPercent
	for _, n := range notes {
		value, err := json.Marshal(n)
		if err != nil {
			return err
		}
		seq, err := b.NextSequence()
		if err != nil {
			return err
		}
		if err := b.Put(binary.BigEndian.AppendUint64(nil, seq), value); err != nil {
			return err
		}
	}
	for {
		k, v := b.Cursor().First()
		if len(k) != 8 || b.Sequence()-binary.BigEndian.Uint64(k) < maxNotes && !before(v, limit) {
			return nil
		}
		if err := b.Delete(slices.Clone(k)); err != nil {
			return err
		}
	}
}

// Notes returns the newest notes first, at most limit; zero means 100.
func (s *Store) Notes(limit int) ([]Note, error) {
	if limit <= 0 {
		limit = defaultLimit
	}
	s.flushing.RLock()
	defer s.flushing.RUnlock()
	s.mu.Lock()
	list := slices.Clone(s.notes[max(0, len(s.notes)-limit):])
	s.mu.Unlock()
	slices.Reverse(list)
	err := s.view(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketNotes).Cursor()
		for k, v := c.Last(); k != nil && len(list) < limit; k, v = c.Prev() {
			var n Note
			if err := json.Unmarshal(v, &n); err != nil {
				s.log.Warn("store: a note cannot be read", "error", err)
				continue
			}
			list = append(list, n)
		}
		return nil
	})
	return list, err
}
