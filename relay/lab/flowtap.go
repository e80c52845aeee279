package lab

import (
	"bytes"
	"net/netip"
)

// FlowTap is the tap's place on one flow.
type FlowTap struct {
	tap  *Tap
	flow Flow
	scan scanner
	line []byte // the end of the client's last, unfinished line
}

// Open begins a flow.
func (t *Tap) Open(from, to netip.AddrPort) *FlowTap {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open(from, to)
}

func (t *Tap) open(from, to netip.AddrPort) *FlowTap {
	t.lastID++
	f := &FlowTap{tap: t, flow: Flow{ID: t.lastID, From: from, To: to, Start: t.cfg.Now()}}
	if len(t.flows) >= t.cfg.MaxFlows {
		t.kept -= len(t.flows[0].flow.Kept)
		t.flows[0].flow.Kept = nil
		t.flows = append(t.flows[:0], t.flows[1:]...)
	}
	t.flows = append(t.flows, f)
	return f
}

// Accepted notes that the connection was made.
func (f *FlowTap) Accepted() {
	f.tap.mu.Lock()
	defer f.tap.mu.Unlock()
	f.flow.Accepted = true
}

// Refused notes that the attempt was answered with a reset.
func (f *FlowTap) Refused() {
	f.tap.mu.Lock()
	call := f.refused()
	f.tap.mu.Unlock()
	call()
}

// refused notes a reset and returns what must be called without the lock.
func (f *FlowTap) refused() func() {
	if f.flow.Accepted || f.flow.Refused {
		return func() {}
	}
	f.flow.Refused = true
	flow, watch := f.snapshot(), f.tap.watch
	return func() {
		for _, w := range watch {
			w(flow)
		}
	}
}

// Sent takes bytes of the client, in order.
func (f *FlowTap) Sent(b []byte) {
	f.tap.mu.Lock()
	defer f.tap.mu.Unlock()
	f.sent(b)
}

func (f *FlowTap) sent(b []byte) {
	t := f.tap
	for _, hit := range f.scan.feed(b) {
		t.sight(Sighting{Canary: hit.canary, Flow: f.flow.ID, From: f.flow.From, To: f.flow.To, Offset: hit.end})
	}
	f.noteTLS(b)
	f.flow.Up += int64(len(b))
	n := min(len(b), t.cfg.KeepPerFlow-len(f.flow.Kept), t.cfg.KeepTotal)
	if n > 0 {
		t.makeRoom(n)
		f.flow.Kept = append(f.flow.Kept, b[:n]...)
		t.kept += n
	}
}

// noteTLS watches for the STARTTLS command and for the first TLS record.
func (f *FlowTap) noteTLS(b []byte) {
	if f.flow.TLS {
		return
	}
	for _, c := range b {
		// A handshake record begins with 0x16 0x03 (RFC 8446, Section 5.1); no
		// SMTP line does.
		if len(f.line) == 1 && f.line[0] == 0x16 && c == 0x03 {
			f.flow.TLS = true
			f.line = nil
			return
		}
		if c == '\n' {
			if bytes.EqualFold(bytes.TrimSpace(f.line), []byte("STARTTLS")) {
				f.flow.STARTTLS = true
			}
			f.line = f.line[:0]
			continue
		}
		if len(f.line) < 64 {
			f.line = append(f.line, c)
		}
	}
}

// Received takes bytes of the server, in order.
func (f *FlowTap) Received(b []byte) {
	f.tap.mu.Lock()
	defer f.tap.mu.Unlock()
	f.flow.Down += int64(len(b))
}

// End notes that the client has closed; a canary that the last byte ends is
// found now.
func (f *FlowTap) End() {
	f.tap.mu.Lock()
	defer f.tap.mu.Unlock()
	f.end()
}

func (f *FlowTap) end() {
	for _, hit := range f.scan.flush() {
		f.tap.sight(Sighting{Canary: hit.canary, Flow: f.flow.ID, From: f.flow.From, To: f.flow.To, Offset: hit.end})
	}
}

func (f *FlowTap) snapshot() Flow {
	c := f.flow
	c.Kept = append([]byte(nil), f.flow.Kept...)
	return c
}
