package appliance

import "testing"

// TestHeapLimits has the three processes leave room for the rest.
func TestHeapLimits(t *testing.T) {
	for _, total := range []uint64{90 << 20, 128 << 20, 1 << 30, 8 << 30} {
		var sum int64
		for _, p := range []string{self, RoleRelay, RoleWeb} {
			limit := heapLimit(p, total)
			if limit < leastHeap {
				t.Errorf("%s of %d bytes: got %d, want at least %d", p, total, limit, leastHeap)
			}
			sum += limit
		}
		if got := uint64(sum) * 100 / total; got > 75 {
			t.Errorf("%d bytes: the heaps may take %d %%, want at most 75", total, got)
		}
	}
	// One password (19 MB) must fit beside the page's own few.
	if got := heapLimit(RoleWeb, 90<<20); got < 22<<20 {
		t.Errorf("the page of a small box: got %d bytes, want at least 22 MB", got)
	}
	if got := heapLimit(RoleWeb, 0); got != leastHeap {
		t.Errorf("no memory at all: got %d, want %d", got, leastHeap)
	}
}
