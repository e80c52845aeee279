package deliver

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"

	"gatepost/mtasts"
	"gatepost/relay/smtpc"
	"gatepost/relay/tlspolicy"
	"gatepost/relay/verdict"
)

// mxWay is the way to one address of an MX host. name is "" for an address
// literal.
func (a *attempt) mxWay(name string, addr netip.Addr, pattern string, v verdict.Verdict) *way {
	return &way{
		key:   key{domain: a.m.Domain, host: name, addr: netip.AddrPortFrom(addr, a.d.cfg.Port)},
		plain: v, pattern: pattern, requireTLS: a.m.Envelope.RequireTLS,
		open: a.openMX, judge: a.judgeMX,
	}
}

// judgeMX asks the policy about a session.
func (a *attempt) judgeMX(s *session, v *verdict.Verdict) tlspolicy.Decision {
	now := a.d.cfg.Now()
	dec, ok := s.recall(a.demand, now)
	if !ok {
		dec = a.demand.Session(s.key.host, s.st, a.d.cfg.Roots, now)
		s.remember(a.demand, dec, now)
	}
	describe(v, dec, s.conn.State())
	return dec
}

// openMX makes one session with one address, and a second one in clear where
// TLS broke and nobody demands it.
func (a *attempt) openMX(ctx context.Context, w *way) *session {
	s, err := a.d.connect(ctx, w.key, a.demand.MustVerify(), true)
	if err != nil {
		a.unreached(w, err)
		return nil
	}
	dec := a.judgeMX(s, &w.v)
	if dec.TryClear {
		s.conn.Close()
		if s, err = a.d.connect(ctx, w.key, false, false); err != nil {
			a.unreached(w, err)
			return nil
		}
		s.once = true // the next message tries TLS again
		failed := dec
		dec = a.judgeMX(s, &w.v)
		// It is the failure of TLS that is amiss, not that TLS was left out after it.
		if dec.Reason != "" {
			dec.Reason = failed.Reason
		}
		dec.Detail = "TLS was tried first: " + failed.Detail
	}
	w.dec = dec
	if dec.Send {
		return s
	}
	a.d.pool.quit(s)
	if networkFault(s.st.HandshakeErr) {
		// A black hole on the path says nothing about the host's TLS.
		a.miss(w, finish(w.v, verdict.Deferred, verdict.ConnectTimeout, dec.Rule, s.st.HandshakeErr.Error()), a.seen(w, s, false))
		return nil
	}
	a.miss(w, refused(w.v, dec), a.seen(w, s, false))
	return nil
}

// unreached notes that an address gave no session.
func (a *attempt) unreached(w *way, err error) {
	v := connectFailure(w.v, err)
	h := verdict.Host{Time: w.start, Pattern: w.pattern}
	if noWay(err) {
		w.away = &v
		a.witness(v, h)
		return
	}
	a.miss(w, v, h)
}

// connect opens a connection, greets and, unless withTLS is false, starts TLS
// where it is offered. A failed handshake is no error here: it is in the state.
func (d *Deliverer) connect(ctx context.Context, k key, must, withTLS bool) (*session, error) {
	var st mtasts.TLSState
	sni := k.host
	if sni == "" {
		sni = k.addr.Addr().String()
	}
	conn, err := d.cfg.SMTP.Connect(ctx, sni, k.addr)
	var re *smtpc.ReplyError
	if errors.As(err, &re) && re.Command == "EHLO" && re.Code/100 == 5 && !must {
		// An old server without extensions (RFC 5321, Section 3.2). It has no
		// TLS, so this way exists only where none is demanded.
		conn, err = d.cfg.SMTP.ConnectHELO(ctx, sni, k.addr)
	}
	if err != nil {
		return nil, err
	}
	st.STARTTLS = conn.Offered()
	if withTLS && conn.Offered() {
		if err := conn.StartTLS(ctx, &tls.Config{}); err != nil {
			st.HandshakeErr = err
		}
		st.Connection = conn.State()
	}
	return newSession(k, conn, st), nil
}
