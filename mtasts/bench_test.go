package mtasts

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
)

func manyPatterns(n int) Policy {
	p := Policy{Mode: Enforce}
	for i := range n {
		if i%2 == 0 {
			p.MX = append(p.MX, fmt.Sprintf("mx%d.hoster.example", i))
		} else {
			p.MX = append(p.MX, fmt.Sprintf("*.c%d.hoster.example", i))
		}
	}
	return p
}

func BenchmarkParsePolicy(b *testing.B) {
	body := []byte("version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmx: backupmx.example.com\r\nmax_age: 604800\r\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParsePolicy(body); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMatch asks for a host that no pattern matches: all are compared.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1, 10, 3000} {
		p := manyPatterns(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if p.Match("mx.x9999.hoster.example") {
					b.Fatal("it matches")
				}
			}
		})
	}
}

func storedCache(tb testing.TB, store Store) *Cache {
	return NewCache(CacheConfig{
		Resolver: resolverFunc(func(context.Context, string) ([]string, error) { return []string{"v=STSv1; id=20260901T000000"}, nil }),
		Fetcher:  &Fetcher{}, Store: store, RecordReuse: time.Hour, MaxBytes: 1 << 40,
	})
}

func entryFor(tb testing.TB, name string) []byte {
	now := time.Now().UTC()
	value, err := encodeEntry(name, &kept{body: goodPolicy, id: "20260901T000000", fetched: now, host: HostEvidence{
		Addr: "203.0.113.7:443", TLSVersion: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256",
		CertNames: []string{"mta-sts." + name}, CertIssuer: "CN=R11,O=Example,C=US", CertNotAfter: now.Add(60 * 24 * time.Hour),
	}}, now.Unix())
	if err != nil {
		tb.Fatal(err)
	}
	return value
}

func BenchmarkCachedAnswer(b *testing.B) {
	store := new(MemoryStore)
	if err := store.Save(b.Context(), domain, entryFor(b, domain)); err != nil {
		b.Fatal(err)
	}
	c := storedCache(b, store)
	b.ReportAllocs()
	for b.Loop() {
		if a, err := c.Policy(b.Context(), domain); err != nil || !a.Held {
			b.Fatal(a, err)
		}
	}
}

// BenchmarkMillionDomains gives the memory of one cached domain.
func BenchmarkMillionDomains(b *testing.B) {
	n := 1_000_000
	if testing.Short() {
		n = 10_000
	}
	for b.Loop() {
		c := storedCache(b, nil)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range n {
			name := fmt.Sprintf("d%d.example", i)
			if err := c.restore(name, entryFor(b, name)); err != nil {
				b.Fatal(err)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "B/domain")
		runtime.KeepAlive(c)
	}
}

// BenchmarkStart reads 50,000 policies when a cache starts: from a directory,
// and from memory, which is what the cache itself needs with any store.
func BenchmarkStart(b *testing.B) {
	const n = 50_000
	dir := b.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	memory := new(MemoryStore)
	for i := range n {
		name := fmt.Sprintf("d%d.example", i)
		value := entryFor(b, name)
		if err := os.WriteFile(dir+"/"+name+entrySuffix, value, 0o600); err != nil {
			b.Fatal(err)
		}
		if err := memory.Save(b.Context(), name, value); err != nil {
			b.Fatal(err)
		}
	}
	for _, test := range []struct {
		name  string
		store Store
	}{{"dir", NewDirStore(root)}, {"memory", memory}} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			var c *Cache
			for b.Loop() {
				c = storedCache(b, test.store)
				c.list(b.Context())
			}
			if got := len(c.Entries()); !c.listed.Load() || got != n {
				b.Fatalf("listed %v, %d entries, want %d", c.listed.Load(), got, n)
			}
		})
	}
}
