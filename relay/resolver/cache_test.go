package resolver

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestCacheIsBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	c := cache{now: func() time.Time { return now }, max: 10, maxBytes: 1 << 20}
	for i := range 100 {
		c.put(strings.Repeat("x", i+1), dns.TypeA, answer{ttl: time.Hour})
	}
	if len(c.m) > 10 {
		t.Errorf("got %d entries, want at most 10", len(c.m))
	}
	// What has ended goes first.
	now = now.Add(30 * time.Minute)
	c.put("fresh", dns.TypeA, answer{ttl: time.Hour})
	now = now.Add(31 * time.Minute)
	c.put("fresher", dns.TypeA, answer{ttl: time.Hour})
	if _, ok := c.get("fresh", dns.TypeA); !ok {
		t.Error("an answer that holds went before those that have ended")
	}
}

// A stranger's long answers do not fill the memory.
func TestCacheIsBoundedInBytes(t *testing.T) {
	long := func(n int) answer {
		return answer{ttl: time.Hour, records: []dns.RR{&dns.TXT{Txt: strings.Split(strings.Repeat(strings.Repeat("y", 200)+" ", n), " ")}}}
	}
	c := cache{now: time.Now, max: 10000, maxBytes: 100_000}
	for i := range 1000 {
		c.put(fmt.Sprint(i), dns.TypeTXT, long(10))
		if c.bytes > c.maxBytes {
			t.Fatalf("after %d answers: %d bytes, want at most %d", i, c.bytes, c.maxBytes)
		}
	}
	if len(c.m) < 10 {
		t.Errorf("only %d answers are kept", len(c.m))
	}
	kept := len(c.m)
	c.put("huge", dns.TypeTXT, long(300))
	if _, ok := c.get("huge", dns.TypeTXT); ok || len(c.m) != kept {
		t.Error("one answer pushed out many others")
	}
	sum := 0
	for _, e := range c.m {
		sum += e.bytes
	}
	if sum != c.bytes {
		t.Errorf("the entries have %d bytes, the count says %d", sum, c.bytes)
	}
	c.put("0", dns.TypeTXT, long(1))
	c.put("0", dns.TypeTXT, long(2))
	c.flush()
	if c.bytes != 0 || len(c.m) != 0 {
		t.Errorf("after flush: %d answers, %d bytes", len(c.m), c.bytes)
	}
}
