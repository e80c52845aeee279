package webui

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// group is the messages to one domain that wait for one reason.
type group struct {
	ID       string // 16 hex digits, the same as long as domain, state and reason are
	Messages []Message
	Held     bool
	Tried    bool
	Oldest   time.Time // earliest Received
	Next     time.Time // earliest Next, zero when no message has one
	Deadline time.Time // earliest Deadline
	Latest   Message   // the one that was tried last
}

// groupMessages sorts what waits into groups: held ones first, then by age.
// Messages inside a group are sorted by age.
func groupMessages(all []Message) []group {
	byID := map[string]*group{}
	for _, m := range all {
		id := groupID(m)
		g := byID[id]
		if g == nil {
			g = &group{ID: id, Held: m.Last.Outcome == "held", Tried: tried(m), Latest: m}
			byID[id] = g
		}
		g.Messages = append(g.Messages, m)
		g.Oldest = earlier(g.Oldest, m.Received)
		g.Next = earlier(g.Next, m.Next)
		g.Deadline = earlier(g.Deadline, m.Deadline)
		if m.Last.Time.After(g.Latest.Last.Time) {
			g.Latest = m
		}
	}
	groups := make([]group, 0, len(byID))
	for _, g := range byID {
		slices.SortStableFunc(g.Messages, func(a, b Message) int {
			return cmp.Or(a.Received.Compare(b.Received), strings.Compare(a.ID, b.ID))
		})
		groups = append(groups, *g)
	}
	slices.SortFunc(groups, func(a, b group) int {
		if a.Held != b.Held {
			if a.Held {
				return -1
			}
			return 1
		}
		return cmp.Or(a.Oldest.Compare(b.Oldest), strings.Compare(a.ID, b.ID))
	})
	return groups
}

func tried(m Message) bool { return m.Last.Outcome != "" }

// groupID names a group without repeating a stranger's text in addresses and
// forms.
func groupID(m Message) string {
	sum := sha256.Sum256([]byte(strings.ToLower(string(m.Domain)) + "\x00" + m.Last.Outcome + "\x00" + m.Last.Reason))
	return hex.EncodeToString(sum[:8])
}

// earlier returns the earlier of two times; a zero time is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
