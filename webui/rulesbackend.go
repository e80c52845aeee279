package webui

import (
	"context"
	"errors"
	"time"

	"gatepost/webui/foreign"
)

// RulesBackend tells which rules of other domains (MTA-STS policies) the box has
// saved. The rules of Backend hold for it too, except that Reread waits for the
// domain's own servers.
type RulesBackend interface {
	// Rules lists saved rules in the order of the domains.
	Rules(ctx context.Context, q RulesQuery) (RulesPage, error)
	// RulesOf is everything that is saved of a domain; ErrGone when nothing is.
	RulesOf(ctx context.Context, domain string) (Rules, error)
	// Check finds out what would become of mail to a domain now, and sends none.
	// It waits for the domain's servers, half a minute or so. ErrBadDomain for
	// what is no domain.
	Check(ctx context.Context, domain string) (Checked, error)
	// Reread asks the domain for its rules now. A failure never shortens or drops
	// saved rules. An error means that nothing can be said.
	Reread(ctx context.Context, domain string) (Reread, error)
}

// ErrBadDomain says that what was asked for is no domain name.
var ErrBadDomain = errors.New("webui: not a domain name")

// Checked is what would become of mail to a domain.
type Checked struct {
	Domain foreign.Text
	// Attempt is the verdict on the first server that would get the mail; its
	// outcome "delivered" means that the mail would be sent, "" that the settings
	// name the server, which is not asked.
	Attempt  Attempt
	Evidence *Evidence // of every server of the domain
}

// RulesQuery selects saved rules.
type RulesQuery struct {
	Part    string // only domains that contain it
	Trouble bool   // only those whose last reading failed
	After   string // RulesPage.Next of the page before
	Limit   int
}

// RulesPage is one page of what fits.
type RulesPage struct {
	Total int // of everything that is saved
	Rules []Rules
	Next  string // "" on the last page
}

// Rules are the saved rules of one domain.
type Rules struct {
	Domain  foreign.Text // as it is looked up: lower case, A-labels
	Mode    string       // "enforce", "testing" or "none"
	MX      []foreign.Text
	ID      foreign.Text // of the DNS record under which they were read
	MaxAge  time.Duration
	Read    time.Time
	Expires time.Time
	Ended   bool      // their time is over: they do not hold
	Used    time.Time // last mail for the domain, zero when not known
	Next    time.Time // next planned reading, zero when none is planned
	Trouble string    // reason id of the last reading that failed, "" when it did not
	Detail  foreign.Text

	// The rest is told by RulesOf alone.
	SeenID       foreign.Text // id that the DNS gave last
	Body         foreign.Text // as served
	Addr         foreign.Text // of the server that served them
	TLSVersion   string
	Cipher       string
	CertNames    []foreign.Text
	CertIssuer   foreign.Text
	CertNotAfter time.Time
}

// Reread is what came of asking a domain now.
type Reread struct {
	Held    bool   // rules are in force
	Changed bool   // they are other ones than before
	Trouble string // reason id, "" when the rules were read
}
