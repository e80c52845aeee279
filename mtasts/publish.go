package mtasts

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// PolicyID derives a record id from a policy text: the same text always has
// the same id, another text another one (Section 3.1: the id must be unique
// for each policy of a domain). It is 32 hexadecimal digits.
func PolicyID(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:16])
}

// WellKnownPath is where a policy host serves the policy (Section 3.3).
const WellKnownPath = "/.well-known/mta-sts.txt"

var (
	// ErrNotPublished: nothing is served for the domain.
	ErrNotPublished = errors.New("mtasts: no policy is published for the domain")
	// ErrTooEarly: senders may still hold an older policy. Go on serving.
	ErrTooEarly = errors.New("mtasts: too early to withdraw the policy")
)

// Publication is what a Publisher serves for one domain. Save it and give it
// to the next NewPublisher.
type Publication struct {
	Domain string `json:"domain"`
	// Body is the policy text as it is served.
	Body string `json:"body"`
	// ID is what the TXT record has to say: PolicyID of Body.
	ID string `json:"id"`
	// Longest is the longest max_age that was ever served for the domain.
	Longest time.Duration `json:"longest"`
	// KeepUntil is set by OptOut: until then the policy with mode none and its
	// record have to stay (Section 8.3).
	KeepUntil time.Time `json:"keep_until,omitzero"`
}

// Record gives the text of the TXT record that belongs to the publication.
func (p Publication) Record() string { return Record{ID: p.ID}.String() }

// Publisher is the receiver's side (Section 8): an http.Handler that serves
// each domain its policy, by the Host of the request. It serves HTTPS
// requests, so the server in front of it needs a certificate for each
// "mta-sts.<domain>" (Section 8.2). Its methods may be called from many
// goroutines at once.
type Publisher struct {
	now func() time.Time

	mu      sync.RWMutex
	domains map[string]Publication
}

// NewPublisher makes a publisher that serves what was saved. now nil means
// time.Now. It fails when a saved policy is malformed.
func NewPublisher(saved []Publication, now func() time.Time) (*Publisher, error) {
	if now == nil {
		now = time.Now
	}
	p := &Publisher{now: now, domains: make(map[string]Publication)}
	for _, pub := range saved {
		domain, err := PolicyDomain(pub.Domain)
		if err != nil {
			return nil, err
		}
		policy, err := ParsePolicy([]byte(pub.Body))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", domain, err)
		}
		pub.Domain, pub.ID = domain, PolicyID([]byte(pub.Body))
		pub.Longest = max(pub.Longest, policy.MaxAge)
		p.domains[domain] = pub
	}
	return p, nil
}

// Publish serves a policy text from now on. Change the TXT record to the
// publication's Record afterwards, never before (Section 8.1); PlanChange has
// the whole order. It fails with a *SyntaxError, or ErrDomain, and then goes
// on serving what it did.
func (p *Publisher) Publish(domain string, body []byte) (Publication, error) {
	domain, err := PolicyDomain(domain)
	if err != nil {
		return Publication{}, err
	}
	policy, err := ParsePolicy(body)
	if err != nil {
		return Publication{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	pub := p.domains[domain]
	pub.Domain, pub.Body, pub.ID, pub.KeepUntil = domain, string(body), PolicyID(body), time.Time{}
	pub.Longest = max(pub.Longest, policy.MaxAge)
	p.domains[domain] = pub
	return pub, nil
}

// OptOut serves mode none from now on (Section 8.3). Then change the TXT
// record to the publication's Record, and keep record and policy until
// KeepUntil: the longest max_age ever served has passed then, and no sender
// holds an older policy. A second OptOut changes nothing.
func (p *Publisher) OptOut(domain string) (Publication, error) {
	domain, err := PolicyDomain(domain)
	if err != nil {
		return Publication{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	pub, ok := p.domains[domain]
	switch {
	case !ok:
		return Publication{}, fmt.Errorf("%w: %s", ErrNotPublished, domain)
	case !pub.KeepUntil.IsZero():
		return pub, nil
	}
	body := Policy{Mode: None, MaxAge: optOutMaxAge}.Text()
	pub.Body, pub.ID = string(body), PolicyID(body)
	pub.KeepUntil = p.now().Add(max(pub.Longest, optOutMaxAge)).UTC().Round(0)
	p.domains[domain] = pub
	return pub, nil
}

// optOutMaxAge is a small max_age (Section 8.3).
const optOutMaxAge = 24 * time.Hour

// Withdraw ends serving a domain after OptOut. It fails with ErrTooEarly
// before KeepUntil, and without OptOut. Remove the TXT record first.
func (p *Publisher) Withdraw(domain string) error {
	domain, err := PolicyDomain(domain)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	pub, ok := p.domains[domain]
	switch {
	case !ok:
		return fmt.Errorf("%w: %s", ErrNotPublished, domain)
	case pub.KeepUntil.IsZero():
		return fmt.Errorf("%w: %s has not opted out", ErrTooEarly, domain)
	case p.now().Before(pub.KeepUntil):
		return fmt.Errorf("%w: %s until %s", ErrTooEarly, domain, pub.KeepUntil.Format(time.RFC3339))
	}
	delete(p.domains, domain)
	return nil
}

// Publications lists what is served, sorted by domain.
func (p *Publisher) Publications() []Publication {
	p.mu.RLock()
	defer p.mu.RUnlock()
	list := make([]Publication, 0, len(p.domains))
	for _, pub := range p.domains {
		list = append(list, pub)
	}
	slices.SortFunc(list, func(a, b Publication) int { return cmp.Compare(a.Domain, b.Domain) })
	return list
}

// ServeHTTP answers GET and HEAD of WellKnownPath on a host that is
// "mta-sts.<domain>" of a published domain: status 200, text/plain, the whole
// text. Everything else is 404, or 405 for other methods. It never redirects.
func (p *Publisher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/plain")
	h.Set("X-Content-Type-Options", "nosniff")
	body, ok := p.served(r.Host)
	switch {
	case !ok || r.URL.Path != WellKnownPath:
		w.WriteHeader(http.StatusNotFound)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodGet {
		// Whoever hung up has lost the answer; there is no one to tell.
		_, _ = w.Write([]byte(body))
	}
}

func (p *Publisher) served(host string) (body string, ok bool) {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(lower(host), ".")
	domain, ok := strings.CutPrefix(host, "mta-sts.")
	if !ok {
		return "", false
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	pub, ok := p.domains[domain]
	return pub.Body, ok
}
