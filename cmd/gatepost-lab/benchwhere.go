package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// places are the parts to which time is given, by a frame that must be in the
// stack. The first that fits counts.
var places = []struct{ name, frame string }{
	{"flush of the spool (fdatasync and waiting for it)", "spool.dirFile.Sync"},
	{"spool: records, index, writing", "gatepost/relay/spool."},
	{"database: history, counters", "gatepost/relay/store."},
	{"SMTP out", "gatepost/relay/smtpc."},
	{"delivery: route, verdict, connections", "gatepost/relay/deliver."},
	{"queue", "gatepost/relay/queue."},
	{"SMTP in", "gatepost/relay/smtpd."},
	{"SMTP in", "go-smtp"},
	{"taking in, events, counters", "gatepost/relay."},
	{"garbage collection", "runtime.gc"},
	{"garbage collection", "runtime.bgsweep"},
	{"the benchmark itself", "main."},
	{"the benchmark itself", "gatepost/relay/lab"},
	{"switching between goroutines", "runtime.mcall"},
	{"switching between goroutines", "runtime.mstart"},
}

// where prints which part of the relay the time of a CPU profile was spent in.
// It needs the go command.
func (c *comparison) where(ctx context.Context, profile string, messages int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-traces", self, profile).Output()
	if err != nil {
		return fmt.Errorf("go tool pprof: %w", err)
	}
	spent, system, total, err := byPlace(strings.NewReader(string(out)))
	if err != nil || total == 0 {
		return fmt.Errorf("the profile is empty: %w", err)
	}
	names := make([]string, 0, len(spent))
	for name := range spent {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(spent[b], spent[a]) })
	fmt.Fprintf(c.out, "\n| where our time goes | share | µs a message | of it system calls |\n| --- | --- | --- | --- |\n")
	for _, name := range names {
		fmt.Fprintf(c.out, "| %s | %.0f %% | %.0f | %.0f %% |\n", name, 100*spent[name].Seconds()/total.Seconds(),
			spent[name].Seconds()*1e6/float64(messages), 100*system[name].Seconds()/spent[name].Seconds())
	}
	return nil
}

// byPlace adds up the samples of "go tool pprof -traces": for each a line with
// its time and the innermost frame, then a line for each frame around it.
func byPlace(r io.Reader) (spent, system map[string]time.Duration, total time.Duration, err error) {
	spent, system = make(map[string]time.Duration), make(map[string]time.Duration)
	var value time.Duration
	var stack []string
	end := func() {
		if value > 0 {
			name := placeOf(stack)
			spent[name] += value
			total += value
			if strings.Contains(stack[0], "runtime/syscall") {
				system[name] += value
			}
		}
		value, stack = 0, nil
	}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) == 0:
		case strings.HasPrefix(f[0], "---"):
			end()
		case len(f) > 1 && stack == nil:
			if d, err := time.ParseDuration(f[0]); err == nil {
				value, stack = d, f[1:2]
			}
		case stack != nil:
			stack = append(stack, f[0])
		}
	}
	end()
	return spent, system, total, lines.Err()
}

func placeOf(stack []string) string {
	for _, p := range places {
		if slices.ContainsFunc(stack, func(frame string) bool { return strings.Contains(frame, p.frame) }) {
			return p.name
		}
	}
	return "the rest"
}
