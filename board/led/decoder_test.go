package led

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// This decoder knows the printed legend and nothing of the machine: it looks
// at a recording of when each light came on and went off, as a camera would,
// and names what it sees.

// An edge is one change of one light.
type edge struct {
	at  time.Duration
	lit bool
}

// A span is a time in which a light did not change.
type span struct {
	lit  bool
	long time.Duration
}

// spans cuts a recording to the window from, to.
func spans(edges []edge, from, to time.Duration) []span {
	lit := false
	var out []span
	start := from
	for _, e := range edges {
		if e.at <= from {
			lit = e.lit
			continue
		}
		if e.at >= to {
			break
		}
		out = append(out, span{lit, e.at - start})
		start, lit = e.at, e.lit
	}
	return append(out, span{lit, to - start})
}

// near tells whether a time is what the legend says, within a camera's error.
func near(got, want time.Duration) bool {
	return got > want-30*time.Millisecond && got < want+30*time.Millisecond
}

// read names what one light shows in a window: off, on, slow, fast, wink,
// double, "2x" or "2x 4x" for codes, or "?".
func read(edges []edge, from, to time.Duration) string {
	all := spans(edges, from, to)
	if len(all) == 1 {
		if all[0].lit {
			return "on"
		}
		return "off"
	}
	inner := all[1 : len(all)-1] // the first and the last are cut by the window
	even := func(half time.Duration) bool {
		return len(inner) > 1 && !slices.ContainsFunc(inner, func(s span) bool { return !near(s.long, half) })
	}
	switch {
	case isFind(all):
		return "find"
	case even(time.Second):
		return "slow"
	case even(200 * time.Millisecond):
		return "fast"
	}
	if w := readWinks(all); w != "" {
		return w
	}
	return readCodes(all)
}

// isFind knows one long flash and two short ones, in turn.
func isFind(all []span) bool {
	long, short := 0, 0
	for _, s := range all[1 : len(all)-1] {
		switch {
		case near(s.long, 600*time.Millisecond) && s.lit:
			long++
		case near(s.long, 200*time.Millisecond) && s.lit:
			short++
		case !s.lit && (near(s.long, 200*time.Millisecond) || near(s.long, 600*time.Millisecond)):
		default:
			return false
		}
	}
	return long > 0 && short > 0
}

// readWinks knows a light that is on but for short gaps.
func readWinks(all []span) string {
	var pauses []time.Duration // between the beginnings of gaps
	last := time.Duration(-1)
	var t time.Duration
	for i, s := range all {
		if !s.lit {
			cut := i == 0 || i == len(all)-1
			if !near(s.long, 80*time.Millisecond) && (!cut || s.long > 80*time.Millisecond) {
				return ""
			}
			if last >= 0 {
				pauses = append(pauses, t-last)
			}
			last = t
		}
		t += s.long
	}
	if slices.ContainsFunc(pauses, func(p time.Duration) bool { return near(p, 300*time.Millisecond) }) {
		return "double"
	}
	return "wink"
}

// readCodes counts flashes of 200 ms between longer darknesses. The first and
// the last group may be cut by the window and do not count.
func readCodes(all []span) string {
	var groups []int
	n := 0
	for i, s := range all {
		switch {
		case s.lit && !near(s.long, 200*time.Millisecond) && i > 0 && i < len(all)-1:
			return "?"
		case s.lit:
			n++
		case s.long > time.Second && i > 0:
			groups, n = append(groups, n), 0
		}
	}
	if !all[0].lit && all[0].long < time.Second && len(groups) > 0 {
		groups = groups[1:]
	}
	if len(groups) == 0 {
		return "?"
	}
	// Codes in turn: one round of them is enough.
	seen := map[int]bool{}
	var names []string
	for _, g := range groups {
		if !seen[g] {
			seen[g] = true
			names = append(names, fmt.Sprintf("%dx", g))
		}
	}
	return strings.Join(names, " ")
}

// legend is what is printed for an office: what each row looks like. An entry
// may be matched by one of several readings, separated by "|"; "*" is any.
type legendRow struct {
	row     Row
	pressed bool // somebody has a finger on the button
	lights  map[int][]string
}

func legend() []legendRow {
	return []legendRow{
		{RowButtonNothing, true, map[int][]string{4: {"slow", "slow", "slow", "slow"}, 2: {"slow", "slow"}, 1: {"slow"}}},
		{RowButtonPassword, true, map[int][]string{4: {"fast", "off", "off", "fast"}, 2: {"fast", "off"}, 1: {"fast"}}},
		{RowButtonReset, true, map[int][]string{4: {"off", "off", "off", "on"}, 2: {"off", "on"}, 1: {"off|on"}}},
		{RowUpdating, false, map[int][]string{4: {"fast", "*", "*", "off"}, 2: {"fast", "off"}, 1: {"fast"}}},
		{RowBooting, false, map[int][]string{4: {"slow", "slow|on", "off", "off"}, 2: {"slow", "off"}, 1: {"slow"}}},
		{RowDead, false, map[int][]string{4: {"off", "off", "off", "on"}, 2: {"off", "on"}, 1: {"off"}}},
		{RowHeld, false, map[int][]string{4: {"on", "on", "on|wink", "2x"}, 2: {"on", "2x"}, 1: {"2x"}}},
		{RowDiskFull, false, map[int][]string{4: {"on", "on", "on|wink", "4x"}, 2: {"on", "4x"}, 1: {"4x"}}},
		{RowBacklog, false, map[int][]string{4: {"on", "on", "slow", "3x"}, 2: {"on", "3x"}, 1: {"3x"}}},
		{RowRolledBack, false, map[int][]string{4: {"on", "on", "on|wink", "5x"}, 2: {"on", "5x"}, 1: {"5x"}}},
		{RowNoNetwork, false, map[int][]string{4: {"on", "off|slow", "off", "1x"}, 2: {"on", "1x"}, 1: {"1x"}}},
		{RowUpdateReady, false, map[int][]string{4: {"double", "on", "on|wink", "off"}, 2: {"double", "off"}, 1: {"double"}}},
		{RowMail, false, map[int][]string{4: {"on", "on", "wink", "off"}, 2: {"wink", "off"}, 1: {"wink"}}},
		{RowHealthy, false, map[int][]string{4: {"on", "on", "on", "off"}, 2: {"on", "off"}, 1: {"on"}}},
	}
}

// recognise names the row that a window of a recording shows, or "".
func recognise(recording [][]edge, from, to time.Duration, pressed bool) (Row, []string) {
	var seen []string
	for _, edges := range recording {
		seen = append(seen, read(edges, from, to))
	}
	for _, l := range legend() {
		want := l.lights[len(recording)]
		matches := l.pressed == pressed
		for i, w := range want {
			matches = matches && (w == "*" || slices.Contains(strings.Split(w, "|"), seen[i]))
		}
		if matches {
			return l.row, seen
		}
	}
	return "", seen
}
