// Package callahead finds out whether a recipient exists, by asking the mail
// server inside before the message is taken from a stranger: EHLO, TLS and
// login as the next hop's rule says, MAIL FROM:<>, RCPT TO, and no DATA. So an
// unknown recipient is refused at RCPT, and no bounce has to be sent later to a
// sender who may be forged (backscatter).
//
// It says "no" only when the inner server has said no to the recipient, with a
// 5yz reply to RCPT (RFC 5321, Section 3.3), now or a short while ago. Whatever else happens, a
// server that does not answer, a 4yz, a TLS rule that is not met, a login that
// is refused, a null path that is refused, the answer is "take it": the office's
// mail must not be turned away while its server restarts, and waits in the queue.
//
// Answers are kept for a while in a bounded cache; questions about one address
// are asked once, few are under way at a time, and none takes longer than its
// limit. The package starts no goroutine and keeps no connection.
package callahead

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"gatepost/mtasts"
	"gatepost/relay/nexthop"
	"gatepost/relay/smtpc/address"
)

// Config is what an Asker needs. Hop and Env are required.
type Config struct {
	// Hop finds the server to ask for a domain, given in lower case; false means
	// that there is nobody to ask, and every recipient is taken.
	Hop func(domain string) (nexthop.Hop, bool)
	Env nexthop.Env
	Now func() time.Time // nil means time.Now
	// Size is how many addresses are remembered; 0 means 10,000.
	Size int
	// Good and Bad are how long a yes and a no are remembered; 0 means 1 hour and
	// 5 minutes. A new mailbox is reachable after at most Bad.
	Good, Bad time.Duration
	// Parallel is how many questions may be under way for one domain; 0 means 4.
	Parallel int
	// Limit is the time for one question, waiting for its turn included; 0 means
	// 30 seconds. After it the recipient is taken.
	Limit time.Duration
	Log   *slog.Logger // nil discards
}

// UnknownError says that the inner server does not take mail for a recipient.
// Answer with it: the text is the server's own, printable, at most 200 bytes.
type UnknownError struct {
	Code     int    // 501, or 540 to 599
	Enhanced string // "5.1.1" where the server gave no code of its own
	Text     string
}

// Error implements error.
func (e *UnknownError) Error() string {
	return fmt.Sprintf("callahead: %d %s %s", e.Code, e.Enhanced, e.Text)
}

// Asker asks and remembers. It may be used by many goroutines at once.
type Asker struct {
	cfg Config

	mu      sync.Mutex
	answers *memory
	flights map[string]*flight
	domains map[string]*domain // by canonical name; only those that Hop knows
}

// flight is a question under way.
type flight struct {
	dom  string // canonical
	d    *domain
	done chan struct{} // closed when the rest is set
	err  error         // the answer
	ok   bool          // false: whoever asked went away; ask yourself
}

// domain is what is known of the server for a domain.
type domain struct {
	turns chan struct{} // one for each question under way

	// Asker.mu guards the rest.
	silentUntil time.Time // it did not answer: do not ask before
	takesAll    bool      // it said yes to an address that cannot exist
	checked     time.Time // when takesAll was found out
}

// New makes an Asker. It starts nothing.
func New(cfg Config) *Asker {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Size <= 0 {
		cfg.Size = 10_000
	}
	if cfg.Good <= 0 {
		cfg.Good = time.Hour
	}
	if cfg.Bad <= 0 {
		cfg.Bad = 5 * time.Minute
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = 4
	}
	if cfg.Limit <= 0 {
		cfg.Limit = 30 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Asker{
		cfg:     cfg,
		answers: newMemory(cfg.Size),
		flights: make(map[string]*flight),
		domains: make(map[string]*domain),
	}
}

// silence is how long a server that did not answer is left alone: mail comes in
// meanwhile without a question, and without waiting for one.
const silence = 30 * time.Second

// unsure is how long an answer that is neither yes nor no stands for a yes.
const unsure = 30 * time.Second

// Ask reports whether rcpt may be taken: nil, or *UnknownError when the inner
// server refuses it. The only other error is that of ctx when it ends first;
// answer it as something that may be tried again.
func (a *Asker) Ask(ctx context.Context, rcpt string) error {
	local, dom, ok := address.Split(rcpt)
	if !ok {
		return nil // not an address that could be asked for; whoever called has judged it
	}
	dom = strings.ToLower(dom)
	hop, ok := a.cfg.Hop(dom)
	if !ok {
		return nil
	}
	key := local + "@" + dom // the local part's case may matter (RFC 5321, Section 2.4)
	dom = canonical(dom)
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Limit)
	defer cancel()
	for {
		f, mine, err := a.join(key, dom)
		switch {
		case f == nil:
			return err
		case mine:
			return a.fly(ctx, f, hop, key)
		}
		select {
		case <-f.done:
			if f.ok {
				return f.err
			}
		case <-ctx.Done():
			return a.late(ctx, dom)
		}
	}
}

// join looks the answer up, and then f is nil; where there is none it joins the
// question under way, or begins one (mine).
func (a *Asker) join(key, dom string) (f *flight, mine bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Now()
	if ok, err := a.answers.get(key, now); ok {
		return nil, false, err
	}
	d := a.domains[dom]
	if d == nil {
		d = &domain{turns: make(chan struct{}, a.cfg.Parallel)}
		a.domains[dom] = d
	}
	if now.Before(d.silentUntil) {
		return nil, false, nil
	}
	if f := a.flights[key]; f != nil {
		return f, false, nil
	}
	f = &flight{dom: dom, d: d, done: make(chan struct{})}
	a.flights[key] = f
	return f, true, nil
}

// late is the end of a question for which there was no time.
func (a *Asker) late(ctx context.Context, dom string) error {
	if err := context.Cause(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	a.cfg.Log.Warn("the inner server was not asked in time, the recipient is taken", "domain", dom)
	return nil
}

// AcceptsAll reports whether the server for the domain has lately said yes to
// an address that cannot exist, so that asking it finds nothing out.
func (a *Asker) AcceptsAll(dom string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	d := a.domains[canonical(dom)]
	return d != nil && d.takesAll
}

// canonical is the one spelling of a domain under which its server is
// remembered. There are countless others of a name outside ASCII, and a
// stranger may use them all.
func canonical(dom string) string {
	name, err := mtasts.PolicyDomain(dom)
	if err != nil {
		return "" // one for all: no domain that a stranger can multiply
	}
	return name
}
