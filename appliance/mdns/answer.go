package mdns

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Rhythm and limits of answers (RFC 6762, Section 6).
const (
	sharedDelay   = 20 * time.Millisecond // at least, and sharedSpread at most on top
	sharedSpread  = 100 * time.Millisecond
	moreDelay     = 400 * time.Millisecond // known answers are still to come
	oncePer       = time.Second            // a record is said to all
	unicastBurst  = 20                     // answers to one machine, and so many a second
	unicastPerSec = 20
)

// outKey is a record of the zone in one of the families.
type outKey struct {
	record int
	six    bool
}

// outEntry is when a record is to be said, and to whom.
type outEntry struct {
	at    time.Time
	asker netip.Addr // the one that asked; invalid when several did
}

// receive acts on a packet. Only machines on the same wire count (RFC 6762,
// Section 11), and not ourselves.
func (m *machine) receive(p Packet) {
	from := p.From.Addr().Unmap()
	if m.state == silent || !m.onLink(from) || m.isOwn(from) {
		return
	}
	msg, err := parse(p.Data)
	switch {
	case err != nil:
	case msg.response && p.From.Port() == port:
		m.heard(msg, from)
	case !msg.response:
		m.asked(msg, p.From)
	}
}

func (m *machine) onLink(a netip.Addr) bool {
	if a.IsLinkLocalUnicast() {
		return true
	}
	return slices.ContainsFunc(m.addresses, func(p netip.Prefix) bool { return p.Contains(a.WithZone("")) })
}

func (m *machine) isOwn(a netip.Addr) bool {
	return slices.ContainsFunc(m.addresses, func(p netip.Prefix) bool { return p.Addr() == a.WithZone("") })
}

// heard looks for contradictions in what another machine says. Words of ours
// that a repeater sends back are none, nor are those of before.
func (m *machine) heard(msg message, from netip.Addr) {
	m.mu.Lock()
	before := m.before
	m.mu.Unlock()
	for _, r := range msg.answers {
		if !m.zone.claims(r.name) || r.ttl == 0 || r.typ == typeNSEC ||
			slices.ContainsFunc(m.zone.records, r.same) || m.echo(r, before) {
			continue
		}
		m.contradicted(from)
		return
	}
}

// echo reports whether r is what we said under an earlier address.
func (m *machine) echo(r record, before []record) bool {
	return slices.ContainsFunc(before, func(b record) bool { return b.typ == r.typ && bytes.Equal(b.data, r.data) })
}

// asked answers questions, and settles who of two that look for the same name
// at the same time gets it.
func (m *machine) asked(msg message, from netip.AddrPort) {
	if m.state == probing {
		m.tie(msg)
		return
	}
	// Who asked with known answers to come may send them without a question.
	if len(msg.questions) == 0 {
		m.forgetKnown(msg.answers, from.Addr())
		return
	}
	now := time.Now()
	direct := reply{}
	for _, q := range msg.questions {
		list := slices.DeleteFunc(m.answers(q), func(i int) bool { return known(m.zone.records[i], msg.answers) })
		private := q.private && len(msg.proposed) == 0
		for _, i := range list {
			rec := m.zone.records[i]
			key := outKey{i, from.Addr().Is6() && !from.Addr().Is4In6()}
			fresh := now.Sub(m.sent[key]) < time.Duration(rec.ttl)*time.Second/4
			if from.Port() != port || private && fresh {
				direct.answers = append(direct.answers, rec)
				for _, j := range m.zone.beside(i) {
					direct.additional = append(direct.additional, m.zone.records[j])
				}
				continue
			}
			m.queue(key, rec, msg.more, now, from.Addr())
		}
	}
	m.reply(direct, msg, from)
	m.flush(now)
}

// answers are the records that answer a question, or for a name that is ours
// the one that says that there is none of that type (Section 6.1).
func (m *machine) answers(q question) []int {
	list := m.zone.of(q.name, q.typ)
	if len(list) == 0 && m.zone.claims(q.name) {
		return m.zone.of(q.name, typeNSEC)
	}
	return list
}

