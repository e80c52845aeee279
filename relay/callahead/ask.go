package callahead

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"gatepost/relay/nexthop"
	"gatepost/relay/smtpc"
)

// fly asks the question, tells those who wait, and remembers.
func (a *Asker) fly(ctx context.Context, f *flight, hop nexthop.Hop, key string) error {
	out := outcome{gaveUp: true} // unless the question comes to its end
	defer func() { a.land(f, out, key) }()
	out = a.question(ctx, f, hop, key)
	return out.err
}

// land notes what a question led to and lets those go who wait for it.
func (a *Asker) land(f *flight, out outcome, key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Now()
	if out.silent {
		f.d.silentUntil = now.Add(silence)
	}
	if out.checked {
		f.d.takesAll, f.d.checked = out.takesAll, now
	}
	if out.keep > 0 {
		a.answers.put(key, out.err, now.Add(out.keep))
	}
	f.err, f.ok = out.err, !out.gaveUp
	delete(a.flights, key)
	close(f.done)
}

// outcome is what one question led to.
type outcome struct {
	err    error         // what Ask returns
	keep   time.Duration // how long it is remembered, 0 not at all
	silent bool          // the server did not answer
	gaveUp bool          // the caller went away
	// checked says that the server was tried with an address that cannot exist,
	// takesAll that it took it.
	checked, takesAll bool
}

// question waits for its turn and asks.
func (a *Asker) question(ctx context.Context, f *flight, hop nexthop.Hop, rcpt string) outcome {
	select {
	case f.d.turns <- struct{}{}:
		defer func() { <-f.d.turns }()
	case <-ctx.Done():
		err := a.late(ctx, f.dom)
		return outcome{err: err, gaveUp: err != nil}
	}
	silent, checkDue := a.state(f.d)
	if silent { // that came out while this one waited
		return outcome{}
	}
	s, err := hop.Open(ctx, a.cfg.Env)
	if err != nil {
		if ctx.Err() != nil {
			return a.tooLate(ctx, f.dom)
		}
		a.cfg.Log.Warn("the inner server cannot be asked, the recipient is taken", "domain", f.dom, "server", hop.String(), "err", err)
		return outcome{silent: true}
	}
	defer s.Conn.Quit()
	res, err := s.Conn.Probe(ctx, "", smtpc.Rcpt{Addr: rcpt})
	if ctx.Err() != nil && err != nil {
		return a.tooLate(ctx, f.dom)
	}
	out := a.read(res, f.dom)
	if out.err == nil && res.Err == nil && checkDue && s.Conn.Alive() {
		out.checked, out.takesAll = a.takesAll(ctx, s.Conn, f.dom)
	}
	return out
}

// tooLate is the end of a question in the middle: either the one who asked went
// away, or the server was too slow.
func (a *Asker) tooLate(ctx context.Context, dom string) outcome {
	err := a.late(ctx, dom)
	return outcome{err: err, gaveUp: err != nil, silent: err == nil}
}

// state reports whether the server is left alone for now, and whether it is to
// be tried with an address that cannot exist.
func (a *Asker) state(d *domain) (silent, checkDue bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Now()
	return now.Before(d.silentUntil), d.checked.IsZero() || now.Sub(d.checked) >= checkEvery
}

// read turns the server's answer into ours.
func (a *Asker) read(res smtpc.RcptResult, dom string) outcome {
	var re *smtpc.ReplyError
	var ue *smtpc.UnsupportedError
	switch {
	case res.Err == nil:
		return outcome{keep: a.cfg.Good}
	case errors.As(res.Err, &re) && re.Command == "RCPT" && aboutRecipient(re):
		no := &UnknownError{Code: re.Code, Enhanced: re.Enhanced, Text: clip(re.Text, 200)}
		if no.Enhanced == "" {
			no.Enhanced = "5.1.1"
		}
		return outcome{err: no, keep: a.cfg.Bad}
	case errors.As(res.Err, &ue):
		// The address has characters that the server cannot take (RFC 6531, Section 3.5).
		return outcome{err: &UnknownError{Code: 553, Enhanced: ue.Enhanced, Text: "the server for this address takes ASCII addresses only"}, keep: a.cfg.Bad}
	}
	a.cfg.Log.Warn("the inner server said neither yes nor no, the recipient is taken", "domain", dom, "err", res.Err)
	return outcome{keep: unsure}
}

// aboutRecipient tells a refusal of the recipient from one of our commands or
// of us, such as 503 and 530 (login or TLS wanted): that is for the settings to
// mend, and the mail waits until they are.
func aboutRecipient(re *smtpc.ReplyError) bool {
	switch {
	case re.Code == 501:
		return strings.HasPrefix(re.Enhanced, "5.1.")
	case re.Code < 540:
		return false
	}
	return re.Code < 600
}

// checkEvery is how often a server is tried with an address that cannot exist.
const checkEvery = 6 * time.Hour

// takesAll tries an address that cannot exist.
func (a *Asker) takesAll(ctx context.Context, c *smtpc.Conn, dom string) (checked, all bool) {
	res, err := c.Probe(ctx, "", smtpc.Rcpt{Addr: "no-such-mailbox-" + strings.ToLower(rand.Text()) + "@" + dom})
	var re *smtpc.ReplyError
	switch {
	case err != nil:
		return false, false
	case res.Err == nil:
		a.cfg.Log.Warn("the inner server takes every address: recipients are not checked by asking it", "domain", dom)
		return true, true
	case errors.As(res.Err, &re) && re.Code/100 == 5:
		return true, false
	}
	return false, false
}

// clip cuts s to at most n bytes without cutting a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
