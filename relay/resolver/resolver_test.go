package resolver

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// nameServer is a real DNS server on loopback, UDP and TCP on one port, that
// answers from a zone in text form.
type nameServer struct {
	addr    netip.AddrPort
	asked   atomic.Int64
	answers map[string]func(*dns.Msg)
}

func (s *nameServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	s.asked.Add(1)
	m := new(dns.Msg)
	m.SetReply(q)
	key := strings.ToLower(q.Question[0].Name) + " " + dns.TypeToString[q.Question[0].Qtype]
	f, ok := s.answers[key]
	if !ok {
		m.Rcode = dns.RcodeNameError
	} else {
		f(m)
	}
	if m.Truncated && w.LocalAddr().Network() == "tcp" {
		m.Truncated = false
	}
	_ = w.WriteMsg(m)
}

func rrs(t *testing.T, texts ...string) func(*dns.Msg) {
	var list []dns.RR
	for _, s := range texts {
		rr, err := dns.NewRR(s)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, rr)
	}
	return func(m *dns.Msg) {
		for _, rr := range list {
			if rr.Header().Rrtype == dns.TypeSOA {
				m.Ns = append(m.Ns, rr)
			} else {
				m.Answer = append(m.Answer, rr)
			}
		}
	}
}

func serve(t *testing.T, answers map[string]func(*dns.Msg)) *nameServer {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{addr: netip.MustParseAddrPort(tcp.Addr().String()), answers: answers}
	for _, srv := range []*dns.Server{{Listener: tcp, Handler: s}, {PacketConn: udp, Handler: s}} {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		go srv.ActivateAndServe()
		<-started
		t.Cleanup(func() { srv.Shutdown() })
	}
	return s
}

func (s *nameServer) resolver() *Resolver {
	return New(Config{
		Servers: func() []netip.AddrPort { return []netip.AddrPort{s.addr} },
		Timeout: 2 * time.Second, Rounds: 1,
	})
}

func world(t *testing.T) *nameServer {
	code := func(rcode int) func(*dns.Msg) { return func(m *dns.Msg) { m.Rcode = rcode } }
	return serve(t, map[string]func(*dns.Msg){
		"good.example. MX":  rrs(t, "good.example. 60 IN MX 20 MX2.good.example.", "good.example. 60 IN MX 10 mx1.good.example."),
		"alias.example. MX": rrs(t, "alias.example. 60 IN CNAME good.example.", "good.example. 60 IN MX 10 mx1.good.example."),
		"far.example. MX":   rrs(t, "far.example. 60 IN CNAME good.example."),
		"loop.example. MX":  rrs(t, "loop.example. 60 IN CNAME loop2.example."),
		"loop2.example. MX": rrs(t, "loop2.example. 60 IN CNAME loop.example."),
		"self.example. MX":  rrs(t, "self.example. 60 IN CNAME self.example.", "self.example. 60 IN SOA ns. root. 1 2 3 4 60"),
		"ring.example. MX":  rrs(t, "ring.example. 60 IN CNAME ring2.example.", "ring2.example. 60 IN CNAME ring.example."),
		"deadend.example. MX": func(m *dns.Msg) {
			m.Rcode = dns.RcodeNameError
			rrs(t, "deadend.example. 60 IN CNAME gone.example.")(m)
		},
		"null.example. MX":           rrs(t, "null.example. 60 IN MX 0 ."),
		"a-only.example. MX":         rrs(t, "a-only.example. 60 IN SOA ns. root. 1 2 3 4 60"),
		"broken.example. MX":         code(dns.RcodeServerFailure),
		"refused.example. MX":        code(dns.RcodeRefused),
		"mx1.good.example. A":        rrs(t, "mx1.good.example. 60 IN A 192.0.2.1", "mx1.good.example. 60 IN A 192.0.2.2"),
		"mx1.good.example. AAAA":     rrs(t, "mx1.good.example. 60 IN AAAA 2001:db8::1"),
		"v6.example. A":              rrs(t),
		"v6.example. AAAA":           rrs(t, "v6.example. 60 IN AAAA 2001:db8::6"),
		"half.example. A":            code(dns.RcodeServerFailure),
		"half.example. AAAA":         rrs(t),
		"_mta-sts.good.example. TXT": rrs(t, `_mta-sts.good.example. 60 IN TXT "v=STSv1; " "id=1;"`, `_mta-sts.good.example. 60 IN TXT "other \"quoted\" \195\164"`),
		"stranger.example. MX":       rrs(t, "somebody.else.example. 60 IN MX 10 evil.example."),
		"long.example. TXT": func(m *dns.Msg) {
			m.Truncated = true
			rrs(t, `long.example. 60 IN TXT "whole"`)(m)
		},
	})
}

