package mtasts

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits of a Fetcher, when its fields are zero.
const (
	// DefaultFetchTimeout is the time for one fetch as a whole, from the
	// question for the address to the last byte (Section 3.3).
	DefaultFetchTimeout = time.Minute
	// DefaultFetchParallel is the number of fetches at one time.
	DefaultFetchParallel = 16
)

// Fetcher fetches policies over HTTPS (Section 3.3). The zero value works. Its
// fields must not be changed after the first Fetch; Fetch may be called from
// many goroutines at once.
type Fetcher struct {
	// LookupNetIP finds the addresses of a policy host; nil means
	// net.DefaultResolver. network is "ip", host ends with a dot.
	LookupNetIP func(ctx context.Context, network, host string) ([]netip.Addr, error)
	// DialContext connects; nil means a net.Dialer. addr is always an address
	// that LookupNetIP gave and Allow took, with port 443: a DialContext that
	// connects elsewhere undoes the guard.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// Allow says whether an address may be dialled; nil means PublicAddress.
	Allow func(netip.Addr) bool
	// Roots are the trusted roots; nil means those of the system.
	Roots *x509.CertPool
	// Now is the clock by which certificates are judged; nil means time.Now.
	Now func() time.Time
	// UserAgent is sent with each request; "" means "mtasts".
	UserAgent string
	// Timeout bounds one fetch as a whole; 0 means DefaultFetchTimeout.
	Timeout time.Duration
	// Parallel bounds the fetches at one time; 0 means DefaultFetchParallel.
	// Waiting for a turn counts for the caller's ctx, not for Timeout.
	Parallel int

	once  sync.Once
	turns chan struct{}
}

// Fetched is a policy and how it came here.
type Fetched struct {
	Policy Policy
	// Body is the policy text as served, for TLS reports.
	Body string
	// At is when the answer was complete: the life of the policy counts from
	// here.
	At   time.Time
	Host HostEvidence
}

// HostEvidence is what was seen of a policy host.
type HostEvidence struct {
	Addr         string    `json:"addr,omitempty"`        // IP address and port
	TLSVersion   string    `json:"tls_version,omitempty"` // "TLS 1.3"
	Cipher       string    `json:"cipher,omitempty"`
	CertNames    []string  `json:"cert_names,omitempty"`
	CertIssuer   string    `json:"cert_issuer,omitempty"`
	CertNotAfter time.Time `json:"cert_not_after,omitzero"`
}

// FetchError says why there is no policy. It is ErrFetch, and ErrCertificate,
// ErrAddressRefused or ErrPolicySyntax where one of them is the cause.
type FetchError struct {
	Domain string
	// Reason is ReasonFetch, ReasonWebPKI (the certificate) or ReasonInvalid
	// (the text of the policy).
	Reason Reason
	// Status is the HTTP status, 0 when there was no answer.
	Status int
	// Host is what was seen of the host before it failed.
	Host HostEvidence
	Err  error
}

func (e *FetchError) Error() string {
	return fmt.Sprintf("mtasts: policy of %s: %v", e.Domain, e.Err)
}

// Unwrap gives the cause.
func (e *FetchError) Unwrap() error { return e.Err }

// Is makes every FetchError an ErrFetch, and one about the certificate an
// ErrCertificate.
func (e *FetchError) Is(target error) bool {
	return target == ErrFetch || target == ErrCertificate && e.Reason == ReasonWebPKI
}

// Fetch gets the policy of a policy domain, which PolicyDomain has brought
// into its form: GET https://mta-sts.<domain>/.well-known/mta-sts.txt, port
// 443. It asks each time: no answer is cached, no redirect followed, no proxy
// used. The error is a *FetchError, or ctx's while waiting for a turn.
func (f *Fetcher) Fetch(ctx context.Context, domain string) (Fetched, error) {
	f.once.Do(func() {
		n := f.Parallel
		if n <= 0 {
			n = DefaultFetchParallel
		}
		f.turns = make(chan struct{}, n)
	})
	select {
	case f.turns <- struct{}{}:
	case <-ctx.Done():
		return Fetched{}, ctx.Err()
	}
	defer func() { <-f.turns }()

	timeout := f.Timeout
	if timeout <= 0 {
		timeout = DefaultFetchTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	x := &exchange{Fetcher: f, host: "mta-sts." + domain}
	body, status, err := x.get(ctx)
	if err != nil {
		reason := ReasonFetch
		if isCertificateError(err) {
			reason = ReasonWebPKI
		}
		return Fetched{}, &FetchError{Domain: domain, Reason: reason, Status: status, Host: x.evidence, Err: err}
	}
	text := string(body)
	policy, err := parsePolicy(text)
	if err != nil {
		return Fetched{}, &FetchError{Domain: domain, Reason: ReasonInvalid, Status: status, Host: x.evidence, Err: err}
	}
	return Fetched{Policy: policy, Body: text, At: f.now(), Host: x.evidence}, nil
}

func (f *Fetcher) now() time.Time {
	if f.Now != nil {
		return f.Now()
	}
	return time.Now()
}
