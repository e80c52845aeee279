package nexthop

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"gatepost/relay/smtpc"
	"gatepost/relay/verdict"
)

// maxAddrs is how many addresses of one hop are tried.
const maxAddrs = 8

// Open makes a session with the hop that meets its rule and, where the settings
// ask for it, is logged in: it finds the address, connects, says EHLO, sets up
// TLS, judges it and says EHLO again. Addresses are tried in turn until one
// gives a session; a refused login ends it at once, so that a wrong password
// locks nothing. Private and loopback addresses are allowed: the operator chose
// them.
//
// Errors: *NotSafeError (ErrNotSafe), *LoginError (ErrLogin), ErrNoAddress, the
// error of Validate, and those of smtpc about a host. None of them is about a
// message; all mean that mail has to wait. Of several addresses the error is
// that of the one which came furthest: a login or a rule that failed is told
// before a network that did.
func (h Hop) Open(ctx context.Context, env Env) (*Session, error) {
	if err := h.Validate(); err != nil {
		return nil, err
	}
	addrs, err := h.addrs(ctx, env)
	if err != nil {
		return nil, err
	}
	var told error
	for _, a := range addrs {
		start := env.now()
		s, err := h.openAt(ctx, env, netip.AddrPortFrom(a, h.port()))
		if err == nil {
			return s, nil
		}
		h.note(env, a, start, err)
		if told == nil || errors.Is(err, ErrLogin) || errors.Is(err, ErrNotSafe) && !errors.Is(told, ErrNotSafe) {
			told = err
		}
		if errors.Is(err, ErrLogin) || ctx.Err() != nil {
			break
		}
	}
	return nil, told
}

func (h Hop) addrs(ctx context.Context, env Env) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(h.Host); err == nil {
		return []netip.Addr{a}, nil
	}
	if env.LookupNetIP == nil {
		return nil, fmt.Errorf("%w: nothing to look it up with", ErrNoAddress)
	}
	family := env.Family
	if family == "" {
		family = "ip"
	}
	found, err := env.LookupNetIP(ctx, family, h.Host)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoAddress, err)
	}
	var addrs []netip.Addr
	for _, a := range found {
		a = a.Unmap()
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || slices.Contains(addrs, a) {
			continue
		}
		if addrs = append(addrs, a); len(addrs) == maxAddrs {
			break
		}
	}
	if len(addrs) == 0 {
		return nil, ErrNoAddress
	}
	return addrs, nil
}

// openAt makes a session at one address.
func (h Hop) openAt(ctx context.Context, env Env, addr netip.AddrPort) (*Session, error) {
	s := &Session{Addr: addr}
	var err error
	switch {
	case h.Implicit:
		s.Conn, err = env.SMTP.ConnectTLS(ctx, h.name(), addr, nil)
		err = h.handshakeFailed(err)
	case h.rule() == TLSNone:
		s.Conn, err = h.connectClear(ctx, env, addr)
	default:
		err = h.startTLS(ctx, env, s)
	}
	if err != nil {
		return nil, err
	}
	if err := h.Judge(s.Conn, env); err != nil {
		s.Conn.Quit()
		return nil, err
	}
	s.Protection = h.protection(s.Conn)
	if h.User != "" {
		if err := s.Conn.Login(ctx, h.User, h.Password); err != nil {
			s.Conn.Quit()
			return nil, h.loginFailed(err)
		}
	}
	return s, nil
}

// connectClear connects without TLS, with HELO where EHLO is refused (RFC 5321,
// Section 3.2).
func (h Hop) connectClear(ctx context.Context, env Env, addr netip.AddrPort) (*smtpc.Conn, error) {
	conn, err := env.SMTP.Connect(ctx, h.name(), addr)
	var re *smtpc.ReplyError
	if errors.As(err, &re) && re.Command == "EHLO" && re.Code/100 == 5 {
		return env.SMTP.ConnectHELO(ctx, h.name(), addr)
	}
	return conn, err
}

// startTLS connects and does STARTTLS, and falls back to clear under TLSTry.
// Whether a session without TLS will do is Judge's business.
func (h Hop) startTLS(ctx context.Context, env Env, s *Session) error {
	try := h.rule() == TLSTry
	var err error
	if try {
		s.Conn, err = h.connectClear(ctx, env, s.Addr)
	} else {
		s.Conn, err = env.SMTP.Connect(ctx, h.name(), s.Addr)
	}
	if err != nil {
		return err
	}
	err = s.Conn.StartTLS(ctx, nil)
	if err == nil {
		return nil
	}
	if !try {
		if errors.Is(err, smtpc.ErrNoSTARTTLS) {
			return nil
		}
		s.Conn.Quit()
		return h.handshakeFailed(err)
	}
	s.Clear = err
	if s.Conn.State() == nil && s.Conn.HandshakeErr() == nil && s.Conn.Alive() {
		return nil // not offered, or refused: the session goes on
	}
	s.Conn.Close()
	if ctx.Err() != nil {
		return err
	}
	s.Conn, err = h.connectClear(ctx, env, s.Addr)
	return err
}

// handshakeFailed turns a failure of STARTTLS or of the handshake into that of
// the rule. A failure of the network says nothing about the hop's TLS and stays
// what it is.
func (h Hop) handshakeFailed(err error) error {
	var te *smtpc.TLSError
	var re *smtpc.ReplyError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &te) && !te.Network(), errors.Is(err, smtpc.ErrInjected), errors.As(err, &re) && re.Command == "STARTTLS":
		return &NotSafeError{Hop: h.String(), Rule: h.rule(), Reason: verdict.ValidationFailure, Detail: bounded(err.Error()), Err: err}
	}
	return err
}

// loginFailed tells a refused login from a connection that was lost.
func (h Hop) loginFailed(err error) error {
	var re *smtpc.ReplyError
	if errors.As(err, &re) || errors.Is(err, smtpc.ErrNoLogin) || errors.Is(err, smtpc.ErrCredentials) || errors.Is(err, smtpc.ErrClearLogin) {
		return &LoginError{Hop: h.String(), Err: err}
	}
	return err
}

func (h Hop) protection(c *smtpc.Conn) verdict.Protection {
	switch {
	case c.State() == nil:
		return verdict.Clear
	case h.rule() == TLSVerify:
		return verdict.Verified
	}
	return verdict.Encrypted
}

// note tells what happened at an address that gave no session.
func (h Hop) note(env Env, a netip.Addr, start time.Time, err error) {
	if env.Note == nil {
		return
	}
	n := verdict.Host{
		Time: start, Took: env.now().Sub(start), MX: h.Host, Addr: a.String(),
		Outcome: verdict.Deferred, Reason: verdict.ConnectTimeout, Detail: bounded(err.Error()),
	}
	var ns *NotSafeError
	var re *smtpc.ReplyError
	if errors.As(err, &re) {
		n.Code, n.Enhanced, n.Reply, n.Reason = re.Code, re.Enhanced, bounded(re.Text), verdict.Unknown
	}
	switch {
	case errors.As(err, &ns):
		n.Outcome, n.Reason = verdict.Held, ns.Reason
	case errors.Is(err, ErrLogin):
		n.Outcome, n.Reason = verdict.Held, verdict.LoginRefused
	}
	env.Note(n)
}

func (e Env) now() time.Time {
	if e.Now != nil {
		return e.Now()
	}
	return time.Now()
}

// bounded cuts a text that a stranger chose parts of.
func bounded(s string) string {
	if len(s) > 500 {
		return s[:500] + "..."
	}
	return s
}
