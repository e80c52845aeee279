package journal

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

func root(t testing.TB) *os.Root {
	t.Helper()
	r, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func texts(lines []Line) string {
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "%d:%s ", l.Seq, l.Text)
	}
	return strings.TrimSpace(b.String())
}

// What was said before a restart is there after it, in order and before what
// the new run has said.
func TestKeeperOverARestart(t *testing.T) {
	dir := root(t)
	for run := range 3 {
		j := New(8)
		j.Note("gatepost", fmt.Sprintf("start %d", run))
		k := &Keeper{Journal: j, Archive: Archive{Root: dir}}
		if err := k.Begin(); err != nil {
			t.Fatal(err)
		}
		j.Note("gatepost", fmt.Sprintf("a%d", run))
		if err := k.Save(); err != nil {
			t.Fatal(err)
		}
		if err := k.Save(); err != nil { // nothing new: no file
			t.Fatal(err)
		}
		j.Note("gatepost", fmt.Sprintf("b%d", run))
		if run == 1 {
			continue // the power is cut
		}
		if err := k.Save(); err != nil {
			t.Fatal(err)
		}
	}
	files, err := (Archive{Root: dir}).files()
	if err != nil || len(files) != 5 {
		t.Errorf("got %d files, %v, want 5", len(files), err)
	}
	lines, err := Archive{Root: dir}.Load(100)
	got := texts(lines)
	for _, want := range []string{"start 0", "a0", "b0", "start 1", "a1", "start 2", "a2", "b2"} {
		_, rest, ok := strings.Cut(got, want)
		if !ok {
			t.Fatalf("%v: %q is missing or not in order in %q", err, want, texts(lines))
		}
		got = rest
	}
	j := New(4)
	j.Note("gatepost", "new")
	k := &Keeper{Journal: j, Archive: Archive{Root: dir}}
	if err := k.Begin(); err != nil {
		t.Fatal(err)
	}
	if got, want := texts(j.Lines(0)), "1:start 2 2:a2 3:b2 4:new"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// However much is said, the files together stay within the limit and the
// newest lines stay.
func TestArchiveIsBounded(t *testing.T) {
	dir := root(t)
	a := Archive{Root: dir, Limit: 20_000}
	for n := range 200 {
		var noise strings.Builder
		for noise.Len() < 900 {
			fmt.Fprintf(&noise, "%x", rand.Uint64())
		}
		if err := a.Save([]Line{{Text: fmt.Sprintf("%d %s", n, noise.String())}, {Text: fmt.Sprint("last ", n)}}); err != nil {
			t.Fatal(err)
		}
		files, err := a.files()
		var total int64
		for _, f := range files {
			total += f.size
		}
		if err != nil || total > a.Limit {
			t.Fatalf("%d bytes in %d files, %v, want at most %d", total, len(files), err, a.Limit)
		}
	}
	lines, err := a.Load(1)
	if err != nil || texts(lines) != "0:last 199" {
		t.Errorf("got %q, %v, want the last line", texts(lines), err)
	}
}

// A file that was damaged costs its own lines and no others.
func TestArchiveWithADamagedFile(t *testing.T) {
	dir := root(t)
	a := Archive{Root: dir}
	for n := range 3 {
		if err := a.Save([]Line{{Text: fmt.Sprint("line ", n)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := dir.WriteFile("00000002"+archiveSuffix, []byte("no gzip"), 0o600); err != nil {
		t.Fatal(err)
	}
	lines, err := a.Load(10)
	if err == nil || texts(lines) != "0:line 0 0:line 2" {
		t.Errorf("got %q, %v, want the lines of the others and an error", texts(lines), err)
	}
	if err := a.Save([]Line{{Text: "line 3"}}); err != nil {
		t.Error(err)
	}
}

// FuzzReadLines: no file on a disk, whoever wrote it, ends PID 1 or puts
// control characters into the log.
func FuzzReadLines(f *testing.F) {
	pack := func(s string) []byte {
		var b bytes.Buffer
		zip := gzip.NewWriter(&b)
		_, _ = zip.Write([]byte(s)) // into memory
		_ = zip.Close()
		return b.Bytes()
	}
	f.Add(pack(`{"Seq":1,"Time":"2026-01-01T00:00:00Z","Source":"relay","Text":"a"}` + "\n"))
	f.Add(pack("{}\n{\"Text\":\"\\u001b[2J\"}"))
	f.Add([]byte("no gzip"))
	f.Fuzz(func(t *testing.T, in []byte) {
		lines, _ := readLines(bytes.NewReader(in)) // any error will do
		for _, l := range lines {
			if l.Text != Clean(l.Text) && len(l.Text) <= MaxLine || strings.ContainsAny(l.Text+l.Source, "\x00\x1b\n") {
				t.Errorf("got %q", l.Text)
			}
		}
	})
}
