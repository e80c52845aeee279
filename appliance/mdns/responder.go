package mdns

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// The rhythm of RFC 6762, Sections 8.1 and 8.3.
const (
	probes        = 3
	probeInterval = 250 * time.Millisecond
	announcements = 2
	announceEvery = time.Second
	afterTie      = time.Second // Section 8.2
)

// When it is enough: so many contradictions within the time make us silent.
const (
	patience     = 3
	patienceTime = 10 * time.Minute
)

// Packet is one that came in.
type Packet struct {
	Data []byte
	From netip.AddrPort // with the zone of the interface for link-local addresses
}

// Conn is port 5353 of one interface in both families, with the groups of
// multicast DNS joined.
type Conn interface {
	// Packets is closed when nothing can come any more.
	Packets() <-chan Packet
	// Send sends to a group or to one machine. An error is of that packet only.
	Send(data []byte, to netip.AddrPort) error
	Close() error
}

// The groups (RFC 6762, Section 3).
var (
	group4 = netip.MustParseAddrPort("224.0.0.251:5353")
	group6 = netip.MustParseAddrPort("[ff02::fb]:5353")
)

const port = 5353

// Config is what a Responder needs. MAC and Open are.
type Config struct {
	MAC  net.HardwareAddr
	Port uint16 // of the page; 0 means 443
	// Open opens the conn of an interface; nil means Listen.
	Open func(on net.Interface) (Conn, error)
	// Named is told the name as soon as it is wanted and when it changes, and
	// why when there is none any more (""); nil means nobody. It must return
	// quickly.
	Named func(name, note string)
	Log   *slog.Logger // nil means discard
}

// Responder answers for one name. Run is called for one network after the
// other; that the name was changed is remembered between them.
type Responder struct {
	Config

	mu      sync.Mutex
	renamed bool
	before  []record // addresses that we had: echoes of them are no contradiction
}

// New returns a Responder; it does nothing before Run.
func New(c Config) *Responder {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Open == nil {
		c.Open = Listen
	}
	if c.Port == 0 {
		c.Port = 443
	}
	return &Responder{Config: c}
}

// Name is the name that is in use or wanted, without the last dot.
func (r *Responder) Name() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	first, second := Names(r.MAC)
	if r.renamed {
		return second
	}
	return first
}

// Run answers on an interface with these addresses until ctx is done; then it
// says goodbye and returns nil. It returns an error when the port cannot be
// opened or nothing can come in any more. Call it again when the addresses
// change, after the last call has returned.
func (r *Responder) Run(ctx context.Context, on net.Interface, addresses []netip.Prefix) error {
	if r.Name() == "" {
		return fmt.Errorf("mdns: %q is no MAC of a network card", r.MAC)
	}
	conn, err := r.Open(on)
	if err != nil {
		return fmt.Errorf("mdns: %w", err)
	}
	defer conn.Close()
	m := &machine{
		Responder: r, conn: conn, ifname: on.Name, addresses: addresses,
		outbox: map[outKey]outEntry{}, sent: map[outKey]time.Time{}, unicasts: unicastBurst,
	}
	return m.run(ctx)
}

// state of a machine.
type state int

const (
	probing state = iota
	announced
	silent
)

// machine is a Responder on one network. One goroutine owns it.
type machine struct {
	*Responder
	conn      Conn
	ifname    string
	addresses []netip.Prefix
	zone      zone
	state     state

	next        time.Time // of the next probe or announcement; zero: none
	step        int       // probes or announcements that were made
	ties        int
	conflicts   []time.Time
	outbox      map[outKey]outEntry
	sent        map[outKey]time.Time // last multicast of each record
	unicasts    float64
	unicastTime time.Time
}

func (m *machine) run(ctx context.Context) error {
	m.begin(rand.N(probeInterval))
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(time.Until(m.due()))
		select {
		case <-ctx.Done():
			m.goodbye()
			return nil
		case p, open := <-m.conn.Packets():
			if !open {
				return fmt.Errorf("mdns: nothing can come in on %s", m.ifname)
			}
			m.receive(p)
		case <-timer.C:
			m.act()
		}
	}
}

