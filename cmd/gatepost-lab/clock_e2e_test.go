//go:build e2e

package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/image/qemu"
	"gatepost/relay/lab"
	"gatepost/relay/verdict"
)

// clockCase is a box whose clock is wrong at the start.
type clockCase struct {
	start time.Time
	// before is what the time servers do until mail has been taken in.
	before func(l *lab.Lab, servers []netip.Addr)
	// liar: one of the four servers goes on lying.
	liar bool
	note string // what the console says of the servers meanwhile
}

// clockRow is one line of the closing table.
type clockRow struct {
	year                               int
	accepted                           int
	asked                              int // connections to policy hosts and mail servers before trust
	delivered, bounced, inClear        int // before trust
	trust                              time.Duration
	verified, encrypted, allowed, held int
}

// trustLimit is how soon the time must be trusted once servers answer.
const trustLimit = 15 * time.Second

// TestE2EClock starts boxes in 1970, 2011 and 2099, with time servers that are
// silent, that disagree, and that do not know the time themselves. Until they
// agree mail is taken in and nothing else happens to it; then it is delivered
// under the rules of each domain.
func TestE2EClock(t *testing.T) {
	hour := func(n int) lab.NTPBehaviour { return lab.NTPBehaviour{Wrong: time.Duration(n) * time.Hour} }
	cases := []clockCase{
		{start: time.Unix(0, 0), note: "no time server answers", before: func(l *lab.Lab, _ []netip.Addr) { l.SetNTP(lab.NTPSilent) }},
		{start: time.Date(2011, 1, 1, 0, 0, 0, 0, time.UTC), note: "the time servers do not agree", before: func(l *lab.Lab, s []netip.Addr) {
			l.SetNTPServer(s[0], hour(1))
			l.SetNTPServer(s[1], hour(-1))
			l.SetNTPServer(s[2], hour(24*365))
		}},
		{start: time.Date(2099, 12, 31, 23, 0, 0, 0, time.UTC), note: "no time server answers", liar: true, before: func(l *lab.Lab, _ []netip.Addr) { l.SetNTP(lab.NTPUnsynchronised) }},
	}
	rows := make([]clockRow, len(cases))
	for i, c := range cases {
		t.Run(fmt.Sprint(c.start.UTC().Year()), func(t *testing.T) {
			t.Parallel()
			rows[i] = clockBox(t, c)
		})
	}
	t.Cleanup(func() {
		var b strings.Builder
		fmt.Fprintf(&b, "\n%-6s %8s | %9s %8s %9s %8s | %14s | %9s %9s %8s %5s\n", "START", "ACCEPTED",
			"BEFORE: asked", "bounced", "delivered", "in clear", "ANSWER TO TRUST", "AFTER: verified", "encrypted", "clear ok", "held")
		for _, r := range rows {
			fmt.Fprintf(&b, "%-6d %8d | %13d %8d %9d %8d | %13.1f s | %15d %9d %8d %5d\n", r.year, r.accepted,
				r.asked, r.bounced, r.delivered, r.inClear, r.trust.Seconds(), r.verified, r.encrypted, r.allowed, r.held)
		}
		fmt.Print(b.String() + "\n")
	})
}

// clockWorld has four time servers and a domain of each kind that matters.
func clockWorld() lab.World {
	world := lab.Office()
	world.LAN.NTP = append(world.LAN.NTP, netip.MustParseAddr("203.0.113.125"))
	world.Domains = slices.DeleteFunc(world.Domains, func(d lab.Domain) bool {
		return !slices.Contains([]string{"good.example", "expired.example", "nopolicy.example", "plain.example"}, d.Name)
	})
	return world
}

func clockBox(t *testing.T, c clockCase) clockRow {
	world := clockWorld()
	servers := world.LAN.NTP
	o := boot(t, setup{World: world, Time: c.start, Prepare: func(l *lab.Lab) { c.before(l, servers) }})
	row := clockRow{year: c.start.UTC().Year()}
	_, ok := o.console("gatepost: ready:")
	if !check(t, ok, "%d: the box gets ready without the time", row.year) {
		t.FailNow()
	}
	l, ok := o.console(c.note)
	check(t, ok, "%d: console: %s", row.year, l.Text)
	if !o.claim() {
		t.FailNow()
	}
	sent := map[string]lab.Sent{}
	for _, d := range world.Domains {
		sent[d.Name] = o.sendMail("", d.Name)
		row.accepted++
	}
	_, ok = o.waits("/waiting", fmt.Sprintf("(%d)", row.accepted))
	check(t, ok, "%d: all %d messages are taken in and wait", row.year, row.accepted)
	shown, ok := o.waits("/", "does not know the right time")
	check(t, ok, "%d: the page says that the time is not known: %.300s", row.year, shown)

	row.asked, row.bounced = o.outward()
	for _, d := range world.Domains {
		row.delivered += len(o.Lab.Received(d.Name))
	}
	row.inClear = len(o.Lab.Leaks())
	check(t, row.asked == 0 && row.bounced == 0 && row.delivered == 0 && row.inClear == 0,
		"%d: before trust nothing was judged, delivered, bounced or sent in clear (%+v)", row.year, row)
	check(t, !slices.ContainsFunc(o.Machine.Lines(), func(l qemu.Line) bool { return strings.Contains(l.Text, "clock: trusted") }),
		"%d: the time is not trusted without a quorum", row.year)

	answered := time.Now()
	o.Lab.SetNTP(lab.NTPRight)
	if c.liar {
		o.Lab.SetNTPServer(servers[0], lab.NTPBehaviour{Wrong: 400 * 24 * time.Hour})
	}
	l, ok = o.console("gatepost: clock: trusted")
	row.trust = time.Since(answered)
	check(t, ok && row.trust <= trustLimit, "%d: the time is trusted %.1f s after the servers answer: %s", row.year, row.trust.Seconds(), l.Text)
	if c.liar {
		check(t, strings.Contains(l.Text, "not believed: "+servers[0].String()), "%d: the liar is named: %s", row.year, l.Text)
	}
	check(t, strings.Contains(l.Text, "trusted "+time.Now().UTC().Format("2006-01-02")), "%d: it is today: %s", row.year, l.Text)

	o.arrived(t, "good.example", 0, sent["good.example"], verdict.Verified)
	o.arrived(t, "nopolicy.example", 0, sent["nopolicy.example"], verdict.Encrypted)
	o.arrived(t, "plain.example", 0, sent["plain.example"], verdict.Clear)
	o.explained(t, "expired.example")
	row.verified, row.encrypted, row.allowed = len(o.Lab.Received("good.example")), len(o.Lab.Received("nopolicy.example")), len(o.Lab.Received("plain.example"))
	row.held = row.accepted - row.verified - row.encrypted - row.allowed
	check(t, len(o.Lab.Received("expired.example")) == 0, "%d: nothing left for the expired certificate", row.year)
	_, row.bounced = o.outward()
	check(t, row.bounced == 0, "%d: nobody got a notice", row.year)
	o.off()
	return row
}

// outward counts the guest's connections to policy hosts and mail servers of
// others, and those to the office's own mail server, where a bounce would go.
func (o *office) outward() (asked, bounced int) {
	for _, f := range o.Lab.Tap().Flows() {
		if f.From.Addr() != o.guest || f.To.Port() != 25 && f.To.Port() != 443 {
			continue
		}
		if f.To.Addr() == netip.MustParseAddr("192.168.77.10") {
			bounced++
		} else {
			asked++
		}
	}
	return asked, bounced
}