func TestLookupMX(t *testing.T) {
	r := world(t).resolver()
	for _, c := range []struct {
		domain string
		want   []MX
		err    error
	}{
		{"good.example", []MX{{"mx1.good.example", 10}, {"mx2.good.example", 20}}, nil},
		{"GOOD.Example.", []MX{{"mx1.good.example", 10}, {"mx2.good.example", 20}}, nil},
		{"alias.example", []MX{{"mx1.good.example", 10}}, nil},
		{"far.example", []MX{{"mx1.good.example", 10}, {"mx2.good.example", 20}}, nil},
		{"null.example", []MX{{"", 0}}, nil},
		{"a-only.example", nil, ErrNoData},
		{"nothing.example", nil, ErrNXDomain},
		{"broken.example", nil, ErrTemporary},
		{"refused.example", nil, ErrTemporary},
		{"loop.example", nil, ErrTemporary},
		// A circle is no absence: an implicit MX must not follow from it.
		{"self.example", nil, ErrTemporary},
		{"ring.example", nil, ErrTemporary},
		{"deadend.example", nil, ErrNXDomain},
		{"stranger.example", nil, ErrNoData}, // records of another name are not an answer
		{"", nil, ErrNXDomain},
		{strings.Repeat("a", 64) + ".example", nil, ErrNXDomain},
	} {
		got, err := r.LookupMX(t.Context(), c.domain)
		slices.SortFunc(got, func(a, b MX) int { return int(a.Pref) - int(b.Pref) })
		if !reflect.DeepEqual(got, c.want) || !errors.Is(err, c.err) {
			t.Errorf("MX of %q: got %v, %v; want %v, %v", c.domain, got, err, c.want, c.err)
		}
	}
}

func TestLookupNetIP(t *testing.T) {
	r := world(t).resolver()
	for _, c := range []struct {
		network, host, want string
		err                 error
	}{
		{"ip", "mx1.good.example", "[192.0.2.1 192.0.2.2 2001:db8::1]", nil},
		{"ip4", "mx1.good.example", "[192.0.2.1 192.0.2.2]", nil},
		{"ip6", "mx1.good.example", "[2001:db8::1]", nil},
		{"ip", "v6.example", "[2001:db8::6]", nil},
		{"ip4", "v6.example", "[]", ErrNoData},
		{"ip", "nothing.example", "[]", ErrNXDomain},
		// One family fails and the other is absent: nobody can say.
		{"ip", "half.example", "[]", ErrTemporary},
	} {
		got, err := r.LookupNetIP(t.Context(), c.network, c.host)
		if s := fmtAddrs(got); s != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s of %s: got %s, %v; want %s, %v", c.network, c.host, s, err, c.want, c.err)
		}
	}
}

func fmtAddrs(list []netip.Addr) string {
	var s []string
	for _, a := range list {
		s = append(s, a.String())
	}
	return "[" + strings.Join(s, " ") + "]"
}

