package boot

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMain lets this binary be started again as a role.
func TestMain(m *testing.M) {
	if os.Getenv(inheritEnv) != "" {
		os.Exit(testRole())
	}
	os.Exit(m.Run())
}

// order is the payload of the role in the tests.
type order struct {
	Greeting string
	Do       string // "serve", "fail", "stubborn"
}

func testRole() int {
	in, err := Inherit(os.Getenv, os.Unsetenv)
	if err != nil {
		fmt.Println("inherit:", err)
		return 9
	}
	var o order
	if err := json.Unmarshal(in.Payload, &o); err != nil {
		fmt.Println("payload:", err)
		return 9
	}
	fmt.Println("hello", len(o.Greeting))
	fmt.Fprintln(os.Stderr, "environment", len(os.Environ()))
	switch o.Do {
	case "fail":
		return 3
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ignoring")
		select {}
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		for {
			c, err := in.Listeners["smtp"].Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "220 %s\r\n", o.Greeting)
			c.Close()
		}
	}()
	<-term
	fmt.Println("bye")
	return 0
}

type fixture struct {
	*Supervisor
	mu      sync.Mutex
	lines   []string
	crashes []string
	changed chan struct{}
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{changed: make(chan struct{}, 1000)}
	reaper := NewReaper()
	f.Supervisor = &Supervisor{
		Reaper:     reaper,
		Executable: exe,
		StopLimit:  20 * time.Second, // the race detector makes every end slow
		Output: func(role string, _ int, r io.Reader) error {
			sc := bufio.NewScanner(r)
			for sc.Scan() {
				f.mu.Lock()
				f.lines = append(f.lines, role+": "+sc.Text())
				f.mu.Unlock()
				f.changed <- struct{}{}
			}
			return sc.Err()
		},
		Crashed: func(role, reason string, pause time.Duration, tooMany bool) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.crashes = append(f.crashes, fmt.Sprintf("%s %s, again in %v, too many %v", role, reason, pause, tooMany))
			f.changed <- struct{}{}
		},
		Changed: func() { f.changed <- struct{}{} },
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- reaper.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return f
}

// until waits for a condition that is looked at after every change.
func (f *fixture) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.After(30 * time.Second)
	for {
		f.mu.Lock()
		yes := ok()
		f.mu.Unlock()
		if yes {
			return
		}
		select {
		case <-f.changed:
		case <-limit:
			t.Fatalf("waiting for %s: lines %q, crashes %q", what, f.lines, f.crashes)
		}
	}
}

func (f *fixture) said(line string) func() bool {
	return func() bool {
		for _, l := range f.lines {
			if l == line {
				return true
			}
		}
		return false
	}
}

func payload(o order) func() ([]byte, error) {
	return func() ([]byte, error) { return json.Marshal(o) }
}

func TestSupervisorHandsDownAndStops(t *testing.T) {
	f := newFixture(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close() // the duplicate lives on
	defer file.Close()

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	greeting := strings.Repeat("x", 200_000) // more than a pipe holds
	go func() {
		done <- f.Run(ctx, Role{
			Name: "relay", Args: []string{"gatepost", "relay"},
			Listeners: []Handed{{Name: "smtp", File: file}},
			Payload:   payload(order{Greeting: greeting, Do: "serve"}),
		})
	}()
	f.until(t, "the environment line", f.said("relay: environment 0"))
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	got, err := io.ReadAll(c)
	if want := "220 " + greeting + "\r\n"; err != nil || string(got) != want {
		t.Errorf("greeting through the handed-down listener: got %d bytes, error %v, want %d bytes", len(got), err, len(want))
	}
	if st := f.States(); len(st) != 1 || !st[0].Up || st[0].PID == 0 {
		t.Errorf("states: got %+v, want relay up", st)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: got %v, want nil", err)
	}
	f.until(t, "the last line", f.said("relay: bye"))
	if len(f.crashes) != 0 {
		t.Errorf("crashes: got %q, want none", f.crashes)
	}
	if st := f.States(); st[0].Up || st[0].LastExit != "ended with status 0" {
		t.Errorf("states after the stop: got %+v", st)
	}
}

func TestSupervisorRestartsAfterACrash(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- f.Run(ctx, Role{Name: "web", Args: []string{"gatepost", "web"}, Payload: payload(order{Greeting: "w", Do: "fail"})})
	}()
	f.until(t, "two crashes", func() bool { return len(f.crashes) >= 2 })
	cancel()
	<-done
	want := []string{
		"web ended with status 3, again in 1s, too many false",
		"web ended with status 3, again in 2s, too many false",
	}
	for i := range want {
		if f.crashes[i] != want[i] {
			t.Errorf("crash %d: got %q, want %q", i+1, f.crashes[i], want[i])
		}
	}
	if st := f.States(); st[0].Restarts != 1 {
		t.Errorf("restarts: got %d, want 1", st[0].Restarts)
	}
}

