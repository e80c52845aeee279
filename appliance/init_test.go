package appliance

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/appliance/api"
	"gatepost/appliance/config"
	"gatepost/appliance/control"
	"gatepost/appliance/health"
	"gatepost/board/led"
)

const rightConfig = "version = 1\nhostname = \"gate.office.example\"\n"

// disk is a data folder with its system folder.
func disk(t *testing.T, files map[string]string) (data, system *os.Root) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "system"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open := func(dir string) *os.Root {
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { root.Close() })
		return root
	}
	return open(dir), open(filepath.Join(dir, "system"))
}

func TestChooseSettings(t *testing.T) {
	const lastGood = "system/" + lastGoodName
	other := strings.Replace(rightConfig, "gate.", "old.", 1)
	for _, tc := range []struct {
		name  string
		files map[string]string
		host  string
		use   health.ConfigUse
		err   string
		kept  string // content of the last good copy afterwards
	}{
		{"right", map[string]string{configName: rightConfig}, "gate.office.example", health.ConfigFile, "", rightConfig},
		{"right and new", map[string]string{configName: rightConfig, lastGood: other}, "gate.office.example", health.ConfigFile, "", rightConfig},
		{"wrong, with a copy", map[string]string{configName: "relays = 1\n", lastGood: other}, "old.office.example", health.ConfigLastGood, "line 1", other},
		{"wrong, without a copy", map[string]string{configName: "relays = 1\n"}, config.Default().Hostname, health.ConfigDefault, "line 1", ""},
		{"wrong, with a wrong copy", map[string]string{configName: "x", lastGood: "y"}, config.Default().Hostname, health.ConfigDefault, "line 1", "y"},
		{"gone, with a copy", map[string]string{lastGood: other}, "old.office.example", health.ConfigLastGood, "no config.toml", other},
		{"none at all", nil, config.Default().Hostname, health.ConfigDefault, "no config.toml", ""},
		{"too large", map[string]string{configName: "#" + strings.Repeat("x", maxConfig)}, config.Default().Hostname, health.ConfigDefault, "larger", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			data, system := disk(t, tc.files)
			f, err := chooseSettings(data, system)
			if f.config.Hostname != tc.host || f.use != tc.use {
				t.Errorf("got %s, %s; want %s, %s", f.config.Hostname, f.use, tc.host, tc.use)
			}
			if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("error: got %v, want %q", err, tc.err)
			}
			kept, _ := os.ReadFile(filepath.Join(system.Name(), lastGoodName))
			if string(kept) != tc.kept {
				t.Errorf("last good copy: got %q, want %q", kept, tc.kept)
			}
		})
	}
	if f, err := chooseSettings(nil, nil); f.use != health.ConfigDefault || err == nil || !reflect.DeepEqual(f.config, config.Default()) {
		t.Errorf("without a disk: got %v, %v", f.use, err)
	}
}

