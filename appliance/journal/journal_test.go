package journal

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestClean(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"plain", "plain"},
		{"tab\there", "tab here"},
		{"\x1b[2J\x07", "?[2J?"},
		{"bad\xffutf8", "bad?utf8"},
		{"\u202eevil", "?evil"},
		{"naïve 日本", "naïve 日本"},
		{strings.Repeat("a", MaxLine+5), strings.Repeat("a", MaxLine) + " [cut]"},
	} {
		if got := Clean(tc.in); got != tc.want {
			t.Errorf("Clean(%q): got %q, want %q", tc.in, got, tc.want)
		}
	}
}

func TestRingKeepsTheLastLines(t *testing.T) {
	j := New(3)
	for i := range 5 {
		j.Note("x", fmt.Sprint(i))
	}
	var got []string
	for _, l := range j.Lines(0) {
		got = append(got, l.Text)
	}
	if want := "2 3 4"; strings.Join(got, " ") != want {
		t.Errorf("lines: got %v, want %s", got, want)
	}
	if got := j.Lines(4); len(got) != 1 || got[0].Text != "4" || got[0].Seq != 5 {
		t.Errorf("Lines(4): got %+v, want the fifth line only", got)
	}
	if got := j.Lines(99); got != nil {
		t.Errorf("Lines(99): got %+v, want none", got)
	}
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestConsoleGetsLinesAndLog(t *testing.T) {
	j := New(10)
	var out safeBuffer
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- j.Run(ctx, &out) }()
	j.Sayf("gatepost", "version %d starting", 1)
	j.Note("gatepost", "only in memory")
	j.Logger("net", slog.LevelInfo).Info("lease", "address", "192.0.2.1")
	j.Flush(5 * time.Second)
	cancel()
	<-done
	want := "gatepost: version 1 starting\r\nnet: level=INFO msg=lease address=192.0.2.1\r\n"
	if out.String() != want {
		t.Errorf("console: got %q, want %q", out.String(), want)
	}
	if got := len(j.Lines(0)); got != 3 {
		t.Errorf("lines in memory: got %d, want 3", got)
	}
}

func TestStuckConsoleNeverBlocks(t *testing.T) {
	j := New(10)
	for i := range 3 * queued {
		j.Sayf("x", "line %d", i) // nobody reads
	}
	var out safeBuffer
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- j.Run(ctx, &out) }()
	j.Flush(5 * time.Second)
	j.Say("x", "after")
	j.Flush(5 * time.Second)
	cancel()
	<-done
	if want := fmt.Sprintf("%d lines left out here", 2*queued); !strings.Contains(out.String(), want) {
		t.Errorf("console does not say %q: %q", want, out.String()[max(0, out.b.Len()-200):])
	}
	if !strings.HasSuffix(out.String(), "x: after\r\n") {
		t.Errorf("the line after the jam is missing")
	}
}

func TestCopyCutsLongLines(t *testing.T) {
	j := New(10)
	in := "one\r\n\n" + strings.Repeat("z", 10*MaxLine) + "\nlast"
	if err := j.Copy("relay", strings.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	got := j.Lines(0)
	if len(got) != 3 {
		t.Fatalf("lines: got %d, want 3: %v", len(got), got)
	}
	if got[0].Text != "one" || got[2].Text != "last" {
		t.Errorf("lines: got %q and %q, want one and last", got[0].Text, got[2].Text)
	}
	if !strings.HasSuffix(got[1].Text, "[cut]") || len(got[1].Text) > MaxLine+10 {
		t.Errorf("long line: got %d bytes, want it cut", len(got[1].Text))
	}
	r, w := io.Pipe()
	w.CloseWithError(io.ErrClosedPipe)
	if err := j.Copy("relay", r); err == nil {
		t.Error("a read error was dropped")
	}
}