func TestSupervisorKillsAStubbornRole(t *testing.T) {
	f := newFixture(t)
	f.StopLimit = 300 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- f.Run(ctx, Role{Name: "web", Args: []string{"gatepost"}, Payload: payload(order{Do: "stubborn"})})
	}()
	f.until(t, "the role", f.said("web: ignoring"))
	cancel()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("the role was not killed")
	}
	if st := f.States(); st[0].LastExit != "did not stop within 300ms and was killed" {
		t.Errorf("last exit: got %q, want it killed", st[0].LastExit)
	}
}

func TestSupervisorCannotStart(t *testing.T) {
	f := newFixture(t)
	f.Executable = "/does/not/exist"
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx, Role{Name: "web", Args: []string{"x"}, Payload: payload(order{})}) }()
	f.until(t, "a crash", func() bool { return len(f.crashes) > 0 })
	cancel()
	<-done
	if want := "could not be started: no such file"; !strings.Contains(f.crashes[0], want) {
		t.Errorf("crash: got %q, want %q in it", f.crashes[0], want)
	}
}

func TestInheritErrors(t *testing.T) {
	none := func(string) string { return "" }
	unset := func(string) error { return nil }
	if _, err := Inherit(none, unset); err != ErrNothingInherited {
		t.Errorf("nothing: got %v, want ErrNothingInherited", err)
	}
	bad := func(string) string { return "smtp,payload" }
	if _, err := Inherit(bad, unset); err == nil || !strings.Contains(err.Error(), "not a list of descriptors") {
		t.Errorf("wrong list: got %v", err)
	}
}

func TestLadder(t *testing.T) {
	t0 := time.Now()
	at := func(d time.Duration) time.Time { return t0.Add(d) }
	for _, tc := range []struct {
		name    string
		runs    [][2]time.Duration // start and end of each run
		pauses  []time.Duration
		tooMany []bool
	}{
		{
			name:    "crashes at once",
			runs:    [][2]time.Duration{{0, 0}, {1e9, 1e9}, {3e9, 3e9}, {7e9, 7e9}, {15e9, 15e9}, {31e9, 31e9}, {63e9, 63e9}, {123e9, 123e9}},
			pauses:  []time.Duration{1e9, 2e9, 4e9, 8e9, 16e9, 32e9, 60e9, 60e9},
			tooMany: []bool{false, false, false, false, true, true, true, true},
		},
		{
			name:    "three minutes each",
			runs:    [][2]time.Duration{{0, 3 * time.Minute}, {3 * time.Minute, 6 * time.Minute}, {6 * time.Minute, 9 * time.Minute}, {9 * time.Minute, 12 * time.Minute}, {12 * time.Minute, 15 * time.Minute}, {15 * time.Minute, 18 * time.Minute}},
			pauses:  []time.Duration{1e9, 2e9, 4e9, 8e9, 16e9, 32e9},
			tooMany: []bool{false, false, false, false, false, false},
		},
		{
			name:    "a long run forgives",
			runs:    [][2]time.Duration{{0, 0}, {1e9, 1e9}, {3e9, 11 * time.Minute}, {11 * time.Minute, 11 * time.Minute}},
			pauses:  []time.Duration{1e9, 2e9, 1e9, 2e9},
			tooMany: []bool{false, false, false, false},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var l Ladder
			for i, r := range tc.runs {
				pause, tooMany := l.Crash(at(r[0]), at(r[1]))
				if pause != tc.pauses[i] || tooMany != tc.tooMany[i] {
					t.Errorf("crash %d: got %v, %v; want %v, %v", i+1, pause, tooMany, tc.pauses[i], tc.tooMany[i])
				}
			}
		})
	}
}
