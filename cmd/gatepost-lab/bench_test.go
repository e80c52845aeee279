package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The lines have the form that others read by program, and the document keeps
// everything outside of the marks.
func TestBenchResult(t *testing.T) {
	var out strings.Builder
	c := &comparison{out: &out, conditions: []string{"a quiet machine"}}
	l := load{clients: 50, size: 4096}
	samples := [2][]sample{
		{{accepted: 3000, cpu: 0.5}, {accepted: 9000, cpu: 0.25}, {accepted: 3100, cpu: 0.75}},
		{{accepted: 310, cpu: 2}, {accepted: 100, cpu: 2.5}, {accepted: 400, cpu: 1}},
	}
	c.rate("accept", l, samples, func(s sample) float64 { return s.accepted })
	l.secure = true
	c.cost("cpu", l, samples, "%.2fms/message", func(s sample) float64 { return s.cpu })
	want := "bench accept clients=50 size=4096 tls=off ours=3100/s peer=310/s ratio=10.0\n" +
		"bench cpu clients=50 size=4096 tls=on ours=0.50ms/message peer=2.00ms/message ratio=4.0\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	file := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(file, []byte("before\n"+docBegin+"old\n"+docEnd+"after\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.writeInto(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := string(text)
	if !strings.HasPrefix(got, "before\n"+docBegin+"- a quiet machine\n") || !strings.HasSuffix(got, docEnd+"after\n") ||
		strings.Contains(got, "old") || !strings.Contains(got, "| accept | 50 | 4096 | off | 3100/s | 310/s | 10.0 |\n") {
		t.Errorf("got\n%s", got)
	}
	if err := os.WriteFile(file, []byte("no marks"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.writeInto(file); err == nil {
		t.Error("a document without marks was taken")
	}
}

func TestByPlace(t *testing.T) {
	spent, system, total, err := byPlace(strings.NewReader(`File: lab
Duration: 7.74s, Total samples = 1.37s (17.71%)
-----------+-------------------------------------------------------
      20ms   internal/runtime/syscall/linux.Syscall6
             gatepost/relay/spool.dirFile.Sync
             gatepost/relay/spool.(*Log).commit
             gatepost/relay/smtpd.(*session).Data
-----------+-------------------------------------------------------
     1.50s   runtime.mallocgc
             gatepost/relay/queue.(*Queue).attempt (inline)
`))
	if err != nil || total != 1520*time.Millisecond || spent["queue"] != 1500*time.Millisecond ||
		len(spent) != 2 || len(system) != 1 || system["flush of the spool (fdatasync and waiting for it)"] != 20*time.Millisecond {
		t.Errorf("got %v, %v, %v, %v", spent, system, total, err)
	}
}
