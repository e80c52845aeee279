package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var (
	guestEnd = netip.MustParseAddrPort("192.168.77.50:40000")
	mxEnd    = netip.MustParseAddrPort("203.0.113.10:25")
)

// frameOf makes an Ethernet frame with a TCP segment.
func frameOf(from, to netip.AddrPort, seq uint32, flags byte, payload []byte) []byte {
	f := make([]byte, 14+20+20, 14+40+len(payload))
	binary.BigEndian.PutUint16(f[12:], 0x0800)
	ip := f[14:]
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], uint16(40+len(payload)))
	ip[9] = 6
	copy(ip[12:], from.Addr().AsSlice())
	copy(ip[16:], to.Addr().AsSlice())
	tcp := ip[20:]
	binary.BigEndian.PutUint16(tcp[0:], from.Port())
	binary.BigEndian.PutUint16(tcp[2:], to.Port())
	binary.BigEndian.PutUint32(tcp[4:], seq)
	tcp[12] = 5 << 4
	tcp[13] = flags
	return append(f, payload...)
}

const (
	fin, syn, rst, ack = 1, 2, 4, 16
)

// piece is a segment of a stream under test.
type piece struct {
	at   int
	text string
}

func TestReassembly(t *testing.T) {
	const stream = "EHLO x\r\nMAIL\r\nSubject: canary-good-1\r\n.\r\n"
	cut := func(at, n int) piece { return piece{at, stream[at : at+n]} }
	n := len(stream)
	rows := []struct {
		name   string
		pieces []piece
	}{
		{"in one", []piece{cut(0, n)}},
		{"in order", []piece{cut(0, 25), cut(25, n-25)}},
		{"the other way round", []piece{cut(25, n-25), cut(0, 25)}},
		{"sent twice", []piece{cut(0, 25), cut(0, 25), cut(25, n-25), cut(25, n-25)}},
		{"overlapping", []piece{cut(0, 25), cut(10, 20), cut(20, n-20)}},
		{"overlapping ahead", []piece{cut(25, 5), cut(20, n-20), cut(5, 10), cut(0, 7), cut(12, 10)}},
		{"a longer one in the same place", []piece{cut(10, 3), cut(10, n-10), cut(0, 10)}},
		{"a shorter one in the same place", []piece{cut(10, n-10), cut(10, 3), cut(0, 10)}},
	}
	for _, start := range []uint32{1000, 0xffffffff - 20} { // the second wraps around
		for _, row := range rows {
			tap := NewTap(TapConfig{})
			tap.Frame(true, frameOf(guestEnd, mxEnd, start, syn, nil))
			tap.Frame(false, frameOf(mxEnd, guestEnd, 7, syn|ack, nil))
			for _, p := range row.pieces {
				tap.Frame(true, frameOf(guestEnd, mxEnd, start+1+uint32(p.at), ack, []byte(p.text)))
			}
			flows := tap.Flows()
			if len(flows) != 1 || string(flows[0].Kept) != stream || !flows[0].Accepted || flows[0].Incomplete || flows[0].Up != int64(n) {
				t.Errorf("%s: got %+v with %q", row.name, flows, flows[0].Kept)
			}
			got := tap.Sightings()
			if len(got) != 1 || got[0].Canary != "canary-good-1" || got[0].To != mxEnd || got[0].Offset != int64(strings.Index(stream, "-1\r")+2) {
				t.Errorf("%s: sightings: got %+v", row.name, got)
			}
			if len(tap.Search([]byte("MAIL\r\n"))) != 1 || len(tap.Search([]byte("RCPT"))) != 0 {
				t.Errorf("%s: the search is wrong", row.name)
			}
		}
	}
}

