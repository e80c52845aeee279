package mtasts_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"time"

	"gatepost/mtasts"
)

// fixedResolver is a DNS with one answer.
type fixedResolver map[string][]string

func (r fixedResolver) LookupTXT(_ context.Context, name string) ([]string, error) {
	if txts, ok := r[name]; ok {
		return txts, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func Example() {
	root, err := os.OpenRoot(os.TempDir())
	if err != nil {
		log.Fatal(err)
	}
	defer root.Close()
	cache := mtasts.NewCache(mtasts.CacheConfig{
		Resolver: fixedResolver{}, // or net.DefaultResolver
		Fetcher:  &mtasts.Fetcher{UserAgent: "example/1.0"},
		Store:    mtasts.NewDirStore(root),
	})
	answer, err := cache.Policy(context.Background(), "example.com")
	fmt.Println(answer.Held, err)
	// Output: false <nil>
}

func ExampleParseRecord() {
	r, err := mtasts.ParseRecord([]string{"v=spf1 -all", "v=STSv1; id=20260101;"})
	fmt.Println(r.ID, err)
	_, err = mtasts.ParseRecord([]string{"v=STSv1; id=2026-01-01;"})
	fmt.Println(err)
	// Output:
	// 20260101 <nil>
	// mtasts: record syntax: id is not 1 to 32 letters and digits: "2026-01-01"
}

func ExampleRecord_String() {
	fmt.Println(mtasts.Record{ID: "20260101"})
	// Output: v=STSv1; id=20260101;
}

func ExampleParsePolicy() {
	p, err := mtasts.ParsePolicy([]byte("version: STSv1\nmode: enforce\nmx: *.example.net\nmax_age: 86400\n"))
	fmt.Println(p.Mode, p.MX, p.MaxAge, err)
	_, err = mtasts.ParsePolicy([]byte("version: STSv1\nmode: strict\n"))
	fmt.Println(err)
	// Output:
	// enforce [*.example.net] 24h0m0s <nil>
	// mtasts: policy syntax: line 2: mode "strict", not enforce, testing or none
}

func ExamplePolicy_Text() {
	fmt.Printf("%q\n", mtasts.Policy{Mode: mtasts.None, MaxAge: time.Hour}.Text())
	// Output: "version: STSv1\r\nmode: none\r\nmax_age: 3600\r\n"
}

func ExamplePolicy_Match() {
	p := mtasts.Policy{Mode: mtasts.Enforce, MX: []string{"mail.example.com", "*.example.net"}}
	fmt.Println(p.Match("MAIL.example.com."), p.Match("mx.example.net"), p.Match("a.mx.example.net"), p.Match("example.net"))
	// Output: true true false false
}

func ExampleMatchPattern() {
	fmt.Println(mtasts.MatchPattern("*.example.net", "mx.example.net"))
	fmt.Println(mtasts.MatchPattern("mx*.example.net", "mx1.example.net"))
	// Output:
	// true <nil>
	// false mtasts: invalid MX pattern: "mx*.example.net": "*" is allowed only as the whole first label
}

func ExamplePolicyDomain() {
	fmt.Println(mtasts.PolicyDomain("Bücher.example."))
	// Output: xn--bcher-kva.example <nil>
}

func ExampleLookupRecord() {
	dns := fixedResolver{"_mta-sts.example.com.": {"v=STSv1; id=1;"}} // or net.DefaultResolver
	r, err := mtasts.LookupRecord(context.Background(), dns, "example.com")
	fmt.Println(r.ID, err)
	_, err = mtasts.LookupRecord(context.Background(), dns, "mail.example.com")
	fmt.Println(err)
	// Output:
	// 1 <nil>
	// mtasts: no record: no TXT record at _mta-sts.mail.example.com
}

func ExamplePublicAddress() {
	fmt.Println(mtasts.PublicAddress(netip.MustParseAddr("8.8.8.8")), mtasts.PublicAddress(netip.MustParseAddr("::ffff:127.0.0.1")))
	// Output: true false
}

func ExampleFetcher() {
	f := &mtasts.Fetcher{
		LookupNetIP: func(context.Context, string, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("192.168.0.1")}, nil
		},
	}
	_, err := f.Fetch(context.Background(), "example.com")
	fmt.Println(err)
	// Output: mtasts: policy of example.com: mtasts: address of the policy host refused: mta-sts.example.com is at 192.168.0.1
}

func ExampleNewCache() {
	cache := mtasts.NewCache(mtasts.CacheConfig{
		Resolver: fixedResolver{},
		Fetcher:  &mtasts.Fetcher{},
		OnEvent: func(e mtasts.Event) {
			if e.Kind.Alarm() {
				log.Print(e.Domain, e.Kind, e.Detail)
			}
		},
	})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- cache.Run(ctx) }()
	// ... deliver mail ...
	stop()
	fmt.Println(<-done)
	// Output: context canceled
}

