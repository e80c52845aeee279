package mtasts_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"time"

	"gatepost/mtasts"
)

// world is both sides of RFC 8461 for example.com: a policy host on loopback,
// a record in a resolver of our own, and a cache that asks both.
func world(policy string, onEvent func(mtasts.Event)) (cache *mtasts.Cache, end func()) {
	publisher, err := mtasts.NewPublisher(nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	pub, err := publisher.Publish("example.com", []byte(policy))
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewTLSServer(publisher) // its certificate is for *.example.com
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	cache = mtasts.NewCache(mtasts.CacheConfig{
		Resolver: fixedResolver{"_mta-sts.example.com.": {pub.Record()}},
		Fetcher: &mtasts.Fetcher{
			Roots: roots,
			LookupNetIP: func(context.Context, string, string) ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr("203.0.113.7")}, nil
			},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
			},
		},
		OnEvent: onEvent,
	})
	return cache, server.Close
}

const examplePolicy = "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400\n"

func ExampleCache_Policy() {
	cache, end := world(examplePolicy, nil)
	defer end()
	answer, err := cache.Policy(context.Background(), "Example.COM")
	fmt.Println(answer.Domain, answer.Held, answer.Policy.Mode, answer.Policy.MX, err)
	fmt.Println(answer.ExpiresAt.Sub(answer.FetchedAt), answer.Host.Addr)

	// A domain without a record: deliver as if MTA-STS did not exist.
	answer, err = cache.Policy(context.Background(), "example.net")
	fmt.Println(answer.Held, answer.Trouble == "", err)
	// Output:
	// example.com true enforce [mx.example.com] <nil>
	// 24h0m0s 203.0.113.7:443
	// false true <nil>
}

func ExampleCache_Refresh() {
	cache, end := world(examplePolicy, nil)
	defer end()
	// For known correspondents, before the first mail to them.
	answer, err := cache.Refresh(context.Background(), "example.com")
	fmt.Println(answer.Held, answer.Trouble == "", err)
	// The host is gone: the policy that is cached goes on to hold.
	end()
	answer, err = cache.Refresh(context.Background(), "example.com")
	fmt.Println(answer.Held, answer.Trouble, err)
	// Output:
	// true true <nil>
	// true sts-policy-fetch-error <nil>
}

func ExampleCache_Forget() {
	cache, end := world(examplePolicy, nil)
	defer end()
	if _, err := cache.Policy(context.Background(), "example.com"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(cache.Entries()))
	// The operator has heard from example.com that the policy is wrong.
	err := cache.Forget(context.Background(), "example.com")
	fmt.Println(len(cache.Entries()), err)
	// Output:
	// 1
	// 0 <nil>
}

func ExampleCache_ObserveMX() {
	cache, end := world(examplePolicy, func(e mtasts.Event) {
		if e.Kind.Alarm() {
			fmt.Println(e.Kind, e.Domain, e.Detail)
		}
	})
	defer end()
	if _, err := cache.Policy(context.Background(), "example.com"); err != nil {
		log.Fatal(err)
	}
	cache.ObserveMX("example.com", []string{"mx.example.com", "mx2.example.com"}) // one is listed
	cache.ObserveMX("example.com", []string{"mx.attacker.example"})
	// Output: mx-left-policy example.com MX ["mx.attacker.example"], policy ["mx.example.com"]
}

func ExampleCache_Entries() {
	cache, end := world(examplePolicy, nil)
	defer end()
	if _, err := cache.Policy(context.Background(), "example.com"); err != nil {
		log.Fatal(err)
	}
	for _, e := range cache.Entries() {
		fmt.Println(e.Domain, e.Mode, e.MX, e.MaxAge, e.Ended)
	}
	// Output: example.com enforce [mx.example.com] 24h0m0s false
}

