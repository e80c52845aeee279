//go:build hooks

package appliance

import (
	"bytes"
	"context"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// hooks harm the box for a test: with "gatepost.harm" on the kernel's command
// line each role is stopped once, and then the loop of this process that feeds
// the watchdog stands still.
type hooks struct{ hang atomic.Bool }

// guard makes the rule of the watchdog one that can hang.
func (h *hooks) guard(may func(time.Time) (bool, string)) func(time.Time) (bool, string) {
	return func(now time.Time) (bool, string) {
		if h.hang.Load() {
			select {} // like a deadlock
		}
		return may(now)
	}
}

func (h *hooks) start(life context.Context, p *initProcess) {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil || !bytes.Contains(line, []byte("gatepost.harm")) || p.state.snapshot().LastReboot != "" {
		return
	}
	p.keep(life, "hooks", func(ctx context.Context) error {
		for _, role := range []string{RoleRelay, RoleWeb} {
			pid := p.hookWait(ctx, role, 0)
			p.say("hook: %s %d is stopped", role, pid)
			began := time.Now()
			p.super.Reaper.Signal(pid, syscall.SIGSTOP)
			p.hookWait(ctx, role, pid)
			p.say("hook: %s answers again after %.1f s", role, time.Since(began).Seconds())
		}
		p.say("hook: the first process hangs")
		h.hang.Store(true)
		<-ctx.Done()
		return nil
	})
}

// hookWait waits until a role answers in a process other than not.
func (p *initProcess) hookWait(ctx context.Context, role string, not int) int {
	for ctx.Err() == nil {
		roles, _ := p.vitals.watch.Seen()
		for _, r := range roles {
			if r.Name == role && r.Up && r.PID != not && !r.Answered.IsZero() && r.Missed == 0 {
				return r.PID
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return 0
}
