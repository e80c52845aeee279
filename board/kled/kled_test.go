package kled

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/board"
	"gatepost/board/led"
)

var _ Files = (*os.Root)(nil)

// fakeKernel is one LED of a kernel: it notes what is written and refuses what
// the kernel refuses.
type fakeKernel struct {
	name     string
	triggers string
	writes   []string
	err      error
}

func (k *fakeKernel) ReadFile(name string) ([]byte, error) {
	switch name {
	case "class/leds/" + k.name + "/max_brightness":
		return []byte("255\n"), nil
	case "class/leds/" + k.name + "/trigger":
		return []byte(k.triggers), nil
	}
	return nil, fs.ErrNotExist
}

func (k *fakeKernel) WriteFile(name string, data []byte, _ fs.FileMode) error {
	if k.err != nil {
		return k.err
	}
	dir, file := filepath.Split(name)
	if dir != "class/leds/"+k.name+"/" {
		return fs.ErrNotExist
	}
	if file == "trigger" && !strings.Contains(" "+k.triggers+" ", " "+string(data)+" ") && string(data) != "none" {
		return errors.New("invalid argument")
	}
	k.writes = append(k.writes, file+"="+string(data))
	return nil
}

// take gives what was written since the last time.
func (k *fakeKernel) take() string {
	s := strings.Join(k.writes, " | ")
	k.writes = nil
	return s
}

func TestALightWithThePatternTrigger(t *testing.T) {
	k := &fakeKernel{name: "status", triggers: "[none] timer pattern panic"}
	l, err := Open(k, board.Light{Name: board.Status, LED: "status"})
	if err != nil {
		t.Fatal(err)
	}
	want := func(what, want string) {
		t.Helper()
		if got := k.take(); got != want {
			t.Errorf("%s wrote\n%s, want\n%s", what, got, want)
		}
	}
	want("Open", "brightness=0")
	p, ok := l.(led.Scheduler)
	if !ok {
		t.Fatal("the kernel has the trigger, but does not play")
	}
	lit := led.Level{Lit: true}
	steps := []led.Step{{Level: lit, For: 200 * time.Millisecond}, {For: 300 * time.Millisecond}, {Level: led.Level{Lit: true, Dim: true}, For: 9500 * time.Millisecond}}
	if err := p.Schedule(steps); err != nil {
		t.Fatal(err)
	}
	pattern := "pattern=255 200 255 0 0 300 0 0 15 9500 15 0 0 1 0 0"
	want("the first Schedule", "trigger=pattern | repeat=1 | "+pattern+" | repeat=1")
	if err := p.Schedule(steps); err != nil {
		t.Fatal(err)
	}
	want("the second Schedule", pattern+" | repeat=1")
	if err := p.Set(led.Level{}); err != nil {
		t.Fatal(err)
	}
	want("dark", "brightness=0")
	if err := p.Schedule(steps[:1]); err != nil {
		t.Fatal(err)
	}
	want("Schedule after dark", "trigger=pattern | repeat=1 | pattern=255 200 255 0 0 1 0 0 | repeat=1")
	k.err = errors.New("gone")
	if err := p.Schedule(steps); !errors.Is(err, k.err) {
		t.Errorf("got %v, want %v", err, k.err)
	}
	k.err = nil
	if err := p.Schedule(steps); err != nil {
		t.Fatal(err)
	}
	want("Schedule after a failure", "trigger=pattern | repeat=1 | "+pattern+" | repeat=1")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	want("Close", "brightness=0")
}

