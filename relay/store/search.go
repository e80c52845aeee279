package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatepost/relay/verdict"
)

// defaultLimit is the length of a list when nobody asks for another.
const defaultLimit = 100

// HistoryOptions selects attempts; the newest come first. Every field that is
// set must fit. Addresses and domains are compared in any case.
type HistoryOptions struct {
	ID     string // only this message
	From   string // only this sender; "<>" is the null return path
	Rcpt   string // only this recipient
	Domain string // only this policy domain
	// Text is an address, or a domain with or without an @ before it: only
	// attempts with it as sender or recipient, or as the domain of one.
	Text  string
	Since time.Time // only at this time or later
	Until time.Time // only before this time
	// After goes on with a list: only attempts that come after the one with
	// this Seq, which are the older ones. Zero begins with the newest.
	After uint64
	Limit int // at most so many; zero means 100
}

// lineOf returns the line of an attempt, which is what is searched for in it:
// the time in 8 bytes (microseconds since 1970), then addresses, id and policy
// domain in lower case, each ended by a zero byte. Lines are kept apart from the
// attempts, so that a search reads a tenth of the history.
func lineOf(a *Attempt) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(a.Time.UnixMicro()))
	for _, text := range []string{a.From, a.Rcpt, a.ID, a.Verdict.Domain} {
		b = append(b, strings.ReplaceAll(strings.ToLower(text), "\x00", "")...)
		b = append(b, 0)
	}
	return b
}

// filter is HistoryOptions made ready for comparison with lines.
type filter struct {
	o            HistoryOptions
	since, until int64
	local        bool // o.Text has a local part
}

func newFilter(o HistoryOptions) filter {
	for _, text := range []*string{&o.ID, &o.From, &o.Rcpt, &o.Domain, &o.Text} {
		*text = strings.ToLower(*text)
	}
	f := filter{o: o}
	f.local = strings.LastIndexByte(o.Text, '@') > 0
	f.o.Text = strings.TrimPrefix(o.Text, "@")
	if !o.Since.IsZero() {
		f.since = o.Since.UnixMicro()
	}
	if !o.Until.IsZero() {
		f.until = o.Until.UnixMicro()
	}
	return f
}

// match reports whether the line b fits.
func (f *filter) match(b []byte) bool {
	if len(b) < 8 {
		return false
	}
	at := int64(binary.BigEndian.Uint64(b))
	from, b, _ := bytes.Cut(b[8:], []byte{0})
	rcpt, b, _ := bytes.Cut(b, []byte{0})
	id, b, _ := bytes.Cut(b, []byte{0})
	domain, _, _ := bytes.Cut(b, []byte{0})
	o := &f.o
	return (o.Since.IsZero() || at >= f.since) && (o.Until.IsZero() || at < f.until) &&
		(o.ID == "" || string(id) == o.ID) &&
		(o.From == "" || string(from) == o.From || o.From == "<>" && len(from) == 0) &&
		(o.Rcpt == "" || string(rcpt) == o.Rcpt) &&
		(o.Domain == "" || string(domain) == o.Domain) &&
		(o.Text == "" || f.is(from) || f.is(rcpt))
}

// is reports whether Text is the address, or its domain.
func (f *filter) is(addr []byte) bool {
	if f.local {
		return string(addr) == f.o.Text
	}
	_, domain, ok := cutLast(addr)
	return ok && string(domain) == f.o.Text
}

// cutLast cuts an address at its last @: a quoted local part may hold one.
func cutLast(addr []byte) (local, domain []byte, ok bool) {
	i := bytes.LastIndexByte(addr, '@')
	if i < 0 {
		return addr, nil, false
	}
	return addr[:i], addr[i+1:], true
}

// Attempts returns lines of the history, the newest first, those that are not
// written yet included.
func (s *Store) Attempts(o HistoryOptions) ([]Attempt, error) {
	limit := o.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	f := newFilter(o)
	s.flushing.RLock()
	defer s.flushing.RUnlock()
	var list []Attempt
	s.mu.Lock()
	for i := len(s.pending) - 1; i >= 0 && len(list) < limit; i-- {
		a := &s.pending[i]
		if (o.After == 0 || a.Seq < o.After) && f.match(lineOf(a)) {
			list = append(list, *a)
		}
	}
	s.mu.Unlock()
	err := s.view(func(tx *bolt.Tx) error {
		r := reader{tx: tx, s: s, evidence: make(map[uint64]*verdict.Evidence)}
		c := tx.Bucket(bucketLines).Cursor()
		for k, v := last(c, o.After); k != nil && len(list) < limit; k, v = c.Prev() {
			if !f.match(v) {
				continue
			}
			if a, ok := r.read(k); ok {
				list = append(list, a)
			}
		}
		return nil
	})
	return list, err
}

// last moves to the last key, or to the last one before the number after.
func last(c *bolt.Cursor, after uint64) (k, v []byte) {
	if after == 0 {
		return c.Last()
	}
	if k, _ := c.Seek(binary.BigEndian.AppendUint64(nil, after)); k == nil {
		return c.Last()
	}
	return c.Prev()
}

// reader reads attempts with what they saw in one transaction.
type reader struct {
	tx       *bolt.Tx
	s        *Store
	evidence map[uint64]*verdict.Evidence // by key
}

// read returns the attempt under a key. One that cannot be read is not worth
// more than a log line.
func (r reader) read(key []byte) (Attempt, bool) {
	var stored record
	if err := json.Unmarshal(r.tx.Bucket(bucketHistory).Get(key), &stored); err != nil {
		r.s.log.Warn("store: a line of the history cannot be read", "key", fmt.Sprintf("%x", key), "error", err)
		return Attempt{}, false
	}
	a := stored.Attempt
	a.Seq = binary.BigEndian.Uint64(key)
	if n := stored.Evidence; n != 0 {
		e, known := r.evidence[n]
		if !known {
			var err error
			if e, err = unpack(r.tx.Bucket(bucketEvidence).Get(binary.BigEndian.AppendUint64(nil, n))); err != nil {
				r.s.log.Warn("store: what an attempt saw cannot be read", "key", n, "error", err)
				e = nil
			}
			r.evidence[n] = e
		}
		a.Verdict.Evidence = e
	}
	return a, true
}