// known is Section 7.1: the asker has it already, and for long enough.
func known(r record, answers []record) bool {
	return slices.ContainsFunc(answers, func(k record) bool { return k.same(r) && k.ttl >= r.ttl/2 })
}

// queue plans a record for everyone: what others may have too with a pause, so
// that not all speak at once, and nothing more often than once a second.
func (m *machine) queue(key outKey, rec record, more bool, now time.Time, asker netip.Addr) {
	at := now
	if !rec.unique {
		at = at.Add(sharedDelay + rand.N(sharedSpread))
	}
	if more {
		at = now.Add(moreDelay + rand.N(sharedSpread))
	}
	if first := m.sent[key].Add(oncePer); at.Before(first) {
		at = first
	}
	if e, waits := m.outbox[key]; waits {
		if e.asker != asker {
			asker = netip.Addr{}
		}
		if e.at.Before(at) {
			at = e.at
		}
	}
	m.outbox[key] = outEntry{at, asker}
}

// forgetKnown takes back what an asker turns out to know (Section 7.2).
func (m *machine) forgetKnown(answers []record, asker netip.Addr) {
	for key, e := range m.outbox {
		if e.asker == asker && known(m.zone.records[key.record], answers) {
			delete(m.outbox, key)
		}
	}
}

// flush says what is due, one packet for each family.
func (m *machine) flush(now time.Time) {
	for _, six := range []bool{false, true} {
		var due []int
		for key, e := range m.outbox {
			if key.six == six && !now.Before(e.at) {
				due = append(due, key.record)
				delete(m.outbox, key)
				m.sent[key] = now
			}
		}
		if len(due) == 0 {
			continue
		}
		slices.Sort(due)
		var out reply
		beside := map[int]bool{}
		for _, i := range due {
			out.answers = append(out.answers, m.zone.records[i])
			for _, j := range m.zone.beside(i) {
				beside[j] = true
			}
		}
		for j := range m.zone.records {
			if beside[j] && !slices.Contains(due, j) {
				out.additional = append(out.additional, m.zone.records[j])
			}
		}
		to := group4
		if six {
			to = group6
		}
		m.send(out, to)
	}
}

// reply answers one machine, within the limit for such answers.
func (m *machine) reply(r reply, msg message, to netip.AddrPort) {
	if len(r.answers) == 0 {
		return
	}
	now := time.Now()
	m.unicasts = min(unicastBurst, m.unicasts+now.Sub(m.unicastTime).Seconds()*unicastPerSec)
	m.unicastTime = now
	if m.unicasts < 1 {
		return
	}
	m.unicasts--
	if to.Port() != port {
		r.legacy = &msg
	}
	r.answers, r.additional = once(r.answers), once(r.additional)
	r.additional = slices.DeleteFunc(r.additional, func(a record) bool { return slices.ContainsFunc(r.answers, a.same) })
	m.send(r, to)
}

func once(list []record) []record {
	var out []record
	for _, r := range list {
		if !slices.ContainsFunc(out, r.same) {
			out = append(out, r)
		}
	}
	return out
}

// tie is Section 8.2: two machines look for the same name. The records of both
// are compared; the one whose are earlier waits and looks again, and finds the
// other then. Our own words, sent back by a repeater, are equal to ours and
// decide nothing.
func (m *machine) tie(msg message) {
	for _, name := range []string{m.zone.host, m.zone.instance} {
		ours, theirs := under(m.own(), name), under(msg.proposed, name)
		if len(theirs) == 0 || slices.CompareFunc(ours, theirs, record.compare) >= 0 {
			continue
		}
		m.mu.Lock()
		echo := !slices.ContainsFunc(theirs, func(r record) bool { return !m.echo(r, append(slices.Clone(m.before), ours...)) })
		m.mu.Unlock()
		if echo || m.ties >= patience {
			continue
		}
		m.ties++
		m.step, m.next = 0, time.Now().Add(afterTie)
		return
	}
}

// under lists the records of one name in the order in which they are compared.
func under(list []record, name string) []record {
	var out []record
	for _, r := range list {
		if r.name == name && r.typ != dnsmessage.TypeALL {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, record.compare)
	return out
}
