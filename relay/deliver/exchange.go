package deliver

import (
	"context"
	"errors"

	"gatepost/relay/queue"
	"gatepost/relay/smtpc"
	"gatepost/relay/verdict"
)

// exchange is the transactions with one message in one session.
type exchange struct {
	done []queue.Result // decided
	left []int          // recipients without a decision
	// stale says that the session is of no use any more although it was once:
	// what is left may be tried in a new session with the same server, and
	// nothing that happened counts as a failure.
	stale bool
	// failed is the verdict on a server that took nothing.
	failed *verdict.Verdict
}

// atOnce is how many recipients every server must take in one transaction (RFC
// 5321, Section 4.5.3.1.8); many take no more.
const atOnce = 100

// run gives the message to the recipients of left in as many transactions as
// the server wants (RFC 9422), while it takes them.
func (x *exchange) run(ctx context.Context, a *attempt, w *way, s *session, left []int) {
	x.left = left
	for first := true; len(x.left) > 0; first = false {
		// Before the first transaction the pool has looked.
		if s.conn.Sent() > 0 && (!first && !s.conn.Alive() || s.conn.Sent() >= a.d.cfg.PerConn) {
			x.stale = true
			return
		}
		group := x.left[:min(len(x.left), max(atOnce, s.conn.Extensions().RcptMax))]
		again, ok := x.transaction(ctx, a, w, s, group)
		if !ok {
			return
		}
		if len(again) == len(group) {
			return // no progress
		}
		x.left = append(again, x.left[len(group):]...)
	}
}

// transaction makes one transaction for the recipients of group. again are
// those for whom there was no room in it. ok is false when the session ends
// before anything was decided for the group, or the server cannot have it.
func (x *exchange) transaction(ctx context.Context, a *attempt, w *way, s *session, group []int) (again []int, ok bool) {
	tx, err := a.transaction(w, s.conn.Extensions(), group)
	if err == nil {
		body, berr := a.body()
		if err = berr; err == nil {
			var got []smtpc.RcptResult
			got, err = s.conn.Send(ctx, tx, body)
			body.Close()
			return x.sort(a, w, s, group, got, err)
		}
	}
	x.done, x.left = append(x.done, same(x.left, a.unreadable(w.v, err))...), nil
	return nil, false
}

// sort reads the results of a transaction.
func (x *exchange) sort(a *attempt, w *way, s *session, group []int, got []smtpc.RcptResult, err error) (again []int, ok bool) {
	served := s.conn.Sent() > 1
	if err != nil && (hostFault(err) || errors.Is(err, smtpc.ErrMailLimit) || errors.Is(err, smtpc.ErrClosed)) {
		// The message was not handed over: its end was not sent.
		if served {
			x.stale = true
		} else {
			v := connectFailure(w.v, err)
			x.failed = &v
		}
		return nil, false
	}
	if len(got) > 0 {
		var ue *smtpc.UnsupportedError
		var re *smtpc.ReplyError
		switch {
		case errors.As(got[0].Err, &ue):
			// Nothing was sent. Another host may be able (RFC 8689, Section 4.2.1).
			v := a.judge(w, got[0])
			x.failed = &v
			return nil, false
		case served && errors.As(got[0].Err, &re) && re.Command == "MAIL":
			// Earlier transactions went well: what is refused is a further one in
			// the same session, not the message.
			x.stale = true
			return nil, false
		}
	}
	ext := s.conn.Extensions()
	for i, rcpt := range group {
		r := smtpc.RcptResult{Err: err}
		if i < len(got) {
			r = got[i]
		}
		if errors.Is(r.Err, smtpc.ErrRcptLimit) {
			again = append(again, rcpt)
			continue
		}
		v := a.judge(w, r)
		v.NoticePassed = v.Outcome == verdict.Delivered && ext.DSN && len(a.m.Envelope.Rcpts[rcpt].Notify) > 0
		x.done = append(x.done, queue.Result{Rcpt: rcpt, Verdict: v})
	}
	return again, true
}

// transaction is the envelope for one transaction.
func (a *attempt) transaction(w *way, ext smtpc.Extensions, rcpts []int) (smtpc.Transaction, error) {
	e := &a.m.Envelope
	eightBit, utf8, err := a.needs(ext)
	if err != nil {
		return smtpc.Transaction{}, err
	}
	tx := smtpc.Transaction{
		From: e.From, Size: e.Size, EightBit: eightBit, SMTPUTF8: utf8,
		RequireTLS: w.requireTLS, EnvelopeID: e.EnvelopeID, Ret: e.Ret,
		Rcpts: make([]smtpc.Rcpt, 0, len(rcpts)),
	}
	for _, i := range rcpts {
		r := &e.Rcpts[i]
		tx.Rcpts = append(tx.Rcpts, smtpc.Rcpt{Addr: r.Addr, Notify: r.Notify, ORcpt: r.ORcpt})
	}
	return tx, nil
}

// hostFault reports whether an error of a transaction is about the host, so
// that the next one may do better.
func hostFault(err error) bool {
	var re *smtpc.ReplyError
	var ue *smtpc.UnsupportedError
	var ne *smtpc.NetError
	switch {
	case errors.As(err, &re):
		return re.Host()
	case errors.As(err, &ue):
		return false
	case errors.As(err, &ne):
		// After the final dot the message may have arrived: another host must
		// not be tried in the same attempt, or it would come twice at once.
		return ne.Phase != endOfBody
	}
	var pe *smtpc.ProtocolError
	return errors.As(err, &pe) && pe.Phase != endOfBody
}

// endOfBody is the phase of smtpc's errors after the final dot.
const endOfBody = "end of body"
