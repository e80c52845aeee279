package deliver

import (
	"context"

	"gatepost/mtasts"
	"gatepost/relay/queue"
	"gatepost/relay/verdict"
)

// Rehearse finds out what would become of mail to a domain now, and sends none:
// it asks for the policy, looks the hosts up, connects to each, greets, starts
// TLS and judges what was shown, as Deliver does, and leaves. Unlike Deliver it
// goes on to the other hosts when one would take the mail, so that the evidence
// tells of all of them (one address each, at most ten that are dialled).
//
// The verdict is that of the first host that would do, with the outcome
// Delivered, which means "would be sent"; else the one that Deliver would give.
// For a domain with a next hop of the settings nobody is asked: the outcome is
// "" and the evidence says which route it is. seen, if not nil, is called after
// each host with what came of it.
//
// It waits for strangers: ctx must have a deadline. It reads and renews the
// policy cache like any mail does.
func (d *Deliverer) Rehearse(ctx context.Context, domain string, seen func(verdict.Host)) verdict.Verdict {
	if name, err := mtasts.PolicyDomain(domain); err == nil {
		domain = name
	}
	a := &attempt{
		d: d, m: queue.Message{Domain: domain}, ev: &verdict.Evidence{Route: verdict.RouteMX},
		base: verdict.Verdict{Time: d.cfg.Now(), Domain: domain},
	}
	a.base.Evidence = a.ev
	if _, how, ok := d.route(domain); ok {
		a.ev.Route = how
		return a.base
	}
	if stop := a.ask(ctx); stop != nil {
		return *stop
	}
	hosts, no := a.hosts(ctx)
	if no != nil {
		return a.unroutable(*no)
	}
	var would *verdict.Verdict
	dialled, told := 0, 0
	for len(hosts) > 0 && ctx.Err() == nil && dialled < maxHosts {
		group := samePreference(hosts)
		hosts = hosts[len(group):]
		if loop := a.resolve(ctx, group); loop {
			if told == 0 {
				return a.unroutable(*loopback())
			}
			break
		}
		for i := range group {
			if ctx.Err() != nil || dialled == maxHosts {
				break
			}
			v := a.base
			v.MX, v.MXTried = group[i].name, told+1
			got, dials := a.rehearseHost(ctx, &group[i], v)
			if dials {
				dialled++
			}
			if got != nil && would == nil {
				would = got
			}
			for ; told < len(a.ev.Hosts); told++ {
				if seen != nil {
					seen(a.ev.Hosts[told])
				}
			}
		}
	}
	switch {
	case would != nil:
		return *would
	case a.failed != nil:
		return *a.failed
	}
	return finish(a.base, verdict.Deferred, verdict.ConnectTimeout, "", "no server was tried")
}

// rehearseHost opens a session with the first address of a host that gives one.
// The verdict is nil when the host would not get the mail, which has then been
// noted.
func (a *attempt) rehearseHost(ctx context.Context, h *host, v verdict.Verdict) (would *verdict.Verdict, dials bool) {
	dec, stop := a.mayDial(h, v)
	if stop {
		return nil, false
	}
	var away *verdict.Verdict
	for _, addr := range h.addrs {
		v.Addr = addr.String()
		w := a.mxWay(h.name, addr, dec.Pattern, v)
		w.start, w.v = a.d.cfg.Now(), w.plain
		s := a.openMX(ctx, w)
		if s == nil {
			if w.away != nil {
				away = w.away
				continue
			}
			return nil, true
		}
		got := w.v
		got.Outcome, got.Reason = verdict.Delivered, w.dec.Reason
		if w.dec.Detail != "" {
			got.Detail = cut(w.dec.Detail, maxDetail)
		}
		a.witness(got, a.seen(w, s, false))
		a.d.pool.quit(s)
		return &got, true
	}
	if away != nil {
		a.note(*away)
	}
	return nil, true
}
