// Package journal keeps the last log lines of the box in memory and shows them
// on the console.
//
// The journal itself writes to no disk. A [Keeper] saves it once an hour and at
// a clean stop into an [Archive] of bounded size, compressed, so that flash is
// spared and the lines from before a restart can still be read; a power cut
// takes the last hour.
//
// Lines may carry text that a stranger chose, so each is cut to a bounded
// length and control characters are shown, not sent to the terminal.
package journal

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// MaxLine is the longest line that is kept, in bytes; the rest is cut off.
const MaxLine = 1000

// queued bounds the lines that wait for a slow console.
const queued = 256

// Line is one line of the journal.
type Line struct {
	Seq    uint64    // counts up from 1
	Time   time.Time // by the clock of the box, trusted or not
	Source string    // "gatepost", "relay", "web"
	Text   string
}

// Journal is a ring of lines. All its methods may be called concurrently. Use
// New.
type Journal struct {
	now     func() time.Time
	console chan string

	mu      sync.Mutex
	ring    []Line
	next    uint64       // sequence number of the next line
	dropped int          // lines that the console was too slow for
	pending atomic.Int64 // lines queued or being written
}

// New returns a journal of the given number of lines. Run must be called for
// anything to reach the console.
func New(lines int) *Journal {
	return &Journal{
		now:     time.Now,
		console: make(chan string, queued),
		ring:    make([]Line, max(lines, 1)),
		next:    1,
	}
}

// Run writes lines to w, which may block (a serial line is slow), until ctx is
// done; what is queued by then is still written. Errors of w are ignored:
// there is nowhere to report them. It starts nothing and returns nil.
func (j *Journal) Run(ctx context.Context, w io.Writer) error {
	write := func(line string) {
		io.WriteString(w, line+"\r\n")
		j.pending.Add(-1)
	}
	for {
		select {
		case line := <-j.console:
			write(line)
		case <-ctx.Done():
			for {
				select {
				case line := <-j.console:
					write(line)
				default:
					return nil
				}
			}
		}
	}
}

// Flush waits until the console has taken every line, or for the given time.
func (j *Journal) Flush(limit time.Duration) {
	for deadline := time.Now().Add(limit); j.pending.Load() > 0 && time.Now().Before(deadline); {
		time.Sleep(2 * time.Millisecond)
	}
}

// Say adds a line and shows it on the console as "source: text". When the
// console cannot keep up, the line is left out there and counted.
func (j *Journal) Say(source, text string) { j.add(source, text, true) }

// Note adds a line without showing it on the console.
func (j *Journal) Note(source, text string) { j.add(source, text, false) }

// Sayf is Say with a format.
func (j *Journal) Sayf(source, format string, args ...any) {
	j.Say(source, fmt.Sprintf(format, args...))
}

func (j *Journal) add(source, text string, show bool) {
	text = Clean(text)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ring[j.next%uint64(len(j.ring))] = Line{Seq: j.next, Time: j.now(), Source: source, Text: text}
	j.next++
	if !show {
		return
	}
	if j.dropped > 0 && len(j.console) < queued/2 {
		j.show(fmt.Sprintf("gatepost: %d lines left out here, the console was too slow", j.dropped))
		j.dropped = 0
	}
	if !j.show(source + ": " + text) {
		j.dropped++
	}
}

func (j *Journal) show(line string) bool {
	j.pending.Add(1)
	select {
	case j.console <- line:
		return true
	default:
		j.pending.Add(-1)
		return false
	}
}

// Lines returns the lines with a sequence number above after, oldest first, at
// most the capacity of the ring.
func (j *Journal) Lines(after uint64) []Line {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines(after)
}

// lines is Lines for who holds mu.
func (j *Journal) lines(after uint64) []Line {
	first := uint64(1)
	if size := uint64(len(j.ring)); j.next > size {
		first = j.next - size
	}
	var out []Line
	for seq := max(first, after+1); seq < j.next; seq++ {
		out = append(out, j.ring[seq%uint64(len(j.ring))])
	}
	return out
}

// Logger returns a logger whose records become lines of the given source, on
// the console too.
func (j *Journal) Logger(source string, level slog.Level) *slog.Logger {
	w := &lineWriter{journal: j, source: source}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

// lineWriter takes one whole record in each Write, as slog's handlers promise.
type lineWriter struct {
	journal *Journal
	source  string
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.journal.Say(w.source, strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// Clean cuts a line to MaxLine bytes and shows control characters and bytes
// that are not UTF-8 as '?', so that no text can drive the terminal.
func Clean(s string) string {
	cut := len(s) > MaxLine
	if cut {
		s = s[:MaxLine]
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < 0x20, r >= 0x7f && r < 0xa0, r == '\u2028', r == '\u2029', r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if cut {
		s += " [cut]"
	}
	return s
}

// Prepend puts the lines of an earlier run before those that are there, as far
// as there is room, and numbers all of them anew. It returns the number of the
// last old line, 0 if there is none. Who follows the journal by its numbers
// must begin after it.
func (j *Journal) Prepend(old []Line) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.lines(0)
	old = old[max(0, len(old)+len(now)-len(j.ring)):]
	j.next = 1
	for _, l := range append(append([]Line{}, old...), now...) {
		l.Seq = j.next
		j.ring[j.next%uint64(len(j.ring))] = l
		j.next++
	}
	return uint64(len(old))
}
