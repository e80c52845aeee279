package deliver

import (
	"context"
	"time"

	"gatepost/relay/queue"
	"gatepost/relay/tlspolicy"
	"gatepost/relay/verdict"
)

// way is one server to which the message may go.
type way struct {
	key     key
	plain   verdict.Verdict // what is known about the server before a session
	pattern string          // that lists it
	start   time.Time       // of the session in use
	// open makes a new session and judges it. It returns nil after a note when
	// there is none that may have the message.
	open func(ctx context.Context, w *way) *session
	// judge says whether the message may go over a session, and describes the
	// session in the verdict.
	judge func(s *session, v *verdict.Verdict) tlspolicy.Decision
	// requireTLS is RFC 8689's tag on this way.
	requireTLS bool
	// settings says that the server comes from the settings: some refusals speak
	// of them and not of the message.
	settings bool

	v      verdict.Verdict    // with what the session in use has shown
	dec    tlspolicy.Decision // on that session
	failed *verdict.Verdict   // what went wrong last
	// away is set, and nothing noted, when this box has no way to the address.
	away *verdict.Verdict
}

// use gives the message to one server, over a connection that is open already
// where there is one that may have it. It returns nil, after a note, when the
// server fell away before it decided anything.
func (a *attempt) use(ctx context.Context, w *way) []queue.Result {
	var results []queue.Result
	left := a.m.Rcpts
	for first := true; len(left) > 0 && ctx.Err() == nil; {
		w.start, w.v = a.d.cfg.Now(), w.plain
		var s *session
		if first {
			s = a.reuse(w)
		}
		reused := s != nil
		if s == nil {
			if s = w.open(ctx, w); s == nil {
				break
			}
		}
		var c exchange
		c.run(ctx, a, w, s, left)
		seen := a.seen(w, s, reused)
		a.d.pool.put(s) // from here on it may be another message's
		progress := len(c.left) < len(left)
		results, left = append(results, c.done...), c.left
		if len(c.done) > 0 {
			a.witness(tell(c.done), seen)
		} else if c.failed != nil && !c.stale {
			a.miss(w, *c.failed, seen)
		}
		// A session that has served before may have been closed under us, or the
		// server wants no more of this one: that says nothing about the server.
		// What is left goes on in a new session.
		if len(left) > 0 && !c.stale && !progress {
			break
		}
		first = false
	}
	if len(results) == 0 {
		return nil
	}
	if len(left) > 0 {
		v := finish(w.v, verdict.Deferred, verdict.RateLimited, "RFC 9422", "the server takes fewer recipients at a time or in one session")
		if w.failed != nil {
			v = *w.failed
			v.Outcome, v.Enhanced = verdict.Deferred, ""
		}
		results = append(results, same(left, v)...)
	}
	return results
}

// miss notes that a server did not take the message, with its evidence.
func (a *attempt) miss(w *way, v verdict.Verdict, h verdict.Host) {
	w.failed = &v
	a.note(v)
	a.witness(v, h)
}

// reuse returns an idle connection that may have this message, or nil. The
// decision is made anew: the policy may be another one, this message may demand
// more, a certificate may have ended in between. A session without TLS is used
// again only where nobody demands or watches TLS (RFC 8461, Section 5; RFC
// 8689, Section 4.2.1).
func (a *attempt) reuse(w *way) *session {
	for {
		s := a.d.pool.take(w.key)
		if s == nil {
			return nil
		}
		v := w.plain
		dec := w.judge(s, &v)
		if dec.Send && !(s.clear() && w.watched(a)) {
			w.dec, w.v = dec, v
			return s
		}
		a.d.pool.quit(s)
	}
}

// watched reports whether somebody demands TLS on this way, or wants to know of
// its failures.
func (w *way) watched(a *attempt) bool {
	return w.requireTLS || w.key.domain != "" && !a.demand.Optional()
}

// tell picks the verdict that stands for a server: a delivery if there is one.
func tell(results []queue.Result) verdict.Verdict {
	for _, r := range results {
		if r.Verdict.Outcome == verdict.Delivered {
			return r.Verdict
		}
	}
	return results[0].Verdict
}
