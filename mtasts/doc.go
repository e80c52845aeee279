// Package mtasts is SMTP MTA Strict Transport Security, RFC 8461, for both
// sides: the sender that asks what a domain demands, and the domain that
// publishes its demands.
//
// A domain says with a TXT record that it has a policy, and serves the policy
// over HTTPS: deliver to these MX hosts, with a certificate that is valid for
// them, or not at all. A sender finds the policy, remembers it, and judges
// each MX host by it:
//
//	cache := mtasts.NewCache(mtasts.CacheConfig{
//		Resolver: net.DefaultResolver,
//		Fetcher:  &mtasts.Fetcher{UserAgent: "example/1.0"},
//		Store:    mtasts.NewDirStore(root),
//	})
//	go cache.Run(ctx) // keeps policies fresh
//
//	answer, err := cache.Policy(ctx, "example.com") // once for a delivery
//	...
//	if v := mtasts.JudgeMX(answer.Policy, mxHost); !v.Deliver {
//		continue // the next MX host
//	}
//	... // EHLO, STARTTLS
//	if v := mtasts.Judge(answer.Policy, mxHost, tlsState, nil, time.Now()); !v.Deliver {
//		continue // QUIT; never in clear
//	}
//
// Where the rules are:
//
//   - record.go, discover.go: the TXT record (Section 3.1)
//   - policy.go, pattern.go: the policy text and MX patterns (Sections 3.2, 4.1)
//   - fetch.go, exchange.go, guard.go: fetching over HTTPS (Sections 3.3, 7.1)
//   - cache.go, look.go, refresh.go, sweep.go, clock.go: what holds now
//     (Sections 3.3, 5.1, 10.2)
//   - store.go, dirstore.go, entry.go: across restarts (Section 10.2)
//   - enforce.go: verdicts (Sections 4 and 5)
//   - publish.go, change.go: the receiver's side (Section 8)
//
// The package does not speak SMTP, does not look up MX records, sends no TLS
// reports (RFC 8460; it gives the result types for them), and knows nothing of
// DANE: where a domain has usable TLSA records, the caller must let them decide
// (Section 2).
//
// It imports the standard library and golang.org/x/net/idna only.
package mtasts
