package appliance

import (
	"context"
	"fmt"
	"strings"
	"time"

	"gatepost/appliance/api"
	"gatepost/appliance/boot"
	"gatepost/appliance/control"
	"gatepost/appliance/health"
	"gatepost/webui/words"
)

// The rhythm of looking after the box.
const (
	lookEvery   = time.Second
	statusLimit = 3 * time.Second  // for the relay to answer
	statusStale = 10 * time.Second // an older answer counts for nothing
	bootLimit   = 90 * time.Second // after this, a role that is not up is down
	// The relay asks the name servers every ten seconds: for so long after the
	// network came, that none answered was found out before it was there.
	namesGrace = 15 * time.Second
)

// observer turns reports into conditions over time: what was last heard from
// the relay, since when the network is away, whether the start is over.
type observer struct {
	// trouble is what the self-test of a role has found; nil means nothing.
	trouble   func(role string) string
	started   time.Time
	status    api.Status
	heard     time.Time // of the last status; zero means never
	booted    bool
	awaySince time.Time // nobody can be reached; zero means that somebody can
	upSince   time.Time // the network has an address; zero means it has none
	last      health.State
}

// conditions are the facts at this moment, for health.Judge.
func (o *observer) conditions(b control.Box, now time.Time) health.Conditions {
	fresh := !o.heard.IsZero() && now.Sub(o.heard) < statusStale
	c := health.Conditions{
		ClockTrusted: b.Clock.Trusted,
		Link:         b.Network.State == control.NetworkNoLease || b.Network.Up(),
		Address:      b.Network.Up(),
		Storage:      health.Storage(b.Storage.State),
		StorageText:  b.Storage.Message,
		DiskPercent:  b.Storage.UsedPercent(),
		RelayUp:      roleUp(b, RoleRelay, now) && fresh,
		WebUp:        roleUp(b, RoleWeb, now),
		Config:       health.ConfigUse(b.Config.State),
		ConfigError:  firstLine(b.Config.Error),
	}
	if c.Storage != health.StorageOK {
		c.Config = "" // the settings are on the disk: its trouble is the cause
	}
	c.Restarted = restarted(b, now.Sub(o.started))
	if o.trouble != nil {
		c.RelayTrouble, c.WebTrouble = o.trouble(RoleRelay), o.trouble(RoleWeb)
	}
	if fresh {
		s := o.status
		c.DNS, c.DNSKnown = s.DNS, s.DNSKnown && (s.DNS || !o.upSince.IsZero() && now.Sub(o.upSince) >= namesGrace)
		c.Held, c.Waiting, c.SpoolDamaged = s.Held, s.Waiting, s.Spool.Damaged
		c.SpoolFull, c.StoreDamaged = s.Spool.State == "full", s.StoreDamaged
		if !s.OldestTry.IsZero() && b.Clock.Trusted {
			c.OldestDeferred = max(now.Sub(s.OldestTry), 0)
		}
		if c.Storage == health.StorageOK && s.Spool.State == "failed" {
			c.Storage, c.StorageText = health.StorageFailed, s.Spool.Text
		}
	}
	if c.RelayUp && c.WebUp || now.Sub(o.started) > bootLimit {
		o.booted = true
	}
	c.Booting = !o.booted
	return c
}

// judge returns the state of health now.
func (o *observer) judge(b control.Box, now time.Time) health.State {
	switch {
	case !b.Network.Up():
		o.upSince = time.Time{}
	case o.upSince.IsZero():
		o.upSince = now
	}
	c := o.conditions(b, now)
	switch {
	case !c.Away():
		o.awaySince = time.Time{}
	case o.awaySince.IsZero():
		o.awaySince = now
	}
	var away time.Duration
	if !o.awaySince.IsZero() {
		away = now.Sub(o.awaySince)
	}
	c.WasDiskFull, c.WasBacklog = o.last.Has(health.RowDiskFull), o.last.Has(health.RowBacklog)
	o.last = health.Judge(c, away)
	return o.last
}

// steadyAfter is how long a role that has crashed must run to count as up.
const steadyAfter = 10 * time.Second

