package relay

import (
	"context"
	"errors"
	"time"

	"gatepost/mtasts"
	"gatepost/relay/smtpc"
	"gatepost/relay/verdict"
)

const (
	// maxRehearsals is how many domains are tried out at one time.
	maxRehearsals = 2
	// rehearsalTime bounds one, and rehearsalWait the wait for one step of a
	// server: a person is waiting.
	rehearsalTime = 40 * time.Second
	rehearsalWait = 10 * time.Second
)

// ErrBusy says that enough domains are being tried out already: ask again soon.
var ErrBusy = errors.New("relay: other domains are being checked just now")

// Rehearse finds out what would become of mail to a domain now, and sends none;
// see [deliver.Deliverer.Rehearse]. It takes 40 seconds at the most. Errors:
// mtasts.ErrDomain for what is no domain, ErrBusy, or that of ctx.
func (m *Machine) Rehearse(ctx context.Context, domain string) (verdict.Verdict, error) {
	domain, err := mtasts.PolicyDomain(domain)
	if err != nil {
		return verdict.Verdict{}, err
	}
	select {
	case m.rehearsals <- struct{}{}:
		defer func() { <-m.rehearsals }()
	default:
		return verdict.Verdict{}, ErrBusy
	}
	ctx, cancel := context.WithTimeout(ctx, rehearsalTime)
	defer cancel()
	return m.rehearse.Rehearse(ctx, domain, nil), nil
}

// rehearsalPatience shortens the waits of RFC 5321, Section 4.5.3.2, which are
// made for mail that nobody waits for.
func rehearsalPatience(c smtpc.Config) smtpc.Config {
	short := func(d *time.Duration) {
		if *d <= 0 || *d > rehearsalWait {
			*d = rehearsalWait
		}
	}
	short(&c.Timeouts.Dial)
	short(&c.Timeouts.Greeting)
	short(&c.Timeouts.Hello)
	short(&c.Timeouts.StartTLS)
	short(&c.Timeouts.Handshake)
	return c
}