// RFC 8461, Section 3.1: the strings of one record are joined without spaces,
// and the bytes are those that were sent.
func TestLookupTXT(t *testing.T) {
	r := world(t).resolver()
	got, err := r.LookupTXT(t.Context(), "_mta-sts.good.example.")
	want := []string{"v=STSv1; id=1;", "other \"quoted\" \xc3\xa4"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if got, err := r.LookupTXT(t.Context(), "long.example"); err != nil || len(got) != 1 || got[0] != "whole" {
		t.Errorf("an answer cut short over UDP: got %q, %v; want it whole over TCP", got, err)
	}
}

// The form that mtasts and the standard library read absence from.
func TestErrorsAsDNSError(t *testing.T) {
	r := world(t).resolver()
	for domain, notFound := range map[string]bool{"nothing.example": true, "a-only.example": true, "broken.example": false} {
		_, err := r.LookupMX(t.Context(), domain)
		var de *net.DNSError
		if !errors.As(err, &de) || de.IsNotFound != notFound || de.IsTemporary == notFound {
			t.Errorf("%s: got %+v, want IsNotFound %v", domain, de, notFound)
		}
	}
}

func TestCacheKeepsForTheTTL(t *testing.T) {
	s := world(t)
	now := time.Unix(1000, 0)
	r := New(Config{Servers: func() []netip.AddrPort { return []netip.AddrPort{s.addr} }, Now: func() time.Time { return now }})
	ask := func(name string) int64 {
		before := s.asked.Load()
		r.LookupMX(t.Context(), name)
		return s.asked.Load() - before
	}
	for _, name := range []string{"good.example", "a-only.example"} {
		if n := ask(name); n != 1 {
			t.Errorf("%s, first: asked %d times, want 1", name, n)
		}
		if n := ask(name); n != 0 {
			t.Errorf("%s, second: asked %d times, want 0", name, n)
		}
	}
	// No SOA, no negative caching (RFC 2308, Section 5); a failure is not kept.
	for _, name := range []string{"nothing.example", "broken.example"} {
		ask(name)
		if n := ask(name); n == 0 {
			t.Errorf("%s was kept", name)
		}
	}
	now = now.Add(61 * time.Second)
	if n := ask("good.example"); n != 1 {
		t.Errorf("after the TTL: asked %d times, want 1", n)
	}
	r.Flush()
	if n := ask("good.example"); n != 1 {
		t.Errorf("after Flush: asked %d times, want 1", n)
	}
}

// Many who want to know the same at one moment put one question; one who gives
// up does not take the answer from the others.
func TestSharedQuestion(t *testing.T) {
	begun, release := make(chan struct{}, 10), make(chan struct{})
	s := serve(t, map[string]func(*dns.Msg){"slow.example. MX": func(m *dns.Msg) {
		begun <- struct{}{}
		<-release
		rrs(t, "slow.example. 60 IN MX 10 mx.slow.example.")(m)
	}})
	r := s.resolver()
	r.cfg.Timeout = time.Minute
	first, giveUp := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := r.LookupMX(first, "slow.example"); !errors.Is(err, ErrTemporary) {
			t.Errorf("who gave up: got %v", err)
		}
	})
	<-begun
	for range 20 {
		wg.Go(func() {
			if got, err := r.LookupMX(t.Context(), "SLOW.example"); err != nil || len(got) != 1 {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
	time.Sleep(20 * time.Millisecond) // most of them wait by now
	giveUp()
	<-begun
	close(release)
	wg.Wait()
	if n := s.asked.Load(); n > 4 {
		t.Errorf("the server was asked %d times by 21", n)
	}
}

func TestSecondServerIsAsked(t *testing.T) {
	good := world(t)
	bad := serve(t, map[string]func(*dns.Msg){"good.example. MX": func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }})
	r := New(Config{Servers: func() []netip.AddrPort { return []netip.AddrPort{bad.addr, good.addr} }})
	if got, err := r.LookupMX(t.Context(), "good.example"); err != nil || len(got) != 2 {
		t.Errorf("got %v, %v; want the second server's answer", got, err)
	}
}

func TestWorking(t *testing.T) {
	s := world(t)
	r := s.resolver()
	if known, _ := r.Working(); known {
		t.Error("known before the first question")
	}
	r.Probe(t.Context())
	if known, ok := r.Working(); !known || !ok {
		t.Errorf("got %v, %v after an answer; want true, true", known, ok)
	}
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	addr := netip.MustParseAddrPort(silent.LocalAddr().String())
	r = New(Config{Servers: func() []netip.AddrPort { return []netip.AddrPort{addr} }, Timeout: 50 * time.Millisecond, Rounds: 1})
	r.Probe(t.Context())
	if known, ok := r.Working(); !known || ok {
		t.Errorf("got %v, %v after silence; want true, false", known, ok)
	}
	none := New(Config{Servers: func() []netip.AddrPort { return nil }})
	if _, err := none.LookupMX(t.Context(), "good.example"); !errors.Is(err, ErrTemporary) {
		t.Errorf("without servers: got %v, want a temporary error", err)
	}
}

// A datagram with another id or question does not count, however fast it is
// (RFC 5452, Section 9.1).
func TestForgedDatagramIsPassedOver(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	go func() {
		buf := make([]byte, 1500)
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			return
		}
		q := new(dns.Msg)
		if q.Unpack(buf[:n]) != nil {
			return
		}
		send := func(id uint16, name, host string) {
			m := new(dns.Msg)
			m.SetReply(q)
			m.Id = id
			m.Question[0].Name = name
			rrs(t, name+" 60 IN MX 10 "+host)(m)
			b, _ := m.Pack()
			pc.WriteTo(b, from)
		}
		send(q.Id+1, "good.example.", "evil.example.")
		send(q.Id, "other.example.", "evil.example.")
		send(q.Id, "good.example.", "mx1.good.example.")
	}()
	addr := netip.MustParseAddrPort(pc.LocalAddr().String())
	r := New(Config{Servers: func() []netip.AddrPort { return []netip.AddrPort{addr} }, Rounds: 1})
	got, err := r.LookupMX(t.Context(), "good.example")
	if err != nil || len(got) != 1 || got[0].Host != "mx1.good.example" {
		t.Errorf("got %v, %v; want the true answer", got, err)
	}
}

func TestContextEndsTheWait(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	addr := netip.MustParseAddrPort(pc.LocalAddr().String())
	r := New(Config{Servers: func() []netip.AddrPort { return []netip.AddrPort{addr} }, Timeout: time.Minute})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	done := make(chan error, 1)
	go func() { _, err := r.LookupMX(ctx, "good.example"); done <- err }()
	select {
	case err := <-done:
		if !errors.Is(err, ErrTemporary) {
			t.Errorf("got %v, want a temporary error", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the lookup did not end with its context")
	}
}

func FuzzUnescape(f *testing.F) {
	for _, s := range []string{"", "plain", `\"`, `\195\164`, `\`, `a\1`, `\999`, `\\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := unescape(s); len(got) > len(s) {
			t.Errorf("unescape(%q) grew to %q", s, got)
		}
	})
}
