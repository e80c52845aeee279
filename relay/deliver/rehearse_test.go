package deliver

import (
	"context"
	"fmt"
	"testing"
	"time"

	"gatepost/relay/lab"
	"gatepost/relay/nexthop"
	"gatepost/relay/verdict"
)

// A rehearsal comes to what real mail comes to, for each kind of domain.
func TestRehearse(t *testing.T) {
	world := lab.Office()
	world.Records = append(world.Records, "null.example. 60 IN MX 0 .", "null.example. 60 IN SOA ns.lab.example. root.lab.example. 1 2 3 4 60")
	_, d := labWorld(t, world, lab.NameFault{Name: "servfail.example", Type: "MX", Rcode: "SERVFAIL"})
	for _, domain := range []string{
		"good.example", "wrongname.example", "expired.example", "stripped.example", "unlisted.example", "testing.example",
		"plain.example", "down.example", "null.example", "nothing.example", "servfail.example", "bad..name",
	} {
		var told []verdict.Host
		got := d.Rehearse(t.Context(), domain, func(h verdict.Host) { told = append(told, h) })
		want := one(t, d.Deliver(t.Context(), labMessage(domain))).Verdict
		if got.Outcome != want.Outcome || got.Reason != want.Reason || got.MX != want.MX || got.Protection != want.Protection || got.PolicyMode != want.PolicyMode {
			t.Errorf("%s: rehearsed %s %s %s %s, mail came to %s %s %s %s", domain, got.Outcome, got.Reason, got.MX, got.Protection,
				want.Outcome, want.Reason, want.MX, want.Protection)
		}
		if len(told) != len(got.Evidence.Hosts) || len(told) != len(want.Evidence.Hosts) {
			t.Errorf("%s: told of %d servers, the evidence has %d, that of the mail %d", domain, len(told), len(got.Evidence.Hosts), len(want.Evidence.Hosts))
		}
	}
}

// Each host is asked, in order, also behind one that would take the mail; no
// host hears of a message, and all are taken leave of.
func TestRehearseEveryHost(t *testing.T) {
	a, b, c := &server{}, &server{greeting: "421 4.3.2 not now"}, &server{starttls: true}
	w := &world{names: []string{"mx1.a.example", "mx2.a.example", "mx3.a.example"}, hosts: map[string]*server{
		"mx1.a.example": a, "mx2.a.example": b, "mx3.a.example": c,
	}}
	v := w.deliverer(t, noPolicy).Rehearse(t.Context(), "a.example", nil)
	got := ""
	for _, h := range v.Evidence.Hosts {
		got += fmt.Sprintf("%s %s %s; ", h.MX, h.Outcome, h.Protection)
	}
	if want := "mx1.a.example delivered clear; mx2.a.example deferred ; mx3.a.example delivered clear; "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if v.Outcome != verdict.Delivered || v.MX != "mx1.a.example" {
		t.Errorf("got %s at %s, want it to go to the first", v.Outcome, v.MX)
	}
	for _, s := range []*server{a, b, c} {
		if said := append(s.said("MAIL"), s.said("RCPT")...); len(said) > 0 {
			t.Errorf("a server heard %q", said)
		}
	}
	if _, _, quits := a.count(); quits != 1 {
		t.Errorf("got %d QUIT, want 1", quits)
	}
}

// A next hop of the settings is told and not asked; a dead context ends it.
func TestRehearseBounds(t *testing.T) {
	s := &server{}
	w := single(s).through(nexthop.Hop{Host: "inside.lan", Port: 25}, verdict.RouteInside)
	v := w.deliverer(t, noPolicy).Rehearse(t.Context(), "a.example", nil)
	if v.Outcome != "" || v.Evidence.Route != verdict.RouteInside {
		t.Errorf("got %q by %s, want nothing by %s", v.Outcome, v.Evidence.Route, verdict.RouteInside)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	if v := single(s).deliverer(t, noPolicy).Rehearse(ctx, "a.example", nil); v.Outcome != verdict.Deferred {
		t.Errorf("got %s, want %s", v.Outcome, verdict.Deferred)
	}
	if _, talks, _ := s.count(); talks != 0 {
		t.Errorf("got %d sessions, want none", talks)
	}
}
