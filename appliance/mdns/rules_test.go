package mdns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	ourHost  = "gatepost-1a2b.local."
	longHost = "gatepost-3c1a2b.local."
	inet     = dnsmessage.ClassINET
)

func TestNames(t *testing.T) {
	if a, b := Names(mac); a+"." != ourHost || b+"." != longHost {
		t.Errorf("got %s, %s", a, b)
	}
	if a, b := Names(nil); a != "" || b != "" {
		t.Errorf("without a MAC: got %q, %q", a, b)
	}
}

// RFC 6762, Section 8.1: three questions, a quarter of a second apart, with what
// is to be said; Section 8.3: two announcements, a second apart. Section 10.1: a
// goodbye at the end.
func TestSection8ProbesAnnouncesAndSaysGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN()
		b := newBox(l)
		b.plug(t)
		time.Sleep(time.Minute)
		b.stop()
		all := l.heard
		log := l.log()
		if len(log) != 6 {
			t.Fatalf("got %q, want six packets", log)
		}
		for i, gap := range []time.Duration{probeInterval, probeInterval, probeInterval, announceEvery} {
			if got := all[i+1].at - all[i].at; got != gap {
				t.Errorf("between packet %d and the next: got %v, want %v", i, got, gap)
			}
		}
		if all[0].at >= probeInterval {
			t.Errorf("the first question came after %v", all[0].at)
		}
		for i, want := range []string{"question ?" + ourHost, "question ?" + ourHost, "question ?" + ourHost, "response A PTR SRV TXT", "response A PTR SRV TXT", "response no A no PTR no SRV"} {
			if !strings.Contains(log[i], want) {
				t.Errorf("packet %d: got %q, want %q", i, log[i], want)
			}
		}
		p := all[0].msg
		if p.Questions[0].Type != dnsmessage.TypeALL || p.Questions[0].Class != inet|topBit || len(p.Authorities) != 3 {
			t.Errorf("probe: got %+v", p)
		}
		for _, r := range all[3].msg.Answers {
			shared := strings.HasPrefix(r.Header.Name.String(), "_")
			if flush := r.Header.Class&topBit != 0; flush == shared {
				t.Errorf("%v: cache flush bit %v (Section 10.2)", r.Header, flush)
			}
			want := uint32(serviceTTL)
			if r.Header.Type == dnsmessage.TypeA || r.Header.Type == dnsmessage.TypeSRV || strings.Contains(r.Header.Name.String(), "arpa") || r.Header.Type == typeNSEC {
				want = hostTTL
			}
			if r.Header.TTL != want {
				t.Errorf("%v: time to live, want %d (Section 10)", r.Header, want)
			}
		}
		equal(t, "names", b.had(), []string{"gatepost-1a2b.local"})
	})
}

func TestSection6Answers(t *testing.T) {
	onLAN(t, func(t *testing.T, l *fakeLAN, _ *box, other *node) {
		for _, tc := range []struct {
			q    dnsmessage.Question
			want string
		}{
			{q(ourHost, dnsmessage.TypeA, inet), "response A"},
			{q("GatePost-1A2B.Local.", dnsmessage.TypeA, inet), "response A"},
			{q(ourHost, dnsmessage.TypeAAAA, inet), "response 47"}, // Section 6.1: there is none
			{q("50.77.168.192.in-addr.arpa.", dnsmessage.TypePTR, inet), "response PTR"},
			{q("_https._tcp.local.", dnsmessage.TypePTR, inet), "response PTR"},
			{q("_services._dns-sd._udp.local.", dnsmessage.TypePTR, inet), "response PTR"},
			{q("gatepost-1a2b._https._tcp.local.", dnsmessage.TypeSRV, inet), "response SRV"},
			{q("gatepost-1a2b._https._tcp.local.", dnsmessage.TypeTXT, inet), "response TXT"},
			{q("other.local.", dnsmessage.TypeA, inet), ""},
			{q("_ipp._tcp.local.", dnsmessage.TypePTR, inet), ""},
			{q(ourHost, dnsmessage.TypeA, dnsmessage.ClassCHAOS), ""},
		} {
			time.Sleep(2 * time.Second)
			l.clear()
			ask(t, other, group4, nil, tc.q)
			time.Sleep(sharedDelay + sharedSpread)
			synctest.Wait()
			log := l.log()[1:] // after the question
			if tc.want == "" && len(log) == 0 {
				continue
			}
			if len(log) != 1 || tc.want == "" || !strings.Contains(strings.ReplaceAll(log[0], "Type", ""), tc.want) {
				t.Errorf("%v %v: got %q, want %q", tc.q.Name, tc.q.Type, log, tc.want)
			}
		}
	})
}