// box is one on which all is well.
func box(now time.Time) control.Box {
	return control.Box{
		Network: control.Network{State: control.NetworkUp, Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.77.50/24")}},
		Clock:   control.Clock{Trusted: true},
		Storage: control.Storage{State: control.StorageOK, TotalBytes: 100, FreeBytes: 50},
		Config:  control.Config{State: string(health.ConfigFile)},
		Roles:   []control.Role{{Name: RoleRelay, Up: true, Since: now}, {Name: RoleWeb, Up: true, Since: now}},
	}
}

func TestJudgeFromReports(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		name   string
		change func(*control.Box, *observer)
		want   string // ids of the problems
	}{
		{"all is well", func(*control.Box, *observer) {}, "[]"},
		{"no cable", func(b *control.Box, _ *observer) { b.Network = control.Network{State: control.NetworkNoLink} }, "[no-network]"},
		{"clock not trusted", func(b *control.Box, _ *observer) { b.Clock.Trusted = false }, "[clock-wrong]"},
		{"no disk: the cause, not its consequences", func(b *control.Box, _ *observer) {
			b.Storage = control.Storage{State: control.StorageMissing}
			b.Config = control.Config{State: string(health.ConfigDefault), Error: "no disk"}
		}, "[storage-missing]"},
		{"spool cannot be used", func(_ *control.Box, o *observer) { o.status.Spool.State = "failed" }, "[storage-failed]"},
		{"disk nearly full", func(b *control.Box, _ *observer) { b.Storage.FreeBytes = 15 }, "[storage-nearly-full]"},
		{"disk full", func(b *control.Box, _ *observer) { b.Storage.FreeBytes = 5 }, "[storage-full]"},
		{"settings wrong", func(b *control.Box, _ *observer) { b.Config.State = string(health.ConfigLastGood) }, "[config-broken-last-good]"},
		{"relay does not answer", func(_ *control.Box, o *observer) { o.heard = now.Add(-11 * time.Second) }, "[relay-down]"},
		{"page has crashed lately", func(b *control.Box, _ *observer) { b.Roles[1].LastExit = "ended" }, "[web-down]"},
		{"page has recovered", func(b *control.Box, _ *observer) {
			b.Roles[1].LastExit, b.Roles[1].Since = "ended", now.Add(-time.Minute)
		}, "[]"},
		{"mail held", func(_ *control.Box, o *observer) { o.status.Held = 2 }, "[held-mail]"},
		{"held long without a network: the cause only", func(b *control.Box, o *observer) {
			o.status.Held, o.awaySince = 2, now.Add(-2*time.Minute)
			b.Network.State = control.NetworkNoLease
		}, "[no-network]"},
		{"old mail", func(_ *control.Box, o *observer) { o.status.OldestTry = now.Add(-time.Hour) }, "[backlog]"},
		{"old mail by an unknown clock", func(b *control.Box, o *observer) {
			o.status.OldestTry, b.Clock.Trusted = now.Add(-time.Hour), false
		}, "[clock-wrong]"},
		{"names fail", func(_ *control.Box, o *observer) {
			o.status.DNSKnown, o.upSince = true, now.Add(-time.Minute)
		}, "[dns-broken]"},
		{"names failed before the network was there", func(_ *control.Box, o *observer) {
			o.status.DNSKnown, o.upSince = true, now.Add(-5*time.Second)
		}, "[]"},
		{"still starting", func(b *control.Box, o *observer) { o.booted, b.Roles = false, nil }, "[booting]"},
		{"starting for too long", func(b *control.Box, o *observer) {
			o.booted, o.started, b.Roles = false, now.Add(-2*time.Minute), nil
		}, "[relay-down web-down]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, o := box(now), &observer{started: now, heard: now, booted: true}
			tc.change(&b, o)
			ids := []string{}
			for _, pr := range o.judge(b, now).Problems {
				ids = append(ids, pr.ID)
			}
			if got := fmt.Sprint(ids); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestTeller(t *testing.T) {
	v := newTeller()
	now := time.Now()
	state := func(ids ...string) health.State {
		var s health.State
		for _, id := range ids {
			level := health.Look
			if id == health.BootingID {
				level = health.Busy
			}
			s.Problems = append(s.Problems, health.Problem{ID: id, Level: level, Params: map[string]string{"count": "3"}})
		}
		return s
	}
	for i, step := range []struct {
		after time.Duration
		s     health.State
		want  []string // beginnings of the lines
	}{
		{0, state(health.BootingID), nil},
		{5 * time.Second, state(health.BootingID, health.ClockWrongID), nil},
		{time.Second, state(), nil},                // the clock was only late
		{time.Second, state(), nil},                // not settled
		{time.Second, state(), []string{"All is"}}, // settled
		{time.Second, state(), nil},
		{time.Second, state(health.HeldMailID), nil},
		{2 * time.Second, state(health.HeldMailID), []string{"Look here: 3 messages are held for safety."}},
		{time.Second, state(health.HeldMailID), nil},
		{time.Second, state(), nil},
		{time.Second, state(health.HeldMailID), nil}, // flapping
		{2 * time.Second, state(health.HeldMailID), []string{"Look here: "}},
		{time.Second, state(), nil},
		{2 * time.Second, state(), []string{"All is well."}},
	} {
		now = now.Add(step.after)
		got := v.tell(step.s, now)
		if len(got) != len(step.want) {
			t.Errorf("step %d: got %q, want %q", i, got, step.want)
			continue
		}
		for k := range got {
			if !strings.HasPrefix(got[k], step.want[k]) {
				t.Errorf("step %d: got %q, want %q", i, got[k], step.want[k])
			}
		}
	}
}

func TestEveryProblemHasWords(t *testing.T) {
	v := newTeller()
	for _, id := range []string{
		health.StorageMissingID, health.StorageFailedID, health.StorageFullID, health.StorageNearlyID, health.SpoolDamagedID,
		health.ConfigLastGoodID, health.ConfigDefaultID, health.NoNetworkID, health.DNSBrokenID, health.ClockWrongID,
		health.RelayDownID, health.WebDownID, health.HeldMailID, health.BacklogID,
	} {
		if got := v.sentence(health.Problem{ID: id}); strings.Contains(got, "has no words for") {
			t.Errorf("%s: no sentence", id)
		}
	}
}

func TestLightConditions(t *testing.T) {
	for _, tc := range []struct {
		name string
		s    health.State
		want led.Row
	}{
		{"healthy", health.State{Link: true, Network: true}, led.RowHealthy},
		{"booting", health.State{Rows: []health.Row{health.RowBooting}}, led.RowBooting},
		{"dead while booting", health.State{Rows: []health.Row{health.RowBooting, health.RowDead}}, led.RowDead},
		{"held", health.State{Rows: []health.Row{health.RowHeld}}, led.RowHeld},
		{"disk full", health.State{Rows: []health.Row{health.RowDiskFull}}, led.RowDiskFull},
		{"backlog", health.State{Rows: []health.Row{health.RowBacklog}}, led.RowBacklog},
		{"rolled back", health.State{Rows: []health.Row{health.RowRolledBack}}, led.RowRolledBack},
		{"no network", health.State{Rows: []health.Row{health.RowNoNetwork}}, led.RowNoNetwork},
	} {
		if got := lightConditions(tc.s).Rows()[0]; got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestCrashRecord(t *testing.T) {
	_, system := disk(t, nil)
	if c := readCrashes(system); c != (crashes{}) {
		t.Errorf("first start: got %+v", c)
	}
	want := crashes{InARow: 2, Reason: "relay crashed"}
	if err := writeCrashes(system, want); err != nil {
		t.Fatal(err)
	}
	if c := readCrashes(system); c != want {
		t.Errorf("got %+v, want %+v", c, want)
	}
	if err := os.WriteFile(filepath.Join(system.Name(), crashName), []byte("{\"in_a_row\": 5, garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := readCrashes(system); c != (crashes{}) {
		t.Errorf("garbage: got %+v", c)
	}
	if c := readCrashes(nil); c != (crashes{}) {
		t.Errorf("no disk: got %+v", c)
	}
}

// Two roles that crash too often at one moment restart the box once, and count
// once.
func TestRestartForBothRoles(t *testing.T) {
	system, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer system.Close()
	p := newInitProcess(InitOptions{})
	p.system = system
	var both sync.WaitGroup
	for _, role := range []string{RoleRelay, RoleWeb} {
		both.Go(func() {
			if !p.restartFor(role, role+" crashed") {
				t.Errorf("%s: the box is not restarted", role)
			}
		})
	}
	both.Wait()
	if c := readCrashes(system); c.InARow != 1 || len(p.ends) != 1 {
		t.Errorf("got %+v and %d ends, want one of each", c, len(p.ends))
	}
	if lines := p.journal.Lines(0); len(lines) != 1 {
		t.Errorf("got %v, want one line", lines)
	}
}

func TestResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	dns := []netip.Addr{netip.MustParseAddr("192.168.77.1"), netip.MustParseAddr("9.9.9.9")}
	if err := writeResolvConf(path, dns, "office.example"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if want := "nameserver 192.168.77.1\nnameserver 9.9.9.9\nsearch office.example\n"; err != nil || string(text) != want {
		t.Errorf("got %q, %v; want %q", text, err, want)
	}
}

func TestHandoverTravelsWhole(t *testing.T) {
	c, err := config.Parse(configName, []byte(rightConfig+"[relay]\ntrusted_networks = [\"192.168.77.0/24\"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	p := &initProcess{InitOptions: InitOptions{Version: "1.2.3"}}
	p.setInForce(inForce{config: c, use: health.ConfigFile})
	h := p.handover(RoleRelay)
	if !h.Volatile || h.DataDir != "/run/gatepost/volatile/relay" {
		t.Errorf("without a disk: got %+v", h)
	}
	p.data, _ = disk(t, nil)
	h = p.handover(RoleRelay)
	if h.Volatile || h.DataDir != "/data/relay" || h.Version != "1.2.3" {
		t.Errorf("with a disk: got %+v", h)
	}
	if back := throughJSON(t, h); !reflect.DeepEqual(back, h) {
		t.Errorf("after the pipe:\n got %+v\nwant %+v", back, h)
	}
}

func TestRunInitOnlyAsTheFirstProcess(t *testing.T) {
	if err := RunInit(t.Context(), InitOptions{}); err != ErrNotInit {
		t.Errorf("got %v, want %v", err, ErrNotInit)
	}
}

func TestReadyAt(t *testing.T) {
	now := time.Now()
	b := box(now)
	if got := readyAt(b, now); got != "https://192.168.77.50/" {
		t.Errorf("got %q", got)
	}
	b.Roles = b.Roles[:1]
	if got := readyAt(b, now); got != "" {
		t.Errorf("without the page: got %q", got)
	}
}

func TestMailPassed(t *testing.T) {
	t0 := time.Now()
	for _, tc := range []struct {
		name          string
		before, after api.Status
		want          bool
	}{
		{"first answer", api.Status{}, api.Status{Time: t0, LastIn: t0}, false},
		{"nothing new", api.Status{Time: t0, LastIn: t0}, api.Status{Time: t0, LastIn: t0}, false},
		{"in", api.Status{Time: t0}, api.Status{Time: t0, LastIn: t0}, true},
		{"out", api.Status{Time: t0, LastOut: t0}, api.Status{Time: t0, LastOut: t0.Add(1)}, true},
	} {
		if got := mailPassed(tc.before, tc.after); got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestCheckFile(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.toml"), filepath.Join(dir, "bad.toml")
	os.WriteFile(good, []byte(rightConfig), 0o600)
	os.WriteFile(bad, []byte("relays = 1\n"), 0o600)
	var out strings.Builder
	if err := CheckFile(&out, []string{good}); err != nil || !strings.Contains(out.String(), "is right: this box would be gate.office.example") {
		t.Errorf("right file: got %q, %v", out.String(), err)
	}
	for _, args := range [][]string{{bad}, {filepath.Join(dir, "none")}, nil, {good, bad}} {
		if err := CheckFile(&out, args); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

func throughJSON(t *testing.T, h handover) (back handover) {
	t.Helper()
	text, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	return back
}
