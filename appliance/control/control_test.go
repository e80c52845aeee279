package control

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatepost/appliance/health"
)

// sample has every field set, so that a field lost on the way is seen.
func sample() Box {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return Box{
		Version: "0.1.0", Hostname: "gate.office.example", Booted: at,
		Network: Network{
			State: NetworkUp, Mode: "dhcp", Interface: "eth0",
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.77.50/24")}, Gateway: netip.MustParseAddr("192.168.77.1"),
			DNS: []netip.Addr{netip.MustParseAddr("192.168.77.1")}, NTP: []netip.Addr{netip.MustParseAddr("192.168.77.1")},
			Domain: "office.example", LocalName: "gatepost-1a2b.local", Expires: at.Add(time.Hour), Note: "n",
		},
		Clock:   Clock{Trusted: true, Source: "192.168.77.1", Note: "only one"},
		Storage: Storage{State: StorageOK, Device: "/dev/vda", Message: "m", TotalBytes: 100, FreeBytes: 40},
		Config:  Config{State: "last-good", Error: "config.toml: line 1: no", Hash: "ab12", PageNames: []string{"gate.office.example"}},
		Roles:   []Role{{Name: "relay", Up: true, PID: 17, Since: at, Restarts: 2, LastExit: "ended with status 1", Cage: "no capability"}},
		Health:  health.State{Level: health.Look, Problems: []health.Problem{{ID: "held-mail", Level: health.Look, Params: map[string]string{"count": "3"}}}, Rows: []health.Row{health.RowHeld}, Link: true, Network: true},
		Lights:  []Light{{Name: "status", On: true, Pattern: "on"}},
		Light:   "healthy",
		Button:  true, Press: 3,
		LastReboot: "five crashes",
	}
}

func TestSampleIsComplete(t *testing.T) {
	var empty []string
	var look func(v reflect.Value, path string)
	look = func(v reflect.Value, path string) {
		if v.Kind() == reflect.Struct && strings.HasPrefix(v.Type().PkgPath(), "gatepost/") {
			for i := range v.NumField() {
				look(v.Field(i), path+"."+v.Type().Field(i).Name)
			}
			return
		}
		if v.IsZero() {
			empty = append(empty, path)
		}
	}
	look(reflect.ValueOf(sample()), "Box")
	if len(empty) > 0 {
		t.Errorf("sample leaves out %v", empty)
	}
}

func serve(t *testing.T, path string, hub *Hub, uids ...uint32) (stop func()) {
	t.Helper()
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	s := &Server{Hub: hub, UIDs: uids, heartbeat: 200 * time.Millisecond}
	go func() { done <- s.Run(ctx, l) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: got %v, want nil", err)
		}
	}
}

func me() uint32 { return uint32(os.Getuid()) }

func TestBoxTravelsWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	defer serve(t, path, NewHub(sample()), me())()
	got, err := Client{path}.Box(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, sample()) {
		t.Errorf("got  %+v\nwant %+v", got, sample())
	}
}

func TestStrangersAreRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	defer serve(t, path, NewHub(sample()), me()+1)()
	if b, err := (Client{path}).Box(context.Background()); err == nil {
		t.Errorf("a user who is not on the list got %+v", b)
	}
}

func TestWatchSeesChangesAndReconnects(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	hub := NewHub(Box{Version: "1"})
	stop := serve(t, path, hub, me())
	seen := make(chan string, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Client{path}.Watch(ctx, func(b Box) { seen <- b.Version }) }()
	until := func(want string) {
		t.Helper()
		for limit := time.After(20 * time.Second); ; {
			select {
			case v := <-seen:
				if v == want {
					return
				}
			case <-limit:
				t.Fatalf("version %s was never seen", want)
			}
		}
	}
	until("1")
	until("1") // the heartbeat
	for _, v := range []string{"2", "3", "4"} {
		hub.Publish(Box{Version: v})
	}
	until("4")
	stop()
	hub.Publish(Box{Version: "5"})
	stop = serve(t, path, hub, me()) // over the socket that is left
	until("5")
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Watch: got %v, want nil", err)
	}
	stop()
}

func TestListenErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Listen(filepath.Join(dir, "no", "folder.sock")); err == nil {
		t.Error("no error for a folder that is not there")
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file); err == nil {
		t.Error("a plain file was replaced by a socket")
	}
}

func TestUsedPercent(t *testing.T) {
	for _, tc := range []struct {
		total, free int64
		want        int
	}{{0, 0, 0}, {100, 100, 0}, {100, 15, 85}, {1000, 154, 85}, {100, 0, 100}} {
		if got := (Storage{TotalBytes: tc.total, FreeBytes: tc.free}).UsedPercent(); got != tc.want {
			t.Errorf("%d of %d free: got %d, want %d", tc.free, tc.total, got, tc.want)
		}
	}
}
