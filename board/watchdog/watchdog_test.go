package watchdog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"
)

func TestChoose(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for _, tc := range []struct {
		name string
		sys  fstest.MapFS
		want Choice
	}{
		{"none", fstest.MapFS{}, Choice{}},
		{"something else", fstest.MapFS{"dog0/identity": file("x")}, Choice{}},
		{"the kernel's own", fstest.MapFS{"watchdog0/identity": file("Software Watchdog\n")}, Choice{"watchdog0", "Software Watchdog"}},
		{"a real one after it", fstest.MapFS{
			"watchdog0/identity": file("Software Watchdog\n"), "watchdog1/identity": file("i6300ESB timer\n"),
		}, Choice{"watchdog1", "i6300ESB timer"}},
		{"two real ones", fstest.MapFS{
			"watchdog0/identity": file("Broadcom BCM2835 Watchdog timer\n"), "watchdog1/identity": file("other\n"),
		}, Choice{"watchdog0", "Broadcom BCM2835 Watchdog timer"}},
		{"without a name", fstest.MapFS{"watchdog0/status": file("0x0")}, Choice{Name: "watchdog0"}},
	} {
		got, err := Choose(tc.sys)
		if got != tc.want || errors.Is(err, ErrNone) != (tc.want == Choice{}) {
			t.Errorf("%s: got %+v, %v; want %+v", tc.name, got, err, tc.want)
		}
	}
}

// What is written to a device can be seen in a plain file; a driver that knows
// no timeout is one of its cases.
func TestDeviceWrites(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "watchdog0")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(dir, Choice{Name: "watchdog0"}, 15*time.Second)
	if d == nil || err == nil || d.Timeout != 0 || d.Fired {
		t.Fatalf("got %+v, %v; want a device without a timeout and an error about that", d, err)
	}
	if err := errors.Join(d.Feed(), d.Feed(), d.Disarm(), d.Disarm()); err != nil {
		t.Error(err)
	}
	if err := d.Feed(); err == nil {
		t.Error("a closed device was fed")
	}
	if got, _ := os.ReadFile(file); string(got) != "11V" {
		t.Errorf("written: got %q, want two meals and the magic character", got)
	}
	if _, err := Open(dir, Choice{Name: "watchdog7"}, 0); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that it is not there", err)
	}
}

// fakeDog counts its meals.
type fakeDog struct {
	meals int
	err   error
}

func (f *fakeDog) Feed() error { f.meals++; return f.err }

func TestFeeder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		dog := &fakeDog{}
		var told []string
		ctx, cancel := context.WithTimeout(t.Context(), 59*time.Second)
		defer cancel()
		err := Feeder{
			Device: dog, Every: 2 * time.Second,
			May: func(now time.Time) (bool, string) {
				at := now.Sub(began)
				if at >= 20*time.Second && at < 40*time.Second {
					return false, "hungry"
				}
				return true, ""
			},
			Changed: func(why string) { told = append(told, fmt.Sprintf("%v %q", time.Since(began), why)) },
		}.Run(ctx)
		if err != nil || dog.meals != 20 {
			t.Errorf("got %d meals, %v; want 20", dog.meals, err)
		}
		if want := []string{`20s "hungry"`, `40s ""`}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	})
}

func TestFeederGoesOnAfterAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dog := &fakeDog{err: errors.New("input/output error")}
		ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
		defer cancel()
		Feeder{Device: dog, Every: 2 * time.Second, May: func(time.Time) (bool, string) { return true, "" }}.Run(ctx)
		if dog.meals != 5 {
			t.Errorf("tried %d times, want 5", dog.meals)
		}
	})
}
