package led

import (
	"fmt"
	"strings"
	"time"
)

// A Pattern is what one light shows. Patterns can be compared with ==.
type Pattern struct {
	kind  kind
	codes string // for kind code: a digit for the number of flashes of each
}

type kind uint8

const (
	off kind = iota
	on
	slow
	fast
	wink
	double
	onThenOff
	find
	code
)

// Times of the patterns.
const (
	slowHalf     = time.Second
	fastHalf     = 200 * time.Millisecond
	flashOn      = 200 * time.Millisecond
	flashPeriod  = 500 * time.Millisecond
	codeDark     = 1800 * time.Millisecond // after a single code's last flash period
	codeGap      = 3 * time.Second         // between two codes in turn
	winkOff      = 80 * time.Millisecond
	winkApart    = 500 * time.Millisecond // between the beginnings of two winks
	doublePeriod = 10 * time.Second
	doubleLead   = time.Second // from the onset to the first double wink
	doubleApart  = 300 * time.Millisecond
	onFor        = 3 * time.Second
	findLong     = 600 * time.Millisecond
	findShort    = 200 * time.Millisecond // a short flash, and the pauses between
	findPause    = 600 * time.Millisecond
)

// codePattern plays codes in turn.
func codePattern(codes []cell) Pattern {
	var b strings.Builder
	for _, c := range codes {
		b.WriteByte('0' + byte(c))
	}
	return Pattern{kind: code, codes: b.String()}
}

// String names the pattern in the words of the legend: off, on, slow, fast,
// wink, double, long short short, or the numbers of flashes, such as 2x or 2x 4x.
func (p Pattern) String() string {
	switch p.kind {
	case on:
		return "on"
	case slow:
		return "slow"
	case fast:
		return "fast"
	case wink:
		return "wink"
	case double:
		return "double"
	case onThenOff:
		return "on 3 s, off"
	case find:
		return "long short short"
	case code:
		var names []string
		for _, n := range p.codes {
			names = append(names, fmt.Sprintf("%cx", n))
		}
		return strings.Join(names, " ")
	}
	return "off"
}

// forever is longer than any wait.
const forever = time.Duration(1<<63 - 1)

// at gives a pattern's level when it has been shown for age, and the time
// until it may change next. epoch is the time since the machine's start: the
// even rhythms follow it, so that lights which blink together blink as one.
// Gaps for messages are not part of it.
func (p Pattern) at(age, epoch time.Duration) (lit bool, next time.Duration) {
	switch p.kind {
	case on, wink:
		return true, forever
	case slow:
		return square(epoch, slowHalf)
	case fast:
		return square(epoch, fastHalf)
	case double:
		return doubleAt(age)
	case onThenOff:
		if age < onFor {
			return true, onFor - age
		}
	case find:
		return played(epoch, true, findLong, findShort, findShort, findShort, findShort, findPause)
	case code:
		return p.codeAt(age)
	}
	return false, forever
}

// square is half a period on, half a period off.
func square(t, half time.Duration) (bool, time.Duration) {
	return t/half%2 == 0, half - t%half
}

// doubleAt is on with two gaps in each period.
func doubleAt(age time.Duration) (bool, time.Duration) {
	if age < doubleLead {
		return true, doubleLead - age
	}
	return played(age-doubleLead, false, winkOff, doubleApart-winkOff, winkOff, doublePeriod-doubleApart-winkOff)
}

// played goes through parts that are lit and dark in turn, again and again;
// first is what the first part shows.
func played(t time.Duration, first bool, parts ...time.Duration) (bool, time.Duration) {
	var cycle time.Duration
	for _, p := range parts {
		cycle += p
	}
	t %= cycle
	lit := first
	for _, p := range parts {
		if t < p {
			return lit, p - t
		}
		t -= p
		lit = !lit
	}
	return first, 0 // not reached: t is less than the cycle
}

// codeAt plays the codes one after the other, then again.
func (p Pattern) codeAt(age time.Duration) (bool, time.Duration) {
	dark := codeDark
	if len(p.codes) > 1 {
		dark = codeGap
	}
	length := func(n rune) time.Duration { return time.Duration(n-'0')*flashPeriod + dark }
	var cycle time.Duration
	for _, n := range p.codes {
		cycle += length(n)
	}
	t := age % cycle
	for _, n := range p.codes {
		if t >= length(n) {
			t -= length(n)
			continue
		}
		flashes := time.Duration(n-'0') * flashPeriod
		if t >= flashes {
			return false, length(n) - t
		}
		if in := t % flashPeriod; in < flashOn {
			return true, flashOn - in
		} else {
			return false, flashPeriod - in
		}
	}
	return false, 0 // not reached: t is less than the cycle
}
