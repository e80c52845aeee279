package appliance

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatepost/appliance/api"
	"gatepost/appliance/control"
	"gatepost/appliance/health"
	"gatepost/board/led"
	"gatepost/webui"
)

// statusEngine is a relay of which only the figures matter.
type statusEngine struct {
	api.Engine
	status atomic.Pointer[api.Status]
}

func (e *statusEngine) Status() api.Status { return *e.status.Load() }

func ids(problems []webui.Problem) []string {
	var out []string
	for _, p := range problems {
		out = append(out, p.ID)
	}
	return out
}

// What each problem of the page must look like at the lights, by the printed
// legend: written down here anew, and not taken from the program.
var legendRow = map[string]string{
	health.StorageMissingID: "dead", health.StorageFailedID: "dead", health.ConfigDefaultID: "dead", health.RelayDownID: "dead",
	health.StorageFullID: "disk-full", health.StorageNearlyID: "disk-full", health.HeldMailID: "held",
	health.BacklogID: "backlog", health.NoNetworkID: "no-network", health.DNSBrokenID: "no-network",
	health.SpoolDamagedID: "rolled-back", health.StoreDamagedID: "rolled-back", health.ConfigLastGoodID: "rolled-back",
	health.WebDownID: "rolled-back", health.BootingID: "booting", health.ClockWrongID: "booting",
}

// rowOrder is the order of the printed legend.
var rowOrder = []string{"dead", "booting", "held", "disk-full", "backlog", "rolled-back", "no-network"}

// alertOf is what the alert light shows for a row.
var alertOf = map[string]string{
	"dead": "on", "booting": "off", "held": "2x", "disk-full": "4x", "backlog": "3x", "rolled-back": "5x",
	"no-network": "1x", "healthy": "off",
}

// anyReport changes the box and the relay's figures as time may.
func anyReport(r *rand.Rand, b *control.Box, o *observer, now time.Time) api.Status {
	one := func(n int) bool { return r.IntN(n) == 0 }
	b.Network.State = []string{control.NetworkUp, control.NetworkUp, control.NetworkUp, control.NetworkNoLease, control.NetworkNoLink, control.NetworkStarting}[r.IntN(6)]
	b.Clock.Trusted = !one(5)
	b.Storage.State = []string{control.StorageOK, control.StorageOK, control.StorageOK, control.StorageOK, control.StorageFailed, control.StorageMissing}[r.IntN(6)]
	b.Storage.FreeBytes = int64(r.IntN(101))
	b.Config.State = []string{"file", "file", "file", "last-good", "default"}[r.IntN(5)]
	b.Roles = slices.Clone(b.Roles)
	for i := range b.Roles {
		b.Roles[i].Up, b.Roles[i].LastExit = !one(6), ""
	}
	s := api.Status{
		Time: now, DNS: !one(4), DNSKnown: !one(4), Held: max(0, r.IntN(6)-3), Waiting: r.IntN(180),
		StoreDamaged: one(8), Spool: api.Spool{State: []string{"ok", "ok", "ok", "full", "failed"}[r.IntN(5)], Damaged: max(0, r.IntN(6)-4)},
	}
	if one(2) {
		s.OldestTry = now.Add(-time.Duration(r.IntN(3600)) * time.Second)
	}
	if !one(6) {
		o.status, o.heard = s, now
	}
	return s
}

// The page, the figures that programs are given and the lights say the same,
// whatever happens in whatever order.
func TestPageStatusAndLightsNeverDisagree(t *testing.T) {
	engine := &statusEngine{}
	path := filepath.Join(t.TempDir(), "api.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- api.Serve(ctx, ln, engine, slog.New(slog.DiscardHandler))
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	rnd := rand.New(rand.NewPCG(8461, 6))
	seen := map[string]int{}
	now := time.Now()
	b, o := box(now), &observer{started: now.Add(-2 * bootLimit)}
	machine, err := led.NewMachine(4, now)
	if err != nil {
		t.Fatal(err)
	}
	latest := &latestBox{}
	page := pageBackend{api: api.NewClient(path), box: latest}
	for range 3000 {
		now = now.Add(time.Duration(rnd.IntN(20000)) * time.Millisecond)
		if rnd.IntN(200) == 0 {
			o = &observer{started: now} // the box starts anew
		}
		status := anyReport(rnd, &b, o, now)
		engine.status.Store(&status)
		b.Health = o.judge(b, now)
		conditions := lightConditions(b.Health)
		b.Light = string(conditions.Top())
		machine.Set(conditions, now)
		latest.set(b)
		home, err := page.Home(ctx)
		if err != nil {
			t.Fatal(err)
		}

		// From the page's words to the lights, by the legend.
		rows := map[string]bool{}
		away := false
		for _, p := range home.Problems {
			row, ok := legendRow[p.ID]
			if !ok {
				t.Fatalf("the legend has no row for %s", p.ID)
			}
			away = away || row == "no-network"
			rows[row] = true
		}
		if rows["booting"] && away && !slices.ContainsFunc(home.Problems, func(p webui.Problem) bool { return p.ID == health.BootingID }) {
			delete(rows, "booting") // no time for want of a network: the cause is shown
		}
		if rows["dead"] {
			delete(rows, "booting")
		}
		top, alerts := "healthy", []string{}
		for _, row := range rowOrder {
			if !rows[row] {
				continue
			}
			if top == "healthy" {
				top = row
			}
			if len(alerts) == 0 || alerts[0] != "on" && alerts[0] != "off" {
				alerts = append(alerts, alertOf[row])
			}
		}
		if len(alerts) == 0 {
			alerts = []string{"off"}
		}
		patterns := machine.Patterns()
		if got := patterns[3].String(); got != strings.Join(alerts, " ") {
			t.Fatalf("the page says %v, the alert light %s, want %v\n%+v", ids(home.Problems), got, alerts, o)
		}
		if home.Light != top {
			t.Fatalf("the page says %v and light %q, want %q", ids(home.Problems), home.Light, top)
		}
		network := patterns[1].String()
		if up := b.Network.Up() && !away; top != "dead" && top != "booting" && up != (network == "on") {
			t.Fatalf("the page says %v, the network light %s (%+v)", ids(home.Problems), network, b.Network)
		}

		// From the figures to the page.
		if fresh := now.Sub(o.heard) < statusStale; fresh && home.Queue != nil {
			held := slices.ContainsFunc(home.Problems, func(p webui.Problem) bool { return p.ID == health.HeldMailID })
			long := !o.awaySince.IsZero() && now.Sub(o.awaySince) >= time.Minute
			if want := o.status.Held > 0 && !long; held != want {
				t.Fatalf("%d messages are held, away for a minute %v: the page says %v", o.status.Held, long, ids(home.Problems))
			}
		}
		seen[top]++
	}
	for _, row := range append(rowOrder, "healthy") {
		if seen[row] == 0 {
			t.Errorf("the row %s never came up: %v", row, seen)
		}
	}
	t.Log(fmt.Sprint(seen))
}
