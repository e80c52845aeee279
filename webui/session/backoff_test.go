package session

import (
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBackoff(nil)
		at := netip.MustParseAddr("192.168.77.9")
		var waits []time.Duration
		for range 9 {
			if wait := b.Try("anna", at); wait != 0 {
				t.Fatalf("got %v, want a try", wait)
			}
			wait := b.Try("ANNA ", at)
			waits = append(waits, wait)
			time.Sleep(wait)
		}
		want := []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60}
		for i := range want {
			if waits[i] != want[i]*time.Second {
				t.Fatalf("got %v, want %v s", waits, want)
			}
		}
		time.Sleep(forgetting)
		b.Try("anna", at)
		if wait := b.Try("anna", at); wait > time.Second {
			t.Errorf("got %v, want the past forgotten", wait)
		}
	})
}

func TestBackoffByAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBackoff(nil)
		one, two := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::ffff")
		far := netip.MustParseAddr("2001:db8:0:1::1")
		for _, name := range []string{"a", "b", "c", "d"} {
			b.Try(name, one)
			time.Sleep(2 * time.Second)
		}
		b.Try("e", one)
		if b.Try("f", two) == 0 {
			t.Error("another address of the same /64 is not slowed down")
		}
		if b.Try("g", far) != 0 {
			t.Error("another network is slowed down")
		}
	})
}

func TestBackoffCountsTriesAtOnce(t *testing.T) {
	b := NewBackoff(nil)
	at := netip.MustParseAddr("192.168.77.9")
	var wg sync.WaitGroup
	passed := make(chan bool, 50)
	for range 50 {
		wg.Go(func() { passed <- b.Try("anna", at) == 0 })
	}
	wg.Wait()
	close(passed)
	n := 0
	for ok := range passed {
		if ok {
			n++
		}
	}
	if n != 1 {
		t.Errorf("got %d tries at once, want 1", n)
	}
}

func TestBackoffIsBounded(t *testing.T) {
	b := NewBackoff(nil)
	addr := netip.MustParseAddr("10.0.0.1")
	for range 3 * maxTracked {
		b.Try(NewToken(), addr)
		addr = addr.Next()
	}
	if len(b.seen) > maxTracked {
		t.Errorf("got %d entries, want at most %d", len(b.seen), maxTracked)
	}
	for range 200 {
		b.Succeeded("anna", addr)
		addr = addr.Next()
	}
	if len(b.good) > 64 {
		t.Errorf("got %d good addresses, want at most 64", len(b.good))
	}
}