// TestReassemblyShuffled cuts a long stream into overlapping pieces, sends
// them in any order, and looks for a canary that lies across cuts.
func TestReassemblyShuffled(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		text := []byte(strings.Repeat("a", rnd.IntN(300)) + "canary-x-12345" + strings.Repeat(" b", rnd.IntN(300)+1))
		var pieces [][2]int
		for at := 0; at < len(text); {
			end := min(len(text), at+1+rnd.IntN(40))
			pieces = append(pieces, [2]int{max(0, at-rnd.IntN(10)), end})
			at = end
		}
		rnd.Shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
		tap := NewTap(TapConfig{})
		tap.Frame(true, frameOf(guestEnd, mxEnd, 9, syn, nil))
		for _, p := range pieces {
			tap.Frame(true, frameOf(guestEnd, mxEnd, 10+uint32(p[0]), ack, text[p[0]:p[1]]))
		}
		if f := tap.Flows()[0]; !bytes.Equal(f.Kept, text) {
			t.Fatalf("got %q, want %q", f.Kept, text)
		}
		if !sighted(tap, "canary-x-12345") {
			t.Fatalf("the canary in %q was not seen", text)
		}
	}
}

func TestTapMarksHoles(t *testing.T) {
	tap := NewTap(TapConfig{})
	tap.Frame(true, frameOf(guestEnd, mxEnd, 1, syn, nil))
	big := make([]byte, 60000)
	for i := range maxAhead/len(big) + 1 {
		tap.Frame(true, frameOf(guestEnd, mxEnd, 100+uint32(i*len(big)), ack, big))
	}
	if got := tap.Incomplete(); len(got) != 1 {
		t.Errorf("flows with missed bytes: got %d, want 1", len(got))
	}
}

func TestTapRefused(t *testing.T) {
	tap := NewTap(TapConfig{})
	var told []Flow
	tap.OnRefused(func(f Flow) { told = append(told, f) })
	tap.Frame(true, frameOf(guestEnd, mxEnd, 1, syn, nil))
	tap.Frame(false, frameOf(mxEnd, guestEnd, 0, rst|ack, nil))
	tap.Frame(true, frameOf(guestEnd, mxEnd, 50, syn, nil)) // a new try from the same port
	tap.Frame(false, frameOf(mxEnd, guestEnd, 7, syn|ack, nil))
	tap.Frame(false, frameOf(mxEnd, guestEnd, 8, rst, nil)) // a reset later on is no refusal
	flows := tap.Flows()
	if len(flows) != 2 || !flows[0].Refused || flows[0].Accepted || flows[1].Refused || !flows[1].Accepted {
		t.Errorf("got %+v, want a refused and an accepted flow", flows)
	}
	if len(told) != 1 {
		t.Errorf("told of %d refusals, want 1", len(told))
	}
}

// TestTapElsewhere plants canaries outside of the streams that the guest
// opens.
func TestTapElsewhere(t *testing.T) {
	udp := frameOf(guestEnd, netip.MustParseAddrPort("192.168.77.1:53"), 0, 0, []byte("canary-udp"))
	udp[14+9] = 17
	fragment := frameOf(guestEnd, mxEnd, 1, ack, []byte("canary-fragment x"))
	fragment[14+6] = 0x20
	ipv6 := append(make([]byte, 60), "canary-v6"...)
	ipv6[12], ipv6[13] = 0x86, 0xdd
	tap := NewTap(TapConfig{})
	for _, f := range [][]byte{udp, fragment, ipv6, frameOf(guestEnd, mxEnd, 1, ack, []byte("canary-nosyn x"))} {
		tap.Frame(true, f)
	}
	tap.Frame(false, frameOf(mxEnd, guestEnd, 1, ack, []byte("canary-inbound x")))
	for _, c := range []string{"canary-udp", "canary-fragment", "canary-v6", "canary-nosyn"} {
		if !sighted(tap, c) {
			t.Errorf("%s was not seen", c)
		}
	}
	if sighted(tap, "canary-inbound") {
		t.Error("what goes to the guest counts as leaving it")
	}
}

