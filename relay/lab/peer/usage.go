package peer

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a program and all of its descendants have used.
type Usage struct {
	CPU    time.Duration // user and system, of those that have ended too
	Memory int64         // bytes in RAM now; a page that n processes share counts as 1/n in each (PSS)
	Count  int           // processes now
}

// clockTick is the unit of the times in /proc/PID/stat: USER_HZ is 100 on
// every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// UsageOf reads the usage of the process and its descendants from /proc. A
// process that ends meanwhile is left out, its time is its parent's by then.
// CPU is exact to a tick of 10 ms for each process.
func UsageOf(pid int) (Usage, error) {
	parents := make(map[int]int)
	stats := make(map[int]procStat)
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return Usage{}, err
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		s, err := readStat(n)
		if err != nil {
			continue // it has ended
		}
		parents[n], stats[n] = s.parent, s
	}
	if _, ok := stats[pid]; !ok {
		return Usage{}, fmt.Errorf("process %d has ended", pid)
	}
	var u Usage
	for n, s := range stats {
		for up := n; up > 1; up = parents[up] {
			if up != pid {
				continue
			}
			u.Count++
			u.CPU += s.cpu
			u.Memory += proportional(n)
			break
		}
	}
	return u, nil
}

type procStat struct {
	parent int
	cpu    time.Duration
}

func readStat(pid int) (procStat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return procStat{}, err
	}
	// The name in brackets may hold anything; the fields count from behind it.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 15 {
		return procStat{}, errors.New("short stat")
	}
	var s procStat
	s.parent, _ = strconv.Atoi(string(f[1]))
	for _, i := range []int{11, 12, 13, 14} { // utime, stime, cutime, cstime
		n, _ := strconv.ParseInt(string(f[i]), 10, 64)
		s.cpu += time.Duration(n) * clockTick
	}
	return s, nil
}

// proportional is the proportional set size of the process in bytes, or its
// resident set where the kernel does not tell that.
func proportional(pid int) int64 {
	if n, ok := field(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss:"); ok {
		return n << 10
	}
	n, _ := field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:")
	return n << 10
}

// field reads a number from a file of lines "name: number ...".
func field(file, name string) (int64, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			n, err := strconv.ParseInt(f[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
