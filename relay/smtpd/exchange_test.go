package smtpd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"gatepost/relay/smtpc"
)

// text makes a message of about n bytes with many dots at line starts.
func text(n int) string {
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	var b strings.Builder
	b.WriteString("Subject: exchange\r\n\r\n")
	for b.Len() < n {
		b.WriteString(strings.Repeat(".", rng.IntN(4)) + strings.Repeat("x", rng.IntN(70)) + "\r\n")
	}
	return b.String()
}

// Our client and our server, in clear and inside TLS: every byte arrives, and
// nothing else.
func TestExchangeWithOurClient(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, size := range []int{0, 1000, 31 << 10, 32<<10 + 1, 1 << 20} {
			t.Run(fmt.Sprintf("secure=%v/%d", secure, size), func(t *testing.T) {
				f := start(t, nil)
				ctx := context.Background()
				c, err := smtpc.Config{Hello: "client.example"}.Connect(ctx, "gate.office.example", netip.MustParseAddrPort(f.trusted))
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if secure {
					if err := c.StartTLS(ctx, nil); err != nil {
						t.Fatal(err)
					}
				}
				body := text(size)
				for range 3 {
					results, err := c.Send(ctx, smtpc.Transaction{
						From: "bob@office.example", RequireTLS: secure, Size: int64(len(body)), EnvelopeID: "a+b =c", Ret: "FULL",
						Rcpts: []smtpc.Rcpt{
							{Addr: "anna@good.example", Notify: []string{"SUCCESS", "DELAY"}, ORcpt: "rfc822;a+b@c.example"},
							{Addr: "a%b@good.example"},
						},
					}, strings.NewReader(body))
					if err != nil || results[0].Err != nil || results[1].Err != nil || results[0].Text != "Queued as id1" {
						t.Fatalf("got %+v, %v", results, err)
					}
				}
				c.Quit()
				got := f.all()
				if len(got) != 3 {
					t.Fatalf("got %d messages, want 3", len(got))
				}
				for _, m := range got {
					if _, rest := m.split(); rest != body {
						t.Fatalf("got %d other bytes, want %d", len(rest), len(body))
					}
					e := m.env
					if e.EnvelopeID != "a+b =c" || e.Ret != "FULL" || e.RequireTLS != secure || e.Rcpts[0].ORcpt != "rfc822;a+b@c.example" || strings.Join(e.Rcpts[0].Notify, ",") != "SUCCESS,DELAY" {
						t.Errorf("got envelope %+v", e)
					}
				}
			})
		}
	}
}

func BenchmarkMessage(b *testing.B) {
	body := text(4096)
	for _, secure := range []bool{false, true} {
		b.Run(fmt.Sprintf("secure=%v", secure), func(b *testing.B) {
			f := start(b, func(c *Config) {
				c.Accept = drop
			})
			ctx := context.Background()
			c, err := smtpc.Config{Hello: "client.example"}.Connect(ctx, "gate.office.example", netip.MustParseAddrPort(f.trusted))
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			if secure {
				if err := c.StartTLS(ctx, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if results, err := c.Send(ctx, smtpc.Transaction{Rcpts: []smtpc.Rcpt{{Addr: "a@b.example"}}, Size: int64(len(body))}, strings.NewReader(body)); err != nil || results[0].Err != nil {
					b.Fatal(results, err)
				}
			}
		})
	}
}