// RFC 6763, Section 12: who finds the page is told in the same packet where it
// is.
func TestServiceComesWithItsAddress(t *testing.T) {
	onLAN(t, func(t *testing.T, l *fakeLAN, _ *box, other *node) {
		ask(t, other, group4, nil, q(service, dnsmessage.TypePTR, inet))
		time.Sleep(sharedDelay + sharedSpread)
		synctest.Wait()
		m := l.last(t).msg
		var kinds []string
		for _, r := range m.Additionals {
			kinds = append(kinds, r.Header.Type.String())
		}
		for _, want := range []string{"TypeSRV", "TypeTXT", "TypeA"} {
			if !slices.Contains(kinds, want) {
				t.Errorf("additional: got %v, want %s among them", kinds, want)
			}
		}
	})
}

// Section 6: one record at most once a second; shared ones with a pause of 20
// to 120 milliseconds.
func TestSection6Rhythm(t *testing.T) {
	onLAN(t, func(t *testing.T, l *fakeLAN, _ *box, other *node) {
		began := time.Now()
		for range 100 {
			ask(t, other, group4, nil, q(ourHost, dnsmessage.TypeA, inet))
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		said := 0
		for _, line := range l.log() {
			if strings.Contains(line, "response") {
				said++
			}
		}
		if said != 2 { // at once and a second later
			t.Errorf("a hundred questions in %v: got %d answers, want 2", time.Since(began), said)
		}
		at := time.Since(l.start)
		ask(t, other, group4, nil, q(service, dnsmessage.TypePTR, inet))
		time.Sleep(sharedDelay + sharedSpread)
		synctest.Wait()
		if pause := l.last(t).at - at; pause < sharedDelay || pause > sharedDelay+sharedSpread {
			t.Errorf("pause of a shared record: got %v", pause)
		}
	})
}

// Section 7.1: what the asker knows, for at least half of the time, is not said.
func TestSection7KnownAnswers(t *testing.T) {
	onLAN(t, func(t *testing.T, l *fakeLAN, _ *box, other *node) {
		for _, tc := range []struct {
			name string
			rec  dnsmessage.Resource
			want int
		}{
			{"known", addressOf(ourHost, 50, 60), 0},
			{"known for a short time", addressOf(ourHost, 50, 59), 1},
			{"another address known", addressOf(ourHost, 51, 120), 1},
		} {
			time.Sleep(2 * time.Second)
			l.clear()
			ask(t, other, group4, func(m *dnsmessage.Message) { m.Answers = []dnsmessage.Resource{tc.rec} }, q(ourHost, dnsmessage.TypeA, inet))
			if got := l.count() - 1; got != tc.want {
				t.Errorf("%s: got %d answers, want %d", tc.name, got, tc.want)
			}
		}
		// Section 7.2: they come in a second packet.
		time.Sleep(2 * time.Second)
		l.clear()
		ask(t, other, group4, func(m *dnsmessage.Message) { m.Truncated = true }, q(ourHost, dnsmessage.TypeA, inet))
		time.Sleep(100 * time.Millisecond)
		ask(t, other, group4, func(m *dnsmessage.Message) { m.Answers = []dnsmessage.Resource{addressOf(ourHost, 50, 120)} })
		time.Sleep(time.Second)
		synctest.Wait()
		if got := l.count() - 2; got != 0 {
			t.Errorf("known answers in a second packet: got %d answers, want none", got)
		}
	})
}

// Section 5.4: the asker wants an answer for itself alone.
func TestSection5UnicastResponseBit(t *testing.T) {
	onLAN(t, func(t *testing.T, l *fakeLAN, _ *box, other *node) {
		ask(t, other, group4, nil, q(ourHost, dnsmessage.TypeA, inet|topBit))
		if s := l.last(t); s.to != other.addr {
			t.Errorf("said to all a moment ago: got an answer to %v, want %v", s.to, other.addr)
		}
		time.Sleep(hostTTL / 4 * time.Second)
		ask(t, other, group4, nil, q(ourHost, dnsmessage.TypeA, inet|topBit))
		if s := l.last(t); s.to != group4 {
			t.Errorf("not said to all for a quarter of its time: got an answer to %v, want %v", s.to, group4)
		}
	})
}

// Section 6.7: an asker of the old kind, from a port of its own.
func TestSection6LegacyAsker(t *testing.T) {
	onLAN(t, func(t *testing.T, l *fakeLAN, _ *box, _ *node) {
		old := l.plug(netip.MustParseAddrPort("192.168.77.9:40000"))
		ask(t, old, group4, func(m *dnsmessage.Message) { m.ID = 4711 }, q(ourHost, dnsmessage.TypeA, inet))
		s := l.last(t)
		if s.to != old.addr || s.msg.ID != 4711 || len(s.msg.Questions) != 1 || len(s.msg.Answers) != 1 ||
			s.msg.Answers[0].Header.TTL != legacyTTL || s.msg.Answers[0].Header.Class != inet {
			t.Errorf("got %+v", s)
		}
		for range 200 {
			ask(t, old, group4, nil, q(ourHost, dnsmessage.TypeA, inet))
		}
		if got := l.count() - 202; got > unicastBurst {
			t.Errorf("200 questions at once: got %d answers, want at most %d", got, unicastBurst)
		}
	})
}

// Section 11: nobody from beyond the wire gets an answer or can contradict.
func TestSection11FromBeyondTheWire(t *testing.T) {
	onLAN(t, func(t *testing.T, l *fakeLAN, b *box, _ *node) {
		for _, from := range []string{"10.0.0.9:5353", "203.0.113.9:40000", "192.168.78.9:5353"} {
			far := l.plug(netip.MustParseAddrPort(from))
			l.clear()
			ask(t, far, group4, nil, q(ourHost, dnsmessage.TypeA, inet))
			ask(t, far, netip.AddrPortFrom(home.Addr(), port), nil, q(ourHost, dnsmessage.TypeA, inet))
			ask(t, far, group4, says(addressOf(ourHost, 9, 120)))
			time.Sleep(2 * time.Second)
			if got := l.count() - 3; got != 0 {
				t.Errorf("%s: got %d packets: %q", from, got, l.log())
			}
		}
		// A response must come from the port of multicast DNS.
		ask(t, l.plug(netip.MustParseAddrPort("192.168.77.9:40000")), group4, says(addressOf(ourHost, 9, 120)))
		time.Sleep(2 * time.Second)
		equal(t, "names", b.had(), []string{"gatepost-1a2b.local"})
	})
}

// Section 9: the name belongs to another machine. It is looked for again, and
// then the box takes its other name, once.
func TestSection9OneRename(t *testing.T) {
	onLAN(t, func(t *testing.T, l *fakeLAN, b *box, other *node) {
		ask(t, other, group4, says(addressOf(ourHost, 9, 120)))
		time.Sleep(300 * time.Millisecond)
		ask(t, other, group4, says(addressOf(ourHost, 9, 120))) // it answers the probe
		time.Sleep(settled)
		equal(t, "names", b.had(), []string{"gatepost-1a2b.local", "gatepost-3c1a2b.local"})
		l.clear()
		ask(t, other, group4, nil, q(longHost, dnsmessage.TypeA, inet))
		if l.count() != 2 {
			t.Error("the box does not answer to its new name")
		}
		// The other name is kept when the network changes.
		b.stop()
		b.plug(t)
		time.Sleep(settled)
		if got := b.Name(); got+"." != longHost {
			t.Errorf("after a change of the network: got %s", got)
		}
	})
}

// A storm of contradictions ends in silence and not in new names.
func TestStormEndsInSilence(t *testing.T) {
	onLAN(t, func(t *testing.T, l *fakeLAN, b *box, other *node) {
		for i := range 2000 {
			ask(t, other, group4, says(addressOf(ourHost, byte(i%40), 120), addressOf(longHost, byte(i%40), 120)))
			time.Sleep(50 * time.Millisecond)
		}
		sent := 0
		for _, line := range l.log() {
			if strings.Contains(line, "?") || strings.Contains(line, "SRV") {
				sent++
			}
		}
		if sent > 20 {
			t.Errorf("the box sent %d packets in the storm", sent)
		}
		equal(t, "names", b.had(), []string{
			"gatepost-1a2b.local", "gatepost-3c1a2b.local",
			"silent: the machine 192.168.77.9 goes on using the name gatepost-3c1a2b.local; the box has no name on this network",
		})
	})
}

// A repeater sends every word of the box back to it, from its own address.
func TestEchoOfOwnWordsIsNoConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN()
		l.echo = netip.MustParseAddr("192.168.77.254")
		b := newBox(l)
		for _, a := range []string{"192.168.77.50/24", "192.168.77.60/24", "192.168.77.70/24"} {
			b.plug(t, netip.MustParsePrefix(a))
			time.Sleep(settled)
			l.clear()
			// What the repeater still holds of the addresses of before.
			for _, old := range []byte{50, 60} {
				if a != fmt.Sprintf("192.168.77.%d/24", old) && slices.Contains(b.hadAddresses(), old) {
					ask(t, l.plug(netip.AddrPortFrom(l.echo, port)), group4, says(addressOf(ourHost, old, 120)))
				}
			}
			time.Sleep(settled)
			for _, line := range l.log() {
				if strings.Contains(line, "?") {
					t.Errorf("%s: an echo of before makes the box look for its name again: %s", a, line)
				}
			}
			b.stop()
		}
		equal(t, "names", b.had(), []string{"gatepost-1a2b.local"})
	})
}