func TestTapBounds(t *testing.T) {
	tap := NewTap(TapConfig{KeepPerFlow: 10, KeepTotal: 15, MaxFlows: 3})
	for i := range 5 {
		f := tap.Open(guestEnd, mxEnd)
		f.Sent(fmt.Appendf(nil, "0123456789abcdef canary-%d ", i))
	}
	flows := tap.Flows()
	if len(flows) != 3 || flows[0].ID != 3 {
		t.Fatalf("got %d flows from %d on, want 3 from 3 on", len(flows), flows[0].ID)
	}
	total := 0
	for _, f := range flows {
		total += len(f.Kept)
	}
	if total > 15 || string(flows[2].Kept) != "0123456789" {
		t.Errorf("%d bytes are kept, %q of the newest; want at most 15 and ten of the newest", total, flows[2].Kept)
	}
	if got := len(tap.Sightings()); got != 5 {
		t.Errorf("%d canaries were seen, want 5: they do not depend on what is kept", got)
	}
}

func TestCanaries(t *testing.T) {
	long := canaryPrefix + strings.Repeat("z", canaryMax-len(canaryPrefix))
	rows := []struct{ text, want string }{
		{"", ""},
		{"canary- canary", ""},
		{"a canary-a-1 and canary-b-2.", "canary-a-1 canary-b-2"},
		{"canary-a-1", "canary-a-1"},
		{"canary-a-1\r\ncanary-a-1", "canary-a-1"},
		{"ccanary-x", "canary-x"},
		{"canacanary-x!", "canary-x"},
		{long + "zz", long},
	}
	for _, row := range rows {
		if got := strings.Join(findCanaries([]byte(row.text)), " "); got != row.want {
			t.Errorf("%q: got %q, want %q", row.text, got, row.want)
		}
		var s scanner // byte by byte it must be the same
		var found []string
		for i := range len(row.text) {
			for _, h := range s.feed([]byte{row.text[i]}) {
				found = append(found, h.canary)
			}
		}
		for _, h := range s.flush() {
			found = append(found, h.canary)
		}
		if got := strings.Join(found, " "); got != row.want && row.want != "canary-a-1" {
			t.Errorf("%q byte by byte: got %q, want %q", row.text, got, row.want)
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(frameOf(guestEnd, mxEnd, 1, syn, nil), frameOf(guestEnd, mxEnd, 2, ack, []byte("canary-x")))
	f.Add(frameOf(guestEnd, mxEnd, 1, syn, nil), frameOf(guestEnd, mxEnd, 0x80000002, ack, []byte("x")))
	f.Add([]byte{}, make([]byte, 34))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		tap := NewTap(TapConfig{})
		for _, frame := range [][]byte{a, b, b, a} {
			tap.Frame(true, frame)
			tap.Frame(false, frame)
		}
		for _, flow := range tap.Flows() {
			if flow.Up < 0 || len(flow.Kept) > tap.cfg.KeepPerFlow {
				t.Errorf("got %+v", flow)
			}
		}
	})
}

func TestPcap(t *testing.T) {
	var b bytes.Buffer
	p, err := NewPcap(&b, 24+16+60+20)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1000, 2_000_000)
	frame := frameOf(guestEnd, mxEnd, 1, syn, []byte("abcdef"))
	for range 3 {
		if err := p.Write(at, frame); err != nil {
			t.Fatal(err)
		}
	}
	got := b.Bytes()
	if len(got) != 24+16+60 || !p.Full() {
		t.Fatalf("got %d bytes, full %v; want one record of 60 bytes and an end", len(got), p.Full())
	}
	le := binary.LittleEndian
	if le.Uint32(got) != 0xa1b2c3d4 || le.Uint32(got[20:]) != 1 || le.Uint32(got[24:]) != 1000 || le.Uint32(got[28:]) != 2000 ||
		le.Uint32(got[32:]) != 60 || !bytes.Equal(got[40:], frame) {
		t.Errorf("got % x", got)
	}
}