// due is when there is something to do next.
func (m *machine) due() time.Time {
	t := time.Now().Add(time.Hour)
	if !m.next.IsZero() && m.next.Before(t) {
		t = m.next
	}
	for _, e := range m.outbox {
		if e.at.Before(t) {
			t = e.at
		}
	}
	return t
}

func (m *machine) act() {
	now := time.Now()
	if !m.next.IsZero() && !now.Before(m.next) {
		m.stepOn(now)
	}
	m.flush(now)
}

// begin looks for the name, after a pause.
func (m *machine) begin(after time.Duration) {
	name := m.Name()
	m.zone = newZone(name, m.Port, m.addresses)
	m.state, m.step, m.next = probing, 0, time.Now().Add(after)
	clear(m.outbox)
	clear(m.sent)
	if m.Named != nil {
		m.Named(name, "")
	}
}

// stepOn makes the next probe or announcement.
func (m *machine) stepOn(now time.Time) {
	switch {
	case m.state == probing && m.step < probes:
		m.multicast(reply{probe: []string{m.zone.host, m.zone.instance}, proposed: m.own()})
		m.step++
		m.next = now.Add(probeInterval)
	case m.state == probing:
		m.state, m.step, m.ties = announced, 0, 0
		m.stepOn(now)
	case m.state == announced && m.step < announcements:
		m.multicast(reply{answers: m.zone.records})
		for i := range m.zone.records {
			m.sent[outKey{i, false}], m.sent[outKey{i, true}] = now, now
		}
		m.step++
		m.next = now.Add(announceEvery)
		if m.step == announcements {
			m.next = time.Time{}
		}
	default:
		m.next = time.Time{}
	}
}

// own lists the records under the names that are ours alone, in the order of
// RFC 6762, Section 8.2.
func (m *machine) own() []record {
	var out []record
	for _, r := range m.zone.records {
		if m.zone.claims(r.name) && r.typ != typeNSEC {
			out = append(out, r)
		}
	}
	return out
}

// goodbye tells everyone to forget what we said (Section 10.1), and keeps our
// addresses in mind.
func (m *machine) goodbye() {
	if m.state == announced {
		m.multicast(reply{answers: m.zone.records, goodbye: true})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	const most = 16
	for _, r := range m.zone.records {
		if r.name == m.zone.host && !slices.ContainsFunc(m.before, r.same) {
			m.before = append(m.before, r)
		}
	}
	m.before = m.before[max(0, len(m.before)-most):]
}

// multicast sends to both groups.
func (m *machine) multicast(r reply) {
	m.send(r, group4)
	m.send(r, group6)
}

func (m *machine) send(r reply, to netip.AddrPort) {
	data, err := r.pack()
	if err == nil {
		err = m.conn.Send(data, to)
	}
	if err != nil {
		m.Log.Debug("mdns: not sent", "to", to, "error", err)
	}
}

// contradicted is another machine that says otherwise under our name.
func (m *machine) contradicted(by netip.Addr) {
	now := time.Now()
	m.conflicts = slices.DeleteFunc(m.conflicts, func(t time.Time) bool { return now.Sub(t) > patienceTime })
	m.conflicts = append(m.conflicts, now)
	switch {
	case len(m.conflicts) > patience:
		m.fallSilent(by)
	case m.state == announced:
		m.begin(probeInterval) // Section 9: look again whether it is ours
	case !m.renamed:
		old := m.Name()
		m.mu.Lock()
		m.renamed = true
		m.mu.Unlock()
		m.begin(afterTie)
		m.Log.Warn("the name is taken; the box has another one", "taken", old, "by", by, "name", m.Name())
	default:
		m.fallSilent(by)
	}
}

func (m *machine) fallSilent(by netip.Addr) {
	name := m.Name()
	m.state, m.next = silent, time.Time{}
	clear(m.outbox)
	if m.Named != nil {
		m.Named("", fmt.Sprintf("the machine %v goes on using the name %s; the box has no name on this network", by, name))
	}
}
