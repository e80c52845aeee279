package relay

import (
	"context"
	"sync"
	"time"

	"gatepost/mtasts"
	"gatepost/relay/event"
	"gatepost/relay/queue"
	"gatepost/relay/spool"
	"gatepost/relay/store"
	"gatepost/relay/verdict"
)

// Status is the state of the machine in figures.
type Status struct {
	Started    time.Time
	Delivering bool // decisions are allowed now
	// Storage is "ok", "full" or "missing"; StorageText says why it is missing.
	Storage     string
	StorageText string
	Usage       spool.Usage
	Damaged     int // records set aside since the start
	// StoreDamaged says that the database was damaged at the start.
	StoreDamaged bool
	Queue        queue.Counts
	Today        Day
	LastIn       time.Time
	LastOut      time.Time
	DNSKnown     bool
	DNS          bool
}

// Status tells the state of now. It is cheap: nothing is read from disk.
func (m *Machine) Status() Status {
	s := Status{
		Started: m.started, Delivering: m.cfg.Ready() && m.spool != nil,
		Storage: "missing", StorageText: m.cfg.DataTrouble,
	}
	s.DNSKnown, s.DNS = m.resolver.Working()
	s.Today, s.LastIn, s.LastOut, s.Damaged, s.StoreDamaged = m.tally.read()
	if m.spool != nil {
		s.Storage, s.Usage, s.Queue = "ok", m.spool.Usage(), m.queue.Counts()
		if m.spool.CanAccept(0) != nil {
			s.Storage = "full"
		}
	}
	return s
}

// Day sums one day.
type Day struct {
	Accepted                              int // messages
	Delivered, Verified, Encrypted, Clear int // recipients
	Returned                              int
}

// tally counts what the page shows as "today", in memory, with a copy in the
// database that a restart reads.
type tally struct {
	now func() time.Time

	mu      sync.Mutex
	store   *store.Store
	date    string
	day     Day
	lastIn  time.Time
	lastOut time.Time
	damaged int
	// storeDamaged: the database was damaged.
	storeDamaged bool
}

// counterNames are the names in the database, in the order of Day's fields.
func (d *Day) counters() map[string]*int {
	return map[string]*int{
		"accepted": &d.Accepted, "delivered": &d.Delivered, "verified": &d.Verified,
		"encrypted": &d.Encrypted, "clear": &d.Clear, "returned": &d.Returned,
	}
}

const dateForm = "2006-01-02"

func (t *tally) load(s *store.Store) {
	t.store = s
	t.date = t.now().UTC().Format(dateForm)
	days, err := s.Days(t.date, t.date)
	if err != nil {
		return // only figures: they start at zero
	}
	for name, into := range t.day.counters() {
		*into = int(days[t.date][name])
	}
}

func (t *tally) read() (day Day, in, out time.Time, damaged int, store bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.roll()
	return t.day, t.lastIn, t.lastOut, t.damaged, t.storeDamaged
}

// roll starts a new day. t.mu is held.
func (t *tally) roll() {
	if today := t.now().UTC().Format(dateForm); today != t.date {
		t.date, t.day = today, Day{}
	}
}

func (t *tally) add(name string) {
	if p := t.day.counters()[name]; p != nil {
		*p++
	}
	if t.store != nil {
		t.store.Count(t.now(), name, 1)
	}
}

func (t *tally) note(e event.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.roll()
	switch e := e.(type) {
	case event.Accepted:
		t.lastIn = e.Time
		t.add("accepted")
	case event.Attempted:
		switch e.Verdict.Outcome {
		case verdict.Delivered:
			t.lastOut = e.Verdict.Time
			t.add("delivered")
			t.add(string(e.Verdict.Protection))
		case verdict.Returned:
			t.add("returned")
		}
	case event.SpoolDamaged:
		t.damaged++
	case event.StoreDamaged:
		t.storeDamaged = true
	}
}

// emit sends an event to everyone who listens.
func (m *Machine) emit(e event.Event) {
	m.tally.note(e)
	m.note(e)
	if a, ok := e.(event.Attempted); ok && m.store != nil {
		m.store.AddAttempt(store.Attempt{Time: a.Verdict.Time, ID: a.ID, From: a.From, Rcpt: a.Rcpt, Tries: a.Tries, Verdict: a.Verdict})
	}
	if m.cfg.Events != nil {
		m.cfg.Events(e)
	}
	m.fan.send(e)
}

// emitRefused passes on what the server tells, without Accepted: accept has
// told that with the id of the spool.
func (m *Machine) emitRefused(e event.Event) {
	if _, ok := e.(event.Accepted); !ok {
		m.emit(e)
	}
}

// onPolicy translates the events of the policy cache.
func (m *Machine) onPolicy(e mtasts.Event) {
	if e.Kind == mtasts.PolicyNew || e.Kind == mtasts.PolicyChanged {
		m.emit(event.PolicyChanged{Time: e.Time, Domain: e.Domain, Mode: string(e.Mode), OldMode: string(e.OldMode), ID: e.ID})
		return
	}
	if !e.Kind.Alarm() {
		m.cfg.Log.Debug("policy", "domain", e.Domain, "kind", string(e.Kind), "detail", e.Detail)
		return
	}
	m.emit(event.PolicyAlarm{Time: e.Time, Domain: e.Domain, Kind: string(e.Kind), Detail: e.Detail})
}

// Follow calls f for each event until ctx is done. A follower that is too slow
// misses events.
func (m *Machine) Follow(ctx context.Context, f func(event.Event)) { m.fan.follow(ctx, f) }

// fan sends events to followers.
type fan struct {
	mu   sync.Mutex
	outs map[chan event.Event]struct{}
}

const fanBuffer = 256

func (f *fan) send(e event.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.outs {
		select {
		case c <- e:
		default:
		}
	}
}

func (f *fan) follow(ctx context.Context, fn func(event.Event)) {
	c := make(chan event.Event, fanBuffer)
	f.mu.Lock()
	if f.outs == nil {
		f.outs = make(map[chan event.Event]struct{})
	}
	f.outs[c] = struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.outs, c)
		f.mu.Unlock()
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-c:
			fn(e)
		}
	}
}
