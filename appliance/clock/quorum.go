package clock

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Limits of the agreement.
const (
	quorum    = 3
	agreement = 2 * time.Second
)

// Answer is what one server said.
type Answer struct {
	Server string
	Offset time.Duration // to be added to our clock
	Err    error         // why there is none
}

// Verdict is what the answers of one round are worth.
type Verdict struct {
	OK bool
	// Strong: at least three servers agree. Without it nobody could have
	// outvoted one that lies.
	Strong bool
	Offset time.Duration // to be added to our clock, when OK
	Agree  []string      // servers that agree, when OK
	Note   string        // why not OK, or what is weak about it
}

// Judge weighs the answers of one round. Where three or more servers answer,
// three of them, and more than half, must agree within two seconds; the others
// are named. Where fewer answer, all of them must agree, and the note says so;
// where three are known, fewer are taken only when patient is set, after one
// more round.
func Judge(answers []Answer, patient bool) Verdict {
	var good []Answer
	var silent []string
	for _, a := range answers {
		if a.Err != nil {
			silent = append(silent, fmt.Sprintf("%s: %v", a.Server, a.Err))
			continue
		}
		good = append(good, a)
	}
	switch {
	case len(answers) == 0:
		return Verdict{Note: "no time server is known"}
	case len(good) == 0:
		return Verdict{Note: "no time server answers (" + strings.Join(silent, "; ") + ")"}
	case len(good) < quorum && len(answers) >= quorum && !patient:
		return Verdict{Note: fmt.Sprintf("only %d of %d time servers answer, asking again", len(good), len(answers))}
	}
	slices.SortFunc(good, func(a, b Answer) int { return cmp.Compare(a.Offset, b.Offset) })
	first, last := largestGroup(good)
	group := good[first:last]
	need := len(good)
	if need >= quorum {
		need = max(quorum, need/2+1)
	}
	if len(group) < need {
		return Verdict{Note: "the time servers do not agree: " + offsets(good)}
	}
	v := Verdict{OK: true, Strong: len(group) >= quorum, Offset: group[len(group)/2].Offset}
	for _, a := range group {
		v.Agree = append(v.Agree, a.Server)
	}
	slices.Sort(v.Agree)
	switch {
	case len(good) == 1:
		v.Note = "only one time server answers, there is nothing to compare it with"
	case len(good) < quorum:
		v.Note = fmt.Sprintf("only %d time servers answer", len(good))
	case len(group) < len(good):
		v.Note = fmt.Sprintf("%d of %d time servers agree; not believed: %s",
			len(group), len(good), offsets(slices.Concat(good[:first], good[last:])))
	}
	return v
}

// largestGroup returns where the most answers that lie within the agreement
// begin and end, of answers sorted by offset.
func largestGroup(sorted []Answer) (from, to int) {
	for first := range sorted {
		last := first
		for last < len(sorted) && sorted[last].Offset-sorted[first].Offset <= agreement {
			last++
		}
		if last-first > to-from {
			from, to = first, last
		}
	}
	return from, to
}

// offsets names each server with its offset, in the order of the names, so that
// the same trouble reads the same.
func offsets(answers []Answer) string {
	parts := make([]string, len(answers))
	for i, a := range answers {
		parts[i] = a.Server + " " + offsetText(a.Offset)
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func offsetText(d time.Duration) string {
	switch {
	case d.Abs() < 2*time.Hour:
		return fmt.Sprintf("%+.1f s", d.Seconds())
	case d.Abs() < 48*time.Hour:
		return fmt.Sprintf("%+.1f hours", d.Hours())
	}
	return fmt.Sprintf("%+.0f days", d.Hours()/24)
}
