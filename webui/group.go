package webui

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// group is the messages to one domain that wait for one reason, in the same
// state.
type group struct {
	ID       string     // 16 hex digits, the same as long as domain, state and reason are
	Messages []*Message // by age; one entry for each recipient
	Held     bool
	Paused   *Paused   // a person has stopped it; Since is the earliest
	Pending  *Pending  // it is about to be returned or deleted
	Oldest   time.Time // earliest Received
	Next     time.Time // earliest Next, zero when no message has one
	Deadline time.Time // earliest Deadline
	Latest   Message   // the one that was tried last
}

// groupKey is what the messages of a group have in common.
type groupKey struct{ domain, outcome, reason, what, by, pending string }

func keyOf(m *Message) groupKey {
	k := groupKey{domain: strings.ToLower(string(m.Domain)), outcome: m.Last.Outcome, reason: m.Last.Reason}
	if m.Paused != nil {
		k.what, k.by = m.Paused.What, string(m.Paused.By)
	}
	if m.Pending != nil {
		k.pending = m.Pending.ID
	}
	return k
}

// groupMessages sorts what waits into groups: held ones first, then those that
// are tried by themselves, those that a person stopped, and those about to go
// away; by age among equals. The groups point into all.
func groupMessages(all []Message) []group {
	byKey := map[groupKey]*group{}
	for i := range all {
		m := &all[i]
		key := keyOf(m)
		g := byKey[key]
		if g == nil {
			g = &group{ID: key.id(), Held: m.Last.Outcome == "held", Pending: m.Pending, Latest: *m}
			byKey[key] = g
		}
		g.Messages = append(g.Messages, m)
		if m.Paused != nil && (g.Paused == nil || m.Paused.Since.Before(g.Paused.Since)) {
			g.Paused = m.Paused
		}
		g.Oldest = earlier(g.Oldest, m.Received)
		g.Next = earlier(g.Next, m.Next)
		g.Deadline = earlier(g.Deadline, m.Deadline)
		if m.Last.Time.After(g.Latest.Last.Time) {
			g.Latest = *m
		}
	}
	groups := make([]group, 0, len(byKey))
	for _, g := range byKey {
		slices.SortFunc(g.Messages, func(a, b *Message) int {
			return cmp.Or(a.Received.Compare(b.Received), strings.Compare(a.ID, b.ID), cmp.Compare(a.To, b.To))
		})
		groups = append(groups, *g)
	}
	slices.SortFunc(groups, func(a, b group) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), a.Oldest.Compare(b.Oldest), strings.Compare(a.ID, b.ID))
	})
	return groups
}

// rank orders the groups on the page.
func (g group) rank() int {
	switch {
	case g.Pending != nil:
		return 3
	case g.Paused != nil:
		return 2
	case g.Held:
		return 0
	}
	return 1
}

func tried(m Message) bool { return m.Last.Outcome != "" }

// id names a group without repeating a stranger's text in addresses and forms.
func (k groupKey) id() string {
	return shortHash(k.domain, k.outcome, k.reason, k.what, k.by, k.pending)
}

// groupID is the id of the group of m.
func groupID(m Message) string { return keyOf(&m).id() }

// shortHash is 16 hex digits that stand for the parts.
func shortHash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:8])
}

// earlier returns the earlier of two times; a zero time is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
