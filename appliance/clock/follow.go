package clock

import (
	"fmt"
	"strings"
	"time"
)

// How the clock follows its servers.
const (
	smallest  = 5 * time.Millisecond // below it nothing is done
	smallStep = time.Second          // up to it the clock is slewed, not set, once it is trusted
	// tolerable is an error that harms no certificate and no policy. The clock
	// follows one server alone so far and no farther, and when it is ahead by
	// so much it is slewed back and is trusted all the while.
	tolerable = 10 * time.Minute
	// contradictionLimit is for how long the servers must say that a trusted
	// clock is wrong by more before the trust ends, over three rounds at least.
	contradictionLimit  = time.Hour
	contradictionRounds = 3
	// silenceLimit ends the trust when nobody has confirmed it. A bad crystal is
	// wrong by twenty minutes then.
	silenceLimit = 30 * 24 * time.Hour
)

// follow acts on a verdict: it moves the clock as far as the rules allow and
// says what is trusted.
func (c *Clock) follow(v Verdict) {
	if !v.OK {
		c.note(v.Note)
		return
	}
	if c.ever {
		c.keepRight(v)
		return
	}
	then := c.Now().Add(v.Offset)
	if then.Before(c.floor.Add(-agreement)) {
		c.note(fmt.Sprintf("the time servers say %s, which is before %s, when this box is known to have existed",
			then.UTC().Format(time.DateTime), c.floor.UTC().Format(time.DateTime)))
		return
	}
	c.move(v, v.Offset.Abs() >= smallest)
}

// keepRight follows a verdict of after the first trust: small errors are
// slewed, a clock that is behind is set when three servers say so, and one that
// is ahead is never set back.
func (c *Clock) keepRight(v Verdict) {
	switch ahead := -v.Offset; {
	case v.Offset.Abs() <= smallStep, ahead > 0 && ahead <= tolerable:
		c.move(v, false)
	case ahead > 0:
		c.contradicted("the clock is wrong by " + offsetText(v.Offset) + ", as the time servers say; it is not turned back while the box runs")
	case v.Strong, v.Offset <= tolerable, !c.State().Trusted:
		c.move(v, true)
	default:
		c.contradicted(fmt.Sprintf("the clock is wrong by %s, as %s says; that is too far to follow fewer than %d servers",
			offsetText(v.Offset), strings.Join(v.Agree, " and "), quorum))
	}
}

// move steps or slews the clock by the verdict's offset and trusts it.
func (c *Clock) move(v Verdict, step bool) {
	var err error
	if step {
		err = c.Step(c.Now().Add(v.Offset))
	}
	if err == nil {
		slew := v.Offset
		if step || slew.Abs() < smallest {
			slew = 0
		}
		err = c.Slew(slew)
	}
	if err != nil {
		c.Log.Error("clock cannot be set", "error", err)
		c.note("the clock cannot be set: " + err.Error())
		return
	}
	if step {
		c.Log.Info("clock set", "step", v.Offset, "servers", v.Agree)
	}
	if v.Offset.Abs() >= smallest {
		c.forgetAnswers()
	}
	first := !c.State().Trusted
	c.ever, c.agreed, c.contradictions = true, time.Now(), 0
	if v.Strong {
		c.strong = c.agreed
	}
	c.set(State{Trusted: true, Source: strings.Join(v.Agree, ", "), Note: v.Note})
	if first {
		c.save()
	}
}

// contradicted notes that the servers call the trusted time wrong, and ends the
// trust when they go on.
func (c *Clock) contradicted(note string) {
	if c.contradictions == 0 {
		c.since = time.Now()
	}
	c.contradictions++
	if c.contradictions >= contradictionRounds && time.Since(c.since) >= contradictionLimit {
		c.distrust(note)
		return
	}
	c.note(note)
}

// distrust ends the trust.
func (c *Clock) distrust(why string) {
	if c.State().Trusted {
		c.Log.Warn("the time is no longer trusted", "reason", why)
	}
	c.set(State{Note: why})
}

// checkSilence ends a trust that nobody has confirmed for too long.
func (c *Clock) checkSilence() {
	if c.State().Trusted && time.Since(c.agreed) >= silenceLimit {
		c.distrust(fmt.Sprintf("no time servers have agreed with the clock for %.0f days", time.Since(c.agreed).Hours()/24))
	}
}
