package lab

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// openDNS opens the DNS server on UDP and TCP.
func (l *Lab) openDNS(addr netip.AddrPort) error {
	if err := l.listenPacket(addr, l.answerDNS); err != nil {
		return err
	}
	return l.listen(addr, l.serveDNS)
}

// answerDNS answers one datagram; an answer that is too long for the asker is
// cut and marked so (RFC 2181, Section 9).
func (l *Lab) answerDNS(ctx context.Context, c net.PacketConn, from net.Addr, b []byte) {
	reply, size := l.resolve(ctx, b)
	if reply == nil {
		return
	}
	reply.Truncate(size)
	if out, err := reply.Pack(); err == nil {
		_, _ = c.WriteTo(out, from)
	}
}

// serveDNS answers the questions of one TCP connection in turn (RFC 7766).
func (l *Lab) serveDNS(ctx context.Context, c net.Conn) {
	for {
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		b := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		reply, _ := l.resolve(ctx, b)
		if reply == nil {
			return
		}
		out, err := reply.Pack()
		if err != nil {
			return
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)); err != nil {
			return
		}
	}
}

// resolve makes the reply to a question and returns it with the size that the
// asker takes over UDP. It returns nil when there is none.
func (l *Lab) resolve(ctx context.Context, question []byte) (*dns.Msg, int) {
	var m dns.Msg
	if err := m.Unpack(question); err != nil || m.Response || len(m.Question) != 1 {
		return nil, 0
	}
	q := m.Question[0]
	reply := new(dns.Msg)
	reply.SetReply(&m)
	reply.RecursionAvailable = true
	size := dns.MinMsgSize
	if o := m.IsEdns0(); o != nil {
		size = max(size, min(int(o.UDPSize()), 4096))
		reply.SetEdns0(1232, false)
	}
	l.mu.Lock()
	z, fault := l.zone, l.nameFault(q)
	l.mu.Unlock()
	if fault.Delay > 0 {
		t := time.NewTimer(fault.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil, 0
		}
	}
	switch {
	case fault.Drop:
		return nil, 0
	case fault.Rcode != "":
		reply.Rcode = dns.StringToRcode[fault.Rcode]
	case q.Qclass != dns.ClassINET:
		reply.Rcode = dns.RcodeNotImplemented
	default:
		for _, f := range z.answer(reply, q) {
			l.opts.Events(AnswerForged{l.stamp(), z.forged[f], strings.TrimSuffix(f.name, "."), dns.TypeToString[f.qtype]})
		}
	}
	return reply, size
}

// nameFault returns the fault that holds for the question; l.mu is held.
func (l *Lab) nameFault(q dns.Question) NameFault {
	name := strings.ToLower(strings.TrimSuffix(q.Name, "."))
	for _, f := range l.names {
		if f.Name == name && (f.Type == "" || f.Type == dns.TypeToString[q.Qtype]) {
			return f
		}
	}
	return NameFault{}
}

// SetName puts a fault on a name and type, in place of the one before. A
// fault without effect takes it away.
func (l *Lab) SetName(f NameFault) {
	f.Name = strings.ToLower(strings.TrimSuffix(f.Name, "."))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names = slices.DeleteFunc(l.names, func(have NameFault) bool {
		return have.Name == f.Name && have.Type == f.Type
	})
	if f.Rcode != "" || f.Delay > 0 || f.Drop {
		l.names = append(l.names, f)
	}
}