func ExampleCache_Entry() {
	cache, end := world(examplePolicy, nil)
	defer end()
	if _, err := cache.Policy(context.Background(), "example.com"); err != nil {
		log.Fatal(err)
	}
	if e, ok := cache.Entry("example.com"); ok {
		fmt.Println(e.RecordID == e.Seen, e.Host.TLSVersion, len(e.Body) > 0)
	}
	// Output: true TLS 1.3 true
}

func ExampleCache_Run() {
	cache, end := world(examplePolicy, nil)
	defer end()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- cache.Run(ctx) }() // reads the store, then keeps policies fresh
	stop()
	fmt.Println(<-done)
	// Output: context canceled
}

func ExampleEventKind_Alarm() {
	fmt.Println(mtasts.PolicyNew.Alarm(), mtasts.PolicyWeakened.Alarm())
	// Output: false true
}

func ExampleNewDirStore() {
	dir, err := os.MkdirTemp("", "policies")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	root, err := os.OpenRoot(dir)
	if err != nil {
		log.Fatal(err)
	}
	defer root.Close()
	store := mtasts.NewDirStore(root)
	fmt.Println(store.Save(context.Background(), "example.com", []byte("an entry")))
	value, err := store.Load(context.Background(), "example.com")
	fmt.Printf("%s %v\n", value, err)
	// Output:
	// <nil>
	// an entry <nil>
}

func ExampleMemoryStore() {
	var store mtasts.MemoryStore
	_, err := store.Load(context.Background(), "example.com")
	fmt.Println(errors.Is(err, mtasts.ErrNotStored))
	// Output: true
}

func ExampleSyntaxError() {
	_, err := mtasts.ParsePolicy([]byte("version: STSv1\nmode: enforce\nmx: mail server\nmax_age: 1\n"))
	var syntax *mtasts.SyntaxError
	if errors.As(err, &syntax) {
		fmt.Println(syntax.Line, syntax.Where())
	}
	// Output: 3 line 3: mx "mail server": not a domain name
}

func ExampleFetchError() {
	f := &mtasts.Fetcher{
		LookupNetIP: func(context.Context, string, string) ([]netip.Addr, error) { return nil, errors.New("no route") },
	}
	_, err := f.Fetch(context.Background(), "example.com")
	var failed *mtasts.FetchError
	if errors.As(err, &failed) {
		fmt.Println(failed.Reason, failed.Status) // the reason goes into a TLS report
	}
	// Output: sts-policy-fetch-error 0
}

func ExamplePublisher_OptOut() {
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	publisher, err := mtasts.NewPublisher(nil, func() time.Time { return day })
	if err != nil {
		log.Fatal(err)
	}
	for _, maxAge := range []string{"1209600", "86400"} { // two weeks once, one day now
		policy := "version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: " + maxAge + "\n"
		if _, err := publisher.Publish("example.com", []byte(policy)); err != nil {
			log.Fatal(err)
		}
	}
	pub, err := publisher.OptOut("example.com")
	fmt.Printf("%q %s %v\n", pub.Body, pub.KeepUntil.Format(time.DateOnly), err)
	fmt.Println(publisher.Withdraw("example.com"))
	day = pub.KeepUntil
	fmt.Println(publisher.Withdraw("example.com"))
	// Output:
	// "version: STSv1\r\nmode: none\r\nmax_age: 86400\r\n" 2026-01-15 <nil>
	// mtasts: too early to withdraw the policy: example.com until 2026-01-15T00:00:00Z
	// <nil>
}

func ExamplePublisher_Publications() {
	publisher, err := mtasts.NewPublisher(nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := publisher.Publish("example.com", []byte(examplePolicy)); err != nil {
		log.Fatal(err)
	}
	saved := publisher.Publications() // as JSON into a file, before a restart
	again, err := mtasts.NewPublisher(saved, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, pub := range again.Publications() {
		fmt.Println(pub.Domain, pub.Longest, pub.Record() == saved[0].Record())
	}
	// Output: example.com 24h0m0s true
}

func ExamplePolicyID() {
	fmt.Println(mtasts.PolicyID([]byte(examplePolicy)))
	// Output: d0e69497be1fa4ceacbb823a713feff0
}