// A machine that contradicts now and then, but does not answer when the name is
// looked for, gets silence in the end.
func TestContradictionsAreCounted(t *testing.T) {
	onLAN(t, func(t *testing.T, l *fakeLAN, b *box, other *node) {
		for range 3 {
			ask(t, other, group4, says(addressOf(ourHost, 9, 120)))
			time.Sleep(time.Minute)
		}
		equal(t, "after three", b.had(), []string{"gatepost-1a2b.local"})
		time.Sleep(patienceTime)
		for range 4 {
			ask(t, other, group4, says(addressOf(ourHost, 9, 120)))
			time.Sleep(time.Minute)
		}
		equal(t, "after four in ten minutes", b.had(), []string{
			"gatepost-1a2b.local",
			"silent: the machine 192.168.77.9 goes on using the name gatepost-1a2b.local; the box has no name on this network",
		})
	})
}

// hadAddresses are the last bytes of the addresses of before.
func (b *box) hadAddresses() []byte {
	b.Responder.mu.Lock()
	defer b.Responder.mu.Unlock()
	var out []byte
	for _, r := range b.before {
		if r.typ == dnsmessage.TypeA {
			out = append(out, r.data[3])
		}
	}
	return out
}

// Section 8.2: of two that look for a name at the same time, the one with the
// later record gets it; the other looks again and takes its other name.
func TestSection8SimultaneousProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLAN()
		low, high := newBox(l), newBox(l)
		low.plug(t, netip.MustParsePrefix("192.168.77.50/24"))
		high.plug(t, netip.MustParsePrefix("192.168.77.51/24"))
		time.Sleep(10 * time.Second)
		equal(t, "the earlier address", low.had(), []string{"gatepost-1a2b.local", "gatepost-3c1a2b.local"})
		equal(t, "the later address", high.had(), []string{"gatepost-1a2b.local"})
		low.stop()
		high.stop()
	})
}

func TestSection18WrongPackets(t *testing.T) {
	onLAN(t, func(t *testing.T, l *fakeLAN, b *box, other *node) {
		for _, change := range []func(*dnsmessage.Message){
			func(m *dnsmessage.Message) { m.OpCode = 5 },
			func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeRefused },
		} {
			ask(t, other, group4, change, q(ourHost, dnsmessage.TypeA, inet))
		}
		for n := range 40 {
			if err := other.Send(make([]byte, n), group4); err != nil {
				t.Fatal(err)
			}
		}
		if err := other.Send(make([]byte, maxPacket+1), group4); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, line := range l.log() {
			if strings.Contains(line, "response") {
				t.Errorf("answered: %s", line)
			}
		}
		equal(t, "names", b.had(), []string{"gatepost-1a2b.local"})
	})
}
