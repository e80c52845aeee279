package appliance

import (
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// shares are the parts of the machine's memory, in percent, that each process
// tries to keep its heap below. The rest is the kernel's, the disk's and that
// of the image itself. Without a limit a heap may grow to twice of what it
// holds, and in a box with 128 MB checking one password (19 MB) can then be
// what makes the kernel kill the relay.
var shares = map[string]uint64{self: 12, RoleRelay: 35, RoleWeb: 25}

// leastHeap is the limit on a machine that says it has next to no memory, in
// bytes: below it the collector would never rest.
const leastHeap = 8 << 20

// heapLimit is the limit of a process on a machine with total bytes of memory.
func heapLimit(process string, total uint64) int64 {
	return int64(max(total/100*shares[process], leastHeap))
}

// limitMemory makes the collector of this process work harder before the
// memory of the box runs out. The limit is a soft one: work that needs more
// gets more.
func limitMemory(process string) {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		debug.SetMemoryLimit(heapLimit(process, uint64(info.Totalram)*uint64(info.Unit)))
	}
}
