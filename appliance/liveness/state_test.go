package liveness

import (
	"strings"
	"testing"
	"time"
)

// The table of docs/watchdog.md: each state, whether the watchdog is fed in it, and
// how long that lasts.
func TestStates(t *testing.T) {
	const s = time.Second
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	up := func(since time.Duration) Seen {
		return Seen{Process: Process{Name: "relay", Up: true, PID: 7, Since: ago(since)}}
	}
	with := func(x Seen, change func(*Seen)) Seen { change(&x); return x }
	for _, tc := range []struct {
		name string
		seen Seen
		want State
		fed  bool
	}{
		{"answered now", with(up(time.Hour), func(x *Seen) { x.Answered = now }), Answering, true},
		{"answered 9.9 s ago, the question was lost", with(up(time.Hour), func(x *Seen) { x.Answered, x.Missed = ago(9900*time.Millisecond), 1 }), Answering, true},
		{"nobody has asked it for long", with(up(time.Hour), func(x *Seen) { x.Answered = ago(11 * s) }), Silent, false},
		{"hangs", with(up(time.Hour), func(x *Seen) { x.Answered, x.Missed = ago(8*s), 2 }), Hung, true},
		{"two misses, but a short time", with(up(time.Hour), func(x *Seen) { x.Answered, x.Missed = ago(6*s), 2 }), Answering, true},
		{"starts", with(up(4*time.Minute), func(x *Seen) { x.Missed = 99 }), Starting, true},
		{"starts for ever", with(up(5*time.Minute), func(x *Seen) { x.Missed = 99 }), Hung, true},
		{"was killed", with(up(time.Hour), func(x *Seen) { x.Answered, x.Missed, x.Killed = ago(12*s), 3, ago(4*s) }), Dying, true},
		{"does not die", with(up(time.Hour), func(x *Seen) { x.Answered, x.Missed, x.Killed = ago(19*s), 3, ago(10*s) }), Stuck, false},
		{"down, the ladder says a minute", Seen{Process: Process{Since: ago(55 * s), Next: now.Add(5 * s)}}, Pausing, true},
		{"down, a little late", Seen{Process: Process{Since: ago(69 * s), Next: ago(9 * s)}}, Pausing, true},
		{"down, and nobody starts it", Seen{Process: Process{Since: ago(70 * s), Next: ago(10 * s)}}, Overdue, false},
		{"down after a wish to restart", Seen{Process: Process{Since: ago(s)}}, Pausing, true},
		{"never was", Seen{}, Overdue, false},
	} {
		got := StateOf(now, tc.seen, SelfTestPatience)
		if got != tc.want || got.Fed() != tc.fed {
			t.Errorf("%s: got %s, fed %v; want %s, %v", tc.name, got, got.Fed(), tc.want, tc.fed)
		}
		ok, why := MayFeed(now, Phase{Booted: ago(time.Hour), Running: true}, nil, []Seen{tc.seen}, SelfTestPatience)
		if ok != tc.fed || ok != (why == "") {
			t.Errorf("%s: the rule says %v %q", tc.name, ok, why)
		}
		tc.seen.Resigned = true
		if ok, why := MayFeed(now, Phase{Running: true}, nil, []Seen{tc.seen}, SelfTestPatience); !ok {
			t.Errorf("%s: the box stays up without the role, but the rule says %q", tc.name, why)
		}
	}
}

func TestPhasesAndBeats(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	dead := []Seen{{Process: Process{Name: "relay"}}} // would stop the feeding of a running box
	for _, tc := range []struct {
		name  string
		phase Phase
		beats []Beat
		why   string
	}{
		{"starting", Phase{Booted: ago(4 * time.Minute)}, nil, ""},
		{"starting for too long", Phase{Booted: ago(5 * time.Minute)}, nil, "has not started"},
		{"stopping", Phase{Running: true, Stopping: ago(59 * time.Second)}, nil, ""},
		{"stopping for too long", Phase{Running: true, Stopping: ago(time.Minute)}, nil, "has not stopped"},
		{"a loop stands still", Phase{Running: true}, []Beat{{"self-tests", now}, {"health", ago(10 * time.Second)}}, "hangs (health)"},
		{"all loops come round", Phase{Running: true}, []Beat{{"health", ago(9 * time.Second)}}, "relay is overdue"},
	} {
		ok, why := MayFeed(now, tc.phase, tc.beats, dead, SelfTestPatience)
		if ok != (tc.why == "") || !strings.Contains(why, tc.why) {
			t.Errorf("%s: got %v %q, want %q", tc.name, ok, why, tc.why)
		}
	}
}
