package resolver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// udpSize is the answer size that we offer to take over UDP: what fits an
// Ethernet frame without fragments.
const udpSize = 1232

// ask puts one question to the servers in turn until one answers it; those that
// did not answer lately come last. SERVFAIL and REFUSED count as no answer to
// this question.
func (r *Resolver) ask(ctx context.Context, fqdn string, t uint16) (answer, error) {
	servers := r.cfg.Servers()
	if len(servers) == 0 {
		r.pulse.beat(false)
		return answer{}, errors.New("no name server is known")
	}
	var last error
	reached := false
	for range r.cfg.Rounds {
		for _, s := range r.order.of(servers, r.cfg.Now()) {
			began := r.cfg.Now()
			m, err := r.exchange(ctx, s, fqdn, t)
			if err != nil {
				if ctx.Err() != nil {
					// A caller with little time must not meet the same server
					// again and again.
					if now := r.cfg.Now(); now.Sub(began) >= impatient {
						r.order.note(s, false, servers, now)
					}
					return answer{}, context.Cause(ctx)
				}
				r.order.note(s, false, servers, r.cfg.Now())
				last = err
				continue
			}
			r.order.note(s, true, servers, r.cfg.Now())
			reached = true
			if m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError {
				r.pulse.beat(true)
				return digest(fqdn, t, m), nil
			}
			last = fmt.Errorf("%s answered %s", s.Addr(), dns.RcodeToString[m.Rcode])
		}
	}
	r.pulse.beat(reached)
	return answer{}, last
}

// exchange asks one server. A server that does not know EDNS (RFC 6891, Section
// 7), as in some office routers, is asked again without.
func (r *Resolver) exchange(ctx context.Context, server netip.AddrPort, fqdn string, t uint16) (*dns.Msg, error) {
	q := new(dns.Msg)
	q.SetQuestion(fqdn, t)
	q.SetEdns0(udpSize, false)
	m, err := r.inquire(ctx, server, q)
	if err == nil && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) {
		q = new(dns.Msg)
		q.SetQuestion(fqdn, t)
		m, err = r.inquire(ctx, server, q)
	}
	return m, err
}

// inquire puts a question over UDP first, and over TCP when the answer was cut
// short.
func (r *Resolver) inquire(ctx context.Context, server netip.AddrPort, q *dns.Msg) (*dns.Msg, error) {
	m, err := r.over(ctx, "udp", server, q)
	if err == nil && m.Truncated {
		m, err = r.over(ctx, "tcp", server, q)
	}
	return m, err
}

func (r *Resolver) over(ctx context.Context, network string, server netip.AddrPort, q *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	c, err := r.cfg.Dial(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn := &dns.Conn{Conn: c, UDPSize: udpSize}
	if err := conn.WriteMsg(q); err != nil {
		return nil, err
	}
	// A datagram that does not belong to the question may come from anyone:
	// it is passed over, and the wait goes on (RFC 5452, Section 9.1).
	for range 16 {
		m, err := conn.ReadMsg()
		if err != nil {
			if network == "udp" && m != nil {
				continue
			}
			return nil, fmt.Errorf("%s over %s: %w", server.Addr(), network, err)
		}
		if belongs(q, m) {
			return m, nil
		}
	}
	return nil, fmt.Errorf("%s sent only answers to other questions", server.Addr())
}

// belongs reports whether m answers q: the same id and the same question.
func belongs(q, m *dns.Msg) bool {
	return m.Response && m.Id == q.Id && m.Opcode == dns.OpcodeQuery && len(m.Question) == 1 &&
		m.Question[0].Qtype == q.Question[0].Qtype && m.Question[0].Qclass == q.Question[0].Qclass &&
		strings.EqualFold(m.Question[0].Name, q.Question[0].Name)
}
