package liveness

import (
	"fmt"
	"time"
)

// Limits of the rule.
const (
	// fresh is for how long an answer proves that a role is alive.
	fresh = 10 * time.Second
	// startLimit is how long a role may take to its first answer: the relay
	// reads its whole spool before, on a slow card with much mail.
	startLimit = 5 * time.Minute
	// lateLimit is how far beyond its time a start, or the end of a process that
	// was killed, may be.
	lateLimit = 10 * time.Second
	// misses is how many questions in a row must have had no answer before a role
	// is called hung: one may be lost to a stall of the whole machine.
	misses = 2
)

// Process is what the supervisor knows of a role.
type Process struct {
	Name  string
	Up    bool
	PID   int
	Since time.Time // of this run, or of its end
	Next  time.Time // when it is started again; zero while Up and at once
}

// Seen is what is known of a role at one moment. Its times carry Go's monotonic
// reading: a step of the clock counts for nothing.
type Seen struct {
	Process
	Answered time.Time // by this run; zero means never
	Missed   int       // questions in a row without an answer
	Killed   time.Time // when this run was told to die because it hangs; zero: it was not
	// Resigned: the box has restarted itself for this role and that did not
	// help; it stays up without.
	Resigned bool
}

// State is what a role does.
type State string

// The states. Which let the watchdog be fed is the business of Fed.
const (
	Answering State = "answering"
	Starting  State = "starting" // up, no answer yet
	Silent    State = "silent"   // no fresh answer, but not yet long enough
	Hung      State = "hung"     // it must be killed now
	Dying     State = "dying"    // it was killed
	Stuck     State = "stuck"    // it was killed and is still there
	Pausing   State = "pausing"  // down, its ladder says when it is started
	Overdue   State = "overdue"  // down, and nobody has started it
)

// StateOf tells what a role does at now. patience is how long an answer may be
// ago before the role is called hung.
func StateOf(now time.Time, s Seen, patience time.Duration) State {
	switch {
	case !s.Up && now.Before(later(s.Since, s.Next).Add(lateLimit)):
		return Pausing
	case !s.Up:
		return Overdue
	case !s.Killed.IsZero() && now.Sub(s.Killed) < lateLimit:
		return Dying
	case !s.Killed.IsZero():
		return Stuck
	case s.Answered.IsZero() && now.Sub(s.Since) < startLimit:
		return Starting
	case s.Answered.IsZero():
		return Hung
	case now.Sub(s.Answered) >= patience && s.Missed >= misses:
		return Hung
	case now.Sub(s.Answered) < fresh:
		return Answering
	}
	return Silent
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Fed reports whether a role in that state is alive enough for the watchdog, or
// in the hands of somebody who is mending it and whose time has not run out.
func (s State) Fed() bool {
	switch s {
	case Answering, Starting, Hung, Dying, Pausing:
		return true
	}
	return false
}

// Phase is where PID 1 is in its life.
type Phase struct {
	Booted   time.Time // when PID 1 began
	Running  bool      // the boot steps are done
	Stopping time.Time // when it began to stop; zero while it does not
}

// How long PID 1 may take where no role can answer for it.
const (
	bootLimit = 5 * time.Minute // to mount, mend and grow the disk
	stopLimit = time.Minute     // to end the roles and write the disk
)

// Beat is a loop of PID 1 that must come round.
type Beat struct {
	Name string
	At   time.Time // the last time
}

// MayFeed is the rule of the watchdog: while the box starts and while it stops,
// for a bounded time; else when every loop of PID 1 has come round and every
// role is alive within the last ten seconds, or is being mended. why says what
// is wrong, for people.
func MayFeed(now time.Time, p Phase, beats []Beat, roles []Seen, patience time.Duration) (ok bool, why string) {
	switch {
	case !p.Stopping.IsZero():
		if d := now.Sub(p.Stopping); d >= stopLimit {
			return false, fmt.Sprintf("the box has not stopped within %v", stopLimit)
		}
		return true, ""
	case !p.Running:
		if d := now.Sub(p.Booted); d >= bootLimit {
			return false, fmt.Sprintf("the box has not started within %v", bootLimit)
		}
		return true, ""
	}
	for _, b := range beats {
		if now.Sub(b.At) >= fresh {
			return false, fmt.Sprintf("the first process hangs (%s)", b.Name)
		}
	}
	for _, r := range roles {
		if st := StateOf(now, r, patience); !st.Fed() && !r.Resigned {
			return false, fmt.Sprintf("%s is %s", r.Name, st)
		}
	}
	return true, ""
}
