package resolver

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A server that does not know EDNS (RFC 6891, Section 7) is asked without it.
func TestServerWithoutEDNS(t *testing.T) {
	for _, rcode := range []int{dns.RcodeFormatError, dns.RcodeNotImplemented} {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg)
			m.SetReply(q)
			if q.IsEdns0() != nil {
				m.Rcode = rcode
			} else {
				rrs(t, "good.example. 60 IN MX 10 mx1.good.example.")(m)
			}
			_ = w.WriteMsg(m)
		})}
		go srv.ActivateAndServe()
		r := New(Config{Servers: func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort(pc.LocalAddr().String())} }, Rounds: 1})
		got, err := r.LookupMX(t.Context(), "good.example")
		if err != nil || len(got) != 1 {
			t.Errorf("%s: got %v, %v; want the answer without EDNS", dns.RcodeToString[rcode], got, err)
		}
		pc.Close()
	}
}

// An answer that was cut short is never used: when TCP fails, or says something
// else than what was asked, there is no answer.
func TestTruncatedNeedsTCP(t *testing.T) {
	for name, tcp := range map[string]func(net.Conn, *dns.Msg){
		"no TCP": nil,
		"another id": func(c net.Conn, m *dns.Msg) {
			m.Id++
			_ = (&dns.Conn{Conn: c}).WriteMsg(m)
		},
		"another name": func(c net.Conn, m *dns.Msg) {
			m.Question[0].Name = "other.example."
			_ = (&dns.Conn{Conn: c}).WriteMsg(m)
		},
		"another type": func(c net.Conn, m *dns.Msg) {
			m.Question[0].Qtype = dns.TypeA
			_ = (&dns.Conn{Conn: c}).WriteMsg(m)
		},
		"a question": func(c net.Conn, m *dns.Msg) {
			m.Response = false
			_ = (&dns.Conn{Conn: c}).WriteMsg(m)
		},
		"rubbish": func(c net.Conn, _ *dns.Msg) { _, _ = c.Write([]byte{0, 5, 1, 2, 3, 4, 5}) },
		"endless": func(c net.Conn, m *dns.Msg) {
			m.Id++
			for (&dns.Conn{Conn: c}).WriteMsg(m) == nil {
				continue
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			pc, err := net.ListenPacket("udp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer pc.Close()
			defer ln.Close()
			if tcp == nil {
				ln.Close()
			}
			short := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
				m := new(dns.Msg)
				m.SetReply(q)
				m.Truncated = true
				rrs(t, "good.example. 60 IN MX 10 half.example.")(m)
				_ = w.WriteMsg(m)
			})}
			go short.ActivateAndServe()
			go func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					_ = c.SetDeadline(time.Now().Add(5 * time.Second))
					if q, err := (&dns.Conn{Conn: c}).ReadMsg(); err == nil {
						m := new(dns.Msg)
						m.SetReply(q)
						rrs(t, "good.example. 60 IN MX 10 evil.example.")(m)
						tcp(c, m)
					}
					c.Close()
				}
			}()
			r := New(Config{
				Servers: func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort(pc.LocalAddr().String())} },
				Rounds:  1, Timeout: time.Second,
			})
			if got, err := r.LookupMX(t.Context(), "good.example"); !errors.Is(err, ErrTemporary) {
				t.Errorf("got %v, %v; want no answer", got, err)
			}
		})
	}
}

// Whatever a server sends, what comes out belongs to the question.
func FuzzDigest(f *testing.F) {
	for _, texts := range [][]string{
		{"good.example. 60 IN MX 10 mx1.good.example."},
		{"good.example. 60 IN CNAME other.example.", "other.example. 5 IN MX 10 mx1.good.example."},
		{"good.example. 60 IN CNAME good.example."},
		{"evil.example. 60 IN MX 10 evil.example."},
		{"good.example. 60 IN SOA ns. root. 1 2 3 4 60"},
	} {
		m := new(dns.Msg)
		m.SetQuestion("good.example.", dns.TypeMX)
		for _, s := range texts {
			rr, err := dns.NewRR(s)
			if err != nil {
				f.Fatal(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(dns.Msg)
		if m.Unpack(b) != nil {
			return
		}
		a := digest("good.example.", dns.TypeMX, m)
		for _, rr := range a.records {
			if _, ok := rr.(*dns.MX); !ok && rr.Header().Rrtype == dns.TypeMX {
				continue // without data, as in an update
			}
			if rr.Header().Rrtype != dns.TypeMX {
				t.Errorf("an answer of another type: %v", rr)
			}
		}
		if a.ttl < 0 || a.ttl > maxTTL || a.loop && len(a.records) > 0 || a.next == "good.example." {
			t.Errorf("got %+v", a)
		}
		weight("good.example.", a)
	})
}
