package callahead

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"gatepost/relay/nexthop"
)

// waitFor waits until ok.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// Many who ask about one address at once cost one question.
func TestAskOnceForAll(t *testing.T) {
	s := newInner(t)
	let := make(chan struct{})
	s.hold = func(ctx context.Context) {
		select {
		case <-let:
		case <-ctx.Done():
		}
	}
	a, _ := s.asker(nil)
	answers := make(chan string, 50)
	for range 50 {
		go func() { answers <- brief(a.Ask(context.Background(), "bob@office.example")) }()
	}
	waitFor(t, "the question", func() bool { return s.asked("bob@") > 0 })
	close(let)
	for range 50 {
		if got := <-answers; got != "550 5.1.1" {
			t.Errorf("got %s, want 550", got)
		}
	}
	if n := s.asked("bob@"); n != 1 {
		t.Errorf("got %d questions, want 1", n)
	}
}

// However many addresses are asked for, few questions are under way.
func TestAskFewAtOnce(t *testing.T) {
	s := newInner(t)
	s.hold = func(context.Context) { time.Sleep(5 * time.Millisecond) }
	a, _ := s.asker(func(c *Config) { c.Parallel = 3 })
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			if got := brief(a.Ask(context.Background(), fmt.Sprintf("x%d@office.example", i))); got != "550 5.1.1" {
				t.Errorf("got %s", got)
			}
		})
	}
	wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	// A session that we have left may still be counted at the server for a moment.
	if s.all != 30 || s.most > 6 {
		t.Errorf("got %d sessions, %d at once", s.all, s.most)
	}
}

// A server that hangs costs its time once: the mail is taken, and for a while
// nothing is asked.
func TestAskTooSlow(t *testing.T) {
	s := newInner(t)
	s.hold = func(ctx context.Context) { <-ctx.Done() }
	a, _ := s.asker(func(c *Config) { c.Limit, c.Parallel = 200*time.Millisecond, 1 })
	start := time.Now()
	answers := make(chan string, 10)
	for i := range 10 {
		go func() {
			answers <- brief(a.Ask(context.Background(), fmt.Sprintf("x%d@office.example", i)))
		}()
	}
	for range 10 {
		if got := <-answers; got != "yes" {
			t.Errorf("got %s, want yes", got)
		}
	}
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("took %v", d)
	}
	start = time.Now()
	if got := brief(a.Ask(context.Background(), "y@office.example")); got != "yes" || time.Since(start) > 100*time.Millisecond {
		t.Errorf("got %s after %v, want yes at once", got, time.Since(start))
	}
}

// Whoever asks may go away: his error is that of his context, and those who
// waited with him ask themselves.
func TestAskerGoesAway(t *testing.T) {
	s := newInner(t)
	let := make(chan struct{})
	s.hold = func(ctx context.Context) {
		select {
		case <-let:
		case <-ctx.Done():
		}
	}
	a, _ := s.asker(nil)
	ctx, cancel := context.WithCancel(context.Background())
	first, second, third := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() { first <- a.Ask(ctx, "bob@office.example") }()
	waitFor(t, "the question", func() bool { return s.asked("bob@") == 1 })
	go func() { second <- a.Ask(context.Background(), "bob@office.example") }()
	go func() { third <- a.Ask(ctx, "bob@office.example") }()
	cancel()
	for _, c := range []chan error{first, third} {
		if err := <-c; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the end of the context", err)
		}
	}
	waitFor(t, "the second question", func() bool { return s.asked("bob@") == 2 })
	close(let)
	if got := brief(<-second); got != "550 5.1.1" {
		t.Errorf("got %s, want 550", got)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.flights) != 0 {
		t.Errorf("got %d questions left over", len(a.flights))
	}
}

// A server that hangs takes no turn from those of other domains.
func TestAskDomainsApart(t *testing.T) {
	s := newInner(t)
	hang := newInner(t)
	hang.hold = func(ctx context.Context) { <-ctx.Done() }
	hung, _ := hang.asker(nil)
	a, _ := s.asker(func(c *Config) {
		good := c.Hop
		c.Parallel, c.Limit = 1, 5*time.Second
		c.Hop = func(domain string) (nexthop.Hop, bool) {
			if domain == "office.example" {
				return good(domain)
			}
			return hung.cfg.Hop("office.example")
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() { _ = a.Ask(ctx, fmt.Sprintf("x%d@hung.example", i)) })
	}
	waitFor(t, "the question that hangs", func() bool { return hang.asked("x") > 0 })
	start := time.Now()
	if got := brief(a.Ask(context.Background(), "bob@office.example")); got != "550 5.1.1" || time.Since(start) > 2*time.Second {
		t.Errorf("got %s after %v", got, time.Since(start))
	}
	cancel()
	wg.Wait()
}