func ExampleCache_Recheck() {
	cache := mtasts.NewCache(mtasts.CacheConfig{Resolver: fixedResolver{}, Fetcher: &mtasts.Fetcher{}})
	// A host fails the policy, and the message is too old to be tried again:
	answer, err := cache.Recheck(context.Background(), "example.com")
	fmt.Println(err == nil && answer.RecordChecked) // may it be returned?
	// Output: true
}

func ExampleJudgeMX() {
	p := mtasts.Policy{Mode: mtasts.Enforce, MX: []string{"mx.example.com"}}
	v := mtasts.JudgeMX(p, "mx.attacker.example")
	fmt.Println(v.Deliver, v.Reason)
	// Output: false sts-mx-not-listed
}

func ExampleJudge() {
	p := mtasts.Policy{Mode: mtasts.Enforce, MX: []string{"mx.example.com"}}
	st := mtasts.TLSState{STARTTLS: false} // somebody removed the line
	v := mtasts.Judge(p, "mx.example.com", st, nil, time.Now())
	fmt.Println(v.Deliver, v.Reason)
	p.Mode = mtasts.Testing
	v = mtasts.Judge(p, "mx.example.com", st, nil, time.Now())
	fmt.Println(v.Deliver, v.Result)
	// Output:
	// false starttls-not-supported
	// true starttls-not-supported
}

func ExampleCheckCertificate() {
	reason, err := mtasts.CheckCertificate("mx.example.com", &tls.ConnectionState{}, nil, time.Now())
	fmt.Println(reason, err)
	// Output: certificate-not-trusted no certificate was shown
}

func ExampleNewPublisher() {
	publisher, err := mtasts.NewPublisher(nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	pub, err := publisher.Publish("example.com", []byte("version: STSv1\nmode: testing\nmx: mx.example.com\nmax_age: 86400\n"))
	if err != nil {
		log.Fatal(err)
	}
	w := httptest.NewRecorder()
	publisher.ServeHTTP(w, httptest.NewRequest("GET", "https://mta-sts.example.com/.well-known/mta-sts.txt", nil))
	fmt.Println(w.Code, w.Body.Len())
	fmt.Println(pub.Record())
	// Output:
	// 200 63
	// v=STSv1; id=929256083ecaa7e90599d5bb2dca5d15;
}

func ExamplePlanChange() {
	old := []byte("version: STSv1\nmode: enforce\nmx: mx1.example.com\nmax_age: 86400\n")
	next := []byte("version: STSv1\nmode: enforce\nmx: mx1.example.com\nmx: mx2.example.com\nmax_age: 86400\n")
	steps, err := mtasts.PlanChange(old, next, time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range steps {
		fmt.Println(s.Action, s.Hosts)
	}
	// Output:
	// serve-policy []
	// verify-policy []
	// set-record []
	// wait []
	// add-mx [mx2.example.com]
}
