package lab

import (
	"bytes"
	"net/netip"
	"sync"
	"time"
)

// TapConfig bounds what a Tap keeps. Zero values give the defaults.
type TapConfig struct {
	// KeepPerFlow is how many bytes of what the client sent are kept for each
	// flow (default 64 KiB), KeepTotal the same for all flows together
	// (default 32 MiB; the oldest are forgotten first). Canaries are found in
	// the whole stream, kept or not.
	KeepPerFlow, KeepTotal int
	// MaxFlows is how many flows are remembered, newest last (default 4096).
	MaxFlows int
	Now      func() time.Time
}

// Tap sees what goes over the network and answers whether a message went out
// in clear. On the wire it reassembles the TCP streams that the guest opens
// from the frames it is shown; on the other networks it sits on the
// connections. All methods may be called concurrently.
type Tap struct {
	cfg TapConfig

	mu        sync.Mutex
	flows     []*FlowTap
	lastID    int
	kept      int
	sightings []Sighting
	watch     []func(Flow)
	wire      reassembler
}

// Flow is one TCP connection, or one attempt at one, as the tap saw it.
type Flow struct {
	ID       int
	From, To netip.AddrPort
	Start    time.Time
	// Accepted says that the handshake was completed; Refused that the attempt
	// was answered with a reset. Neither: nobody answered (yet).
	Accepted, Refused bool
	// Up and Down count the bytes of the client and of the server.
	Up, Down int64
	// STARTTLS says that the client sent that command, TLS that it went on
	// (or began) with a TLS handshake record.
	STARTTLS, TLS bool
	// Incomplete says that the tap missed bytes: a search that finds nothing
	// in this flow proves nothing.
	Incomplete bool
	// Kept holds the first bytes that the client sent.
	Kept []byte
}

// Sighting is a canary that was seen in clear.
type Sighting struct {
	Time   time.Time
	Canary string
	Flow   int // Flow.ID; 0 for a datagram or a frame that is not TCP
	From   netip.AddrPort
	To     netip.AddrPort
	Offset int64 // in the client's bytes, where the canary ends
}

// NewTap returns a Tap that has seen nothing.
func NewTap(cfg TapConfig) *Tap {
	if cfg.KeepPerFlow <= 0 {
		cfg.KeepPerFlow = 64 << 10
	}
	if cfg.KeepTotal <= 0 {
		cfg.KeepTotal = 32 << 20
	}
	if cfg.MaxFlows <= 0 {
		cfg.MaxFlows = 4096
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	t := &Tap{cfg: cfg}
	t.wire.init(t)
	return t
}

// Flows returns what is remembered, oldest first.
func (t *Tap) Flows() []Flow {
	t.mu.Lock()
	defer t.mu.Unlock()
	flows := make([]Flow, 0, len(t.flows))
	for _, f := range t.flows {
		flows = append(flows, f.snapshot())
	}
	return flows
}

// Sightings returns every canary that was seen in clear, once per flow. At
// most 10,000 are kept.
func (t *Tap) Sightings() []Sighting {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Sighting(nil), t.sightings...)
}

// Search returns the flows in whose kept bytes the needle appears. It is for
// texts without a canary; it cannot see behind Flow.Kept.
func (t *Tap) Search(needle []byte) []Flow {
	t.mu.Lock()
	defer t.mu.Unlock()
	var found []Flow
	for _, f := range t.flows {
		if bytes.Contains(f.flow.Kept, needle) {
			found = append(found, f.snapshot())
		}
	}
	return found
}

// Incomplete returns the flows of which bytes were missed.
func (t *Tap) Incomplete() []Flow {
	t.mu.Lock()
	defer t.mu.Unlock()
	var found []Flow
	for _, f := range t.flows {
		if f.flow.Incomplete {
			found = append(found, f.snapshot())
		}
	}
	return found
}

// OnRefused calls f for each flow that is answered with a reset. It must be
// called before traffic flows; f must return quickly.
func (t *Tap) OnRefused(f func(Flow)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watch = append(t.watch, f)
}

// makeRoom forgets the bytes of the oldest flows until n more may be kept.
func (t *Tap) makeRoom(n int) {
	for _, f := range t.flows {
		if t.kept+n <= t.cfg.KeepTotal {
			return
		}
		t.kept -= len(f.flow.Kept)
		f.flow.Kept = nil
	}
}

const maxSightings = 10_000

func (t *Tap) sight(s Sighting) {
	if len(t.sightings) >= maxSightings {
		return
	}
	for _, have := range t.sightings {
		if have.Canary == s.Canary && have.Flow == s.Flow && have.To == s.To {
			return
		}
	}
	s.Time = t.cfg.Now()
	t.sightings = append(t.sightings, s)
}

// Datagram takes the payload of a UDP packet.
func (t *Tap) Datagram(from, to netip.AddrPort, b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.datagram(from, to, b)
}

func (t *Tap) datagram(from, to netip.AddrPort, b []byte) {
	var s scanner
	for _, hit := range append(s.feed(b), s.flush()...) {
		t.sight(Sighting{Canary: hit.canary, From: from, To: to, Offset: hit.end})
	}
}
