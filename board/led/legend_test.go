package led

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// limit is the time within which a person must be able to name the row.
const limit = 12 * time.Second

// shownRows is the order of the printed table.
var shownRows = []Row{
	RowButtonNothing, RowButtonPassword, RowButtonReset, RowUpdating, RowBooting, RowDead, RowHeld,
	RowDiskFull, RowBacklog, RowRolledBack, RowNoNetwork, RowUpdateReady, RowMail, RowHealthy,
}

// Every row of the table is told apart by the decoder, which knows only the
// legend, on boards with four, two and one lights. Run it with -v for the
// table.
func TestEveryRowIsRecognised(t *testing.T) {
	var table strings.Builder
	fmt.Fprintf(&table, "%-16s %22s %22s %22s\n", "ROW", "4 LIGHTS", "2 LIGHTS", "1 LIGHT")
	fastest := 0
	for _, row := range shownRows {
		fmt.Fprintf(&table, "%-16s", row)
		for _, n := range []int{4, 2, 1} {
			t.Run(fmt.Sprintf("%d/%s", n, row), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					after, seen, flashes := watchRow(t, n, row)
					fastest = max(fastest, flashes)
					word := fmt.Sprintf("yes, %4.1f s, %d/s", after.Seconds(), flashes)
					if after < 0 {
						word = "NO"
						t.Errorf("not recognised within %v: the decoder reads %q", limit, seen)
					}
					if flashes > 3 {
						t.Errorf("%d flashes within a second, want at most 3", flashes)
					}
					fmt.Fprintf(&table, " %22s", word)
				})
			})
		}
		table.WriteByte('\n')
	}
	t.Logf("recognised, seconds from the onset, most flashes of one light in a second:\n%s\nmost flashes in any second: %d", &table, fastest)
}

// watchRow lets a healthy box come to a row. It gives the time after which
// the decoder names that row and no other to the end of the limit, negative
// for never, and the most flashes in a second.
func watchRow(t *testing.T, n int, row Row) (after time.Duration, seen []string, flashes int) {
	t.Helper()
	r := newRig(t, n)
	r.Set(Conditions{Link: true, Lease: true})
	time.Sleep(7 * time.Second) // healthy before
	from := time.Since(r.start)
	c := rows()[row]
	r.Set(c)
	for time.Since(r.start) < from+limit {
		if row == RowMail {
			r.Mail()
		}
		time.Sleep(700 * time.Millisecond)
	}
	// On one light the reset is told by its ending.
	cut := from + time.Millisecond
	if row == RowButtonReset && n == 1 {
		cut += 3 * time.Second
	}
	recording := r.recording()
	after = -1
	for w := 100 * time.Millisecond; cut+w <= from+limit; w += 100 * time.Millisecond {
		var got Row
		got, seen = recognise(recording, cut, cut+w, c.Button != ButtonFree)
		switch {
		case got != row:
			after = -1
		case after < 0:
			after = cut + w - from
		}
	}
	for _, edges := range recording {
		flashes = max(flashes, mostRises(edges, time.Second))
	}
	if err := r.stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("Run: got %v, want %v", err, context.Canceled)
	}
	return after, seen, flashes
}

// mostRises is how often a light comes on within any window of that length.
func mostRises(edges []edge, window time.Duration) int {
	var rises []time.Duration
	most := 0
	for _, e := range edges {
		if !e.lit {
			continue
		}
		rises = append(rises, e.at)
		for rises[0] <= e.at-window {
			rises = rises[1:]
		}
		most = max(most, len(rises))
	}
	return most
}

// Whoever holds the button can count the seconds by the blinking, whenever
// the press begins, and stop by letting go.
func TestTheButtonsCountdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 4)
		up := Conditions{Link: true, Lease: true}
		r.Set(up)
		time.Sleep(4321 * time.Millisecond)
		from := time.Since(r.start)
		for _, stage := range []struct {
			button Button
			until  time.Duration
		}{{ButtonNothing, 5 * time.Second}, {ButtonPassword, 15 * time.Second}, {ButtonReset, 20 * time.Second}} {
			c := up
			c.Button = stage.button
			r.Set(c)
			time.Sleep(from + stage.until - time.Since(r.start))
		}
		r.Set(up)
		released := time.Since(r.start)
		time.Sleep(5 * time.Second)
		var lit []string // status at the middle of each second
		for s := range 5 {
			at := from + time.Duration(s)*time.Second + 500*time.Millisecond
			lit = append(lit, read(r.recording()[0], at-100*time.Millisecond, at+100*time.Millisecond))
		}
		if got := strings.Join(lit, " "); got != "on off on off on" {
			t.Errorf("the first five seconds show %s, want one second on, one off, from the press", got)
		}
		look := func(from, to time.Duration) (seen []string) {
			for _, edges := range r.recording() {
				seen = append(seen, read(edges, from, to))
			}
			return seen
		}
		if got := strings.Join(look(from+6*time.Second, from+15*time.Second), " "); got != "fast off off fast" {
			t.Errorf("from the fifth second: got %s", got)
		}
		if got := strings.Join(look(from+16*time.Second, from+20*time.Second), " "); got != "off off off on" {
			t.Errorf("from the fifteenth second: got %s", got)
		}
		if got := strings.Join(look(released+2*time.Second, released+5*time.Second), " "); got != "on on on off" {
			t.Errorf("after the release: got %s", got)
		}
		r.stop()
	})
}

func TestDimIsForCalmLightsOnly(t *testing.T) {
	m, err := NewMachine(4, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(100, 0)
	m.Set(Conditions{Link: true, Lease: true, Mode: Dim}, at)
	levels, _ := m.Levels(at)
	if levels[0] != (Level{Lit: true, Dim: true}) || levels[3] != (Level{}) {
		t.Errorf("a healthy dim box: got %+v", levels)
	}
	m.Set(Conditions{Link: true, Lease: true, Mode: Dim, Dead: true}, at.Add(time.Minute))
	levels, _ = m.Levels(at.Add(time.Minute))
	if levels[3] != (Level{Lit: true}) {
		t.Errorf("a broken dim box: got %+v, want the alarm in full", levels[3])
	}
}

func TestAlarmsHaveTheSecondColour(t *testing.T) {
	m, err := NewMachine(1, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(100, 0)
	m.Set(Conditions{Link: true, Lease: true}, at)
	if levels, _ := m.Levels(at); levels[0] != (Level{Lit: true}) {
		t.Errorf("healthy: got %+v", levels)
	}
	at = at.Add(time.Minute)
	m.Set(Conditions{Link: true, Lease: true, Held: true}, at)
	for range 20 {
		levels, next := m.Levels(at)
		if levels[0].Lit && levels[0] != (Level{Lit: true, Alarm: true}) {
			t.Fatalf("held: got %+v", levels)
		}
		at = next
	}
}
