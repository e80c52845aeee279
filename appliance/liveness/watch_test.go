package liveness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// stage is a role that does as it is told, and its supervisor.
type stage struct {
	mu       sync.Mutex
	began    time.Time
	process  Process
	hangs    bool
	unkilled bool // a kill has no effect
	fault    error
	told     []string
	w        *Watch
}

func newStage() *stage {
	s := &stage{began: time.Now(), process: Process{Name: "relay", Up: true, PID: 1, Since: time.Now()}}
	s.w = &Watch{
		Checks:    []Check{{Role: "relay", Name: "self-test", Ask: s.ask, Patience: SelfTestPatience, Proves: true}},
		Processes: func() []Process { s.mu.Lock(); defer s.mu.Unlock(); return []Process{s.process} },
		Hangs:     s.kill,
		Stuck:     func(string) bool { s.tell("stuck"); return true },
		Found:     func(c Check, trouble string) { s.tell(fmt.Sprintf("%s: %q", c.Name, trouble)) },
	}
	return s
}

func (s *stage) tell(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, what)
}

func (s *stage) ask(ctx context.Context) error {
	s.mu.Lock()
	hangs, fault := s.hangs, s.fault
	s.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return fault
}

// kill lets the process end and, a second later, begin anew.
func (s *stage) kill(_ string, pid int, reason string) {
	s.tell(fmt.Sprintf("killed %d: %s", pid, reason))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unkilled || pid != s.process.PID {
		return
	}
	s.process = Process{Name: "relay", Since: time.Now(), Next: time.Now().Add(time.Second)}
	time.AfterFunc(time.Second, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.hangs = false
		s.process = Process{Name: "relay", Up: true, PID: pid + 1, Since: time.Now()}
	})
}

func (s *stage) set(change func()) { s.mu.Lock(); change(); s.mu.Unlock() }

// fed asks the rule every second for so long, and returns how often it said no.
func (s *stage) fed(d time.Duration) (refused int) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		roles, beat := s.w.Seen()
		if ok, _ := MayFeed(time.Now(), Phase{Running: true}, []Beat{{"self-tests", beat}}, roles, SelfTestPatience); !ok {
			refused++
		}
	}
	return refused
}

func TestWatchEndsARoleThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go s.w.Run(ctx)
		time.Sleep(time.Minute)
		s.set(func() { s.hangs = true })
		if n := s.fed(time.Minute); n != 0 {
			t.Errorf("the watchdog was not fed %d times while the role was mended", n)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.process.PID != 2 || s.process.Since.Sub(s.began) > 75*time.Second {
			t.Errorf("got %+v, want a new process within 15 s", s.process)
		}
		if !slices.Contains(s.told, "killed 1: did not answer (self-test) and was ended") {
			t.Errorf("told %q", s.told)
		}
	})
}

func TestWatchOfARoleThatCannotBeEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go s.w.Run(ctx)
		time.Sleep(10 * time.Second)
		s.set(func() { s.hangs, s.unkilled = true, true })
		if n := s.fed(time.Hour); n > 1 {
			t.Errorf("a box that stays up without the role was not fed %d times", n)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		kills, stuck := 0, 0
		for _, what := range s.told {
			if strings.HasPrefix(what, "killed") {
				kills++
			}
			if what == "stuck" {
				stuck++
			}
		}
		if kills != 1 || stuck != 1 {
			t.Errorf("told %q, want one kill and that it is stuck", s.told)
		}
	})
}

// A fault is an answer: starting the role again would not mend a disk.
func TestFaultsAreAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go s.w.Run(ctx)
		s.set(func() { s.fault = Fault("the disk is broken") })
		if n := s.fed(time.Minute); n != 0 {
			t.Errorf("not fed %d times", n)
		}
		s.set(func() { s.fault = nil })
		time.Sleep(5 * time.Second)
		s.set(func() { s.fault = errors.New("connection refused") })
		time.Sleep(3 * time.Second)
		s.mu.Lock()
		defer s.mu.Unlock()
		want := []string{`self-test: "the disk is broken"`, `self-test: ""`, `self-test: "self-test: no answer"`}
		if !slices.Equal(s.told, want) {
			t.Errorf("told %q, want %q", s.told, want)
		}
	})
}