func TestALightWithoutThePatternTrigger(t *testing.T) {
	k := &fakeKernel{name: "x", triggers: "none [heartbeat]"}
	l, err := Open(k, board.Light{Name: board.Status, LED: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := l.(led.Scheduler); ok {
		t.Fatal("the kernel cannot play")
	}
	for _, level := range []led.Level{{Lit: true}, {Lit: true, Dim: true}, {}} {
		if err := l.Set(level); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := k.take(), "brightness=0 | brightness=255 | brightness=15 | brightness=0"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A dark alarm belongs to the kernel, in case that it dies.
func TestTheAlarmHasThePanicTrigger(t *testing.T) {
	k := &fakeKernel{name: "alarm", triggers: "[none] pattern panic"}
	l, err := Open(k, board.Light{Name: board.Alert, LED: "alarm"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := k.take(), "brightness=0 | trigger=panic"; got != want {
		t.Errorf("dark: got %s, want %s", got, want)
	}
	if err := l.Set(led.Level{Lit: true}); err != nil {
		t.Fatal(err)
	}
	if got, want := k.take(), "trigger=none | brightness=255"; got != want {
		t.Errorf("lit: got %s, want %s", got, want)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := k.take(), "brightness=0"; got != want {
		t.Errorf("closed: got %s, want %s", got, want)
	}
	if err := Panic(k, "alarm"); err != nil || k.take() != "brightness=0 | trigger=panic" {
		t.Errorf("Panic: %v", err)
	}
	for _, name := range []string{"other", "../alarm"} {
		if err := Panic(k, name); err == nil {
			t.Errorf("Panic(%q): got no error", name)
		}
	}
	if err := Panic(&fakeKernel{name: "x", triggers: "none"}, "x"); err == nil {
		t.Error("a kernel without the panic trigger: got no error")
	}
}

func TestLEDsThatCannotBeOpened(t *testing.T) {
	k := &fakeKernel{name: "x", triggers: "none"}
	for _, name := range []string{"", "y", ".", "..", "../x", "x/../x", "x\x00"} {
		if _, err := Open(k, board.Light{Name: board.Status, LED: name}); err == nil {
			t.Errorf("%q: got no error", name)
		}
	}
	k.err = errors.New("read only")
	if _, err := Open(k, board.Light{Name: board.Status, LED: "x"}); !errors.Is(err, k.err) {
		t.Errorf("got %v, want %v", err, k.err)
	}
}

// The kernel's folders are links to elsewhere below /sys: a root at /sys
// follows them.
func TestLinksBelowSys(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(dir, "devices/platform/leds/leds/a")
	for _, d := range []string{real, filepath.Join(dir, "class/leds")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for file, text := range map[string]string{"max_brightness": "1\n", "trigger": "[none]\n", "brightness": "1\n"} {
		if err := os.WriteFile(filepath.Join(real, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../../devices/platform/leds/leds/a", filepath.Join(dir, "class/leds/a")); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	l, err := Open(root, board.Light{Name: board.Status, LED: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Set(led.Level{Lit: true, Dim: true}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(real, "brightness")); err != nil || string(got) != "1" {
		t.Errorf("got brightness %q, %v, want 1", got, err)
	}
}

// Whatever a light shows, the kernel gets what it can read: pairs, no two
// different levels without a step of no length between them, dark at the end.
func TestPatternsAreReadable(t *testing.T) {
	m, err := led.NewMachine(1, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	l := &Light{max: 255}
	for i, c := range []led.Conditions{
		{Link: true, Lease: true},
		{Booting: true},
		{Updating: true},
		{Held: true, DiskFull: true},
		{Find: true},
		{UpdateReady: true},
		{Button: led.ButtonReset},
		{Dead: true},
	} {
		now := time.Unix(int64(100*i), 0)
		m.Set(c, now)
		text := l.pattern(m.Ahead(now, 10*time.Second)[0])
		var numbers []int
		for _, f := range strings.Fields(text) {
			var n int
			if _, err := fmt.Sscan(f, &n); err != nil || n < 0 {
				t.Fatalf("%+v: %q", c, text)
			}
			numbers = append(numbers, n)
		}
		sum := 0
		for p := range slices.Chunk(numbers, 4) {
			if len(p) != 4 || p[0] != p[2] || p[3] != 0 {
				t.Fatalf("%+v: step %v in %q", c, p, text)
			}
			sum += p[1]
		}
		if numbers[len(numbers)-2] != 0 || sum != 10001 || len(text) > 4000 {
			t.Errorf("%+v: %d ms, %d bytes, %q", c, sum, len(text), text)
		}
	}
}
