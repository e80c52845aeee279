package qemu

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Line is one line of the guest's console.
type Line struct {
	// At is the time since QEMU was started.
	At time.Duration
	// Text is the line without its end; control characters are dropped.
	Text string
}

// Bounds of the console's memory.
const (
	maxLine  = 4096  // bytes; a longer line is cut into several
	maxLines = 20000 // older lines are forgotten
)

// console collects the guest's output.
type console struct {
	start  time.Time
	onLine func(Line)

	mu      sync.Mutex
	lines   []Line
	dropped int           // lines forgotten at the front
	more    chan struct{} // closed and replaced at each line
	ended   bool
}

func newConsole(onLine func(Line)) *console {
	return &console{start: time.Now(), onLine: onLine, more: make(chan struct{})}
}

// read takes lines from r until it ends. One caller.
func (c *console) read(r io.Reader) {
	br := bufio.NewReaderSize(r, maxLine)
	for {
		part, err := br.ReadSlice('\n')
		if len(part) > 0 {
			c.add(printable(string(part)))
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			break
		}
	}
	c.mu.Lock()
	c.ended = true
	close(c.more)
	c.more = make(chan struct{})
	c.mu.Unlock()
}

func (c *console) add(text string) {
	line := Line{At: time.Since(c.start), Text: text}
	c.mu.Lock()
	if len(c.lines) == maxLines {
		c.lines = slices.Delete(c.lines, 0, maxLines/10)
		c.dropped += maxLines / 10
	}
	c.lines = append(c.lines, line)
	close(c.more)
	c.more = make(chan struct{})
	c.mu.Unlock()
	if c.onLine != nil {
		c.onLine(line)
	}
}

// printable drops what would move a terminal's cursor or change its colour.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

// since gives the lines from number n on, the number after the last, a
// channel that tells of more, and whether there can be any.
func (c *console) since(n int) ([]Line, int, <-chan struct{}, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	from := min(max(n-c.dropped, 0), len(c.lines))
	return slices.Clone(c.lines[from:]), c.dropped + len(c.lines), c.more, c.ended
}

// Lines gives what the console has shown so far.
func (m *Machine) Lines() []Line {
	lines, _, _, _ := m.console.since(0)
	return lines
}

// ErrConsoleEnded says that the machine ended before the awaited line came.
var ErrConsoleEnded = errors.New("the machine ended before the awaited line came")

// Await gives the first console line, shown already or yet to come, for
// which match is true. It fails when ctx does or when the machine ends; the
// error holds the last lines.
func (m *Machine) Await(ctx context.Context, match func(text string) bool) (Line, error) {
	for n := 0; ; {
		lines, next, more, ended := m.console.since(n)
		for _, l := range lines {
			if match(l.Text) {
				return l, nil
			}
		}
		if n = next; ended {
			return Line{}, fmt.Errorf("%w; its last lines:\n%s", ErrConsoleEnded, m.lastLines())
		}
		select {
		case <-more:
		case <-ctx.Done():
			return Line{}, fmt.Errorf("awaiting a line of the console: %w; its last lines:\n%s", ctx.Err(), m.lastLines())
		}
	}
}

// AwaitText is Await for a line that contains text.
func (m *Machine) AwaitText(ctx context.Context, text string) (Line, error) {
	l, err := m.Await(ctx, func(s string) bool { return strings.Contains(s, text) })
	if err != nil {
		return l, fmt.Errorf("want %q: %w", text, err)
	}
	return l, nil
}

// lastLines is the end of the console for an error's text.
func (m *Machine) lastLines() string {
	lines := m.Lines()
	var b strings.Builder
	for _, l := range lines[max(0, len(lines)-15):] {
		fmt.Fprintf(&b, "  %6.2fs %s\n", l.At.Seconds(), l.Text)
	}
	return b.String()
}