// roleUp reports whether a role can be counted on. One that crashes again and
// again is down also in the moments between.
func roleUp(b control.Box, name string, now time.Time) bool {
	for _, r := range b.Roles {
		if r.Name == name {
			return r.Up && (r.LastExit == "" || now.Sub(r.Since) >= steadyAfter)
		}
	}
	return false
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// watchHealth looks at everything once a second and after every report,
// judges it, and tells the lights, the control socket and the console.
func (p *initProcess) watchHealth(ctx context.Context) error {
	statuses := make(chan api.Status, 1)
	go p.guard("relay status", func() error { p.askRelay(ctx, statuses); return nil })
	o := &observer{started: p.started, trouble: p.vitals.trouble}
	voice := newTeller()
	ready := ""
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case s := <-statuses:
			if mailPassed(o.status, s) {
				p.lights.mail()
			}
			o.status, o.heard = s, time.Now()
			continue // the figures are used at the next look
		case <-p.state.changed:
		case <-tick.C:
			p.lookAtDisk()
		}
		p.vitals.beat()
		now := time.Now()
		b := p.state.snapshot()
		b.Version = p.Version
		b.Booted = now.Add(-now.Sub(p.started)).Round(time.Second) // by the clock as it is now
		b.Health = o.judge(b, now)
		b.Lights, b.Light = p.lights.show(b.Health)
		p.hub.Publish(b)
		for _, line := range voice.tell(b.Health, now) {
			p.say("%s", line)
		}
		if at := readyAt(b, now); o.booted && at != "" && at != ready {
			ready = at
			p.say("ready: admin page %s (%.1f s after the start)", at, time.Since(p.started).Seconds())
		}
	}
}

// askRelay asks the relay for its figures once a second.
func (p *initProcess) askRelay(ctx context.Context, out chan<- api.Status) {
	client := api.NewClient(apiSocket)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		ask, cancel := context.WithTimeout(ctx, statusLimit)
		s, err := client.Status(ask)
		cancel()
		if err == nil {
			select {
			case out <- s:
			case <-ctx.Done():
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func mailPassed(before, after api.Status) bool {
	return !before.Time.IsZero() && (after.LastIn.After(before.LastIn) || after.LastOut.After(before.LastOut))
}

// lookAtDisk measures the data disk and sees when the kernel has given it up.
func (p *initProcess) lookAtDisk() {
	st := p.state.snapshot().Storage
	if p.data == nil || st.State != control.StorageOK {
		return
	}
	now := st
	if boot.ReadOnly(boot.DataDir) {
		now.State = control.StorageFailed
		now.Message = "after an error of the data disk the kernel lets nothing be written to it any more"
		p.say("storage: %s", now.Message)
	} else if total, free, err := boot.DiskSpace(boot.DataDir); err == nil {
		now.TotalBytes, now.FreeBytes = total, free
	}
	if now != st {
		p.state.setStorage(now)
	}
}

// readyAt is the address of the page, "" while nobody can reach it.
func readyAt(b control.Box, now time.Time) string {
	if !b.Network.Up() || len(b.Network.Addresses) == 0 || !roleUp(b, RoleWeb, now) {
		return ""
	}
	return fmt.Sprintf("https://%v/", b.Network.Addresses[0].Addr())
}

// settled is how long a problem must last, or be gone, before it is said: the
// parts of the box come and go within moments while it starts.
const settled = 2 * time.Second

// teller says changes of health in the words of the page.
type teller struct {
	book  *words.Book // nil when it cannot be read
	since map[string]time.Time
	told  map[string]bool
	calm  time.Time // since when there is no problem; zero when there is one
	well  bool      // "All is well." was said
}

func newTeller() *teller {
	book, err := words.Load("en")
	if err != nil {
		book = nil
	}
	return &teller{book: book, since: map[string]time.Time{}, told: map[string]bool{}}
}

// tell returns the lines for what is new: a problem that was not there, or
// that all is well again. Figures in a sentence that change are not news.
func (t *teller) tell(s health.State, now time.Time) []string {
	var lines []string
	here := map[string]bool{}
	for _, pr := range s.Problems {
		here[pr.ID] = true
		if t.since[pr.ID].IsZero() {
			t.since[pr.ID] = now
		}
		if pr.Level == health.Busy || t.told[pr.ID] || now.Sub(t.since[pr.ID]) < settled {
			continue
		}
		t.told[pr.ID], t.well = true, false
		lines = append(lines, "Look here: "+t.sentence(pr))
	}
	for id := range t.since {
		if !here[id] {
			delete(t.since, id)
			delete(t.told, id)
		}
	}
	switch {
	case len(here) > 0:
		t.calm = time.Time{}
	case t.calm.IsZero():
		t.calm = now
	case !t.well && now.Sub(t.calm) >= settled:
		t.well = true
		lines = append(lines, "All is well.")
	}
	return lines
}

func (t *teller) sentence(pr health.Problem) string {
	if t.book == nil {
		return pr.ID
	}
	text := words.Voice{Book: t.book, Now: time.Now()}.Problem(pr.ID, pr.Params)
	line := strings.TrimSpace(text.Sentence.String())
	if detail := pr.Params["detail"]; detail != "" {
		line += " (" + detail + ")"
	}
	if do := strings.TrimSpace(text.Do.String()); do != "" {
		line += " " + do
	}
	return line
}
