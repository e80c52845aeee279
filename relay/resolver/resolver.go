package resolver

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Config is what a Resolver needs.
type Config struct {
	// Servers gives the recursive name servers in order of preference. It is
	// asked before each lookup, since DHCP may change them.
	Servers func() []netip.AddrPort
	// Dial opens a connection; network is "udp" or "tcp". nil: net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Timeout is for one question to one server. Zero: 3 seconds.
	Timeout time.Duration
	// Rounds is how often the whole list of servers is tried. Zero: 2.
	Rounds int
	// Now is the clock for the cache and for servers that fail. nil: time.Now.
	Now func() time.Time
	Log *slog.Logger // nil: discard
}

// Resolver looks names up. It may be used by many goroutines at once.
type Resolver struct {
	cfg     Config
	cache   cache
	pulse   pulse
	order   order
	flights flights
}

// New makes a Resolver. It asks nothing yet.
func New(cfg Config) *Resolver {
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 3 * time.Second
	}
	if cfg.Rounds == 0 {
		cfg.Rounds = 2
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Resolver{cfg: cfg, cache: cache{now: cfg.Now, max: maxCached, maxBytes: maxCachedBytes}}
}

// MX is one mail server of a domain. Host is without the trailing dot; a null
// MX (RFC 7505) has the Host "".
type MX struct {
	Host string
	Pref uint16
}

// LookupMX gives the MX records of a domain in no particular order. ErrNoData
// means that the domain itself is its mail host (RFC 5321, Section 5.1).
func (r *Resolver) LookupMX(ctx context.Context, domain string) ([]MX, error) {
	rrs, err := r.lookup(ctx, domain, dns.TypeMX)
	if err != nil {
		return nil, err
	}
	var out []MX
	for _, rr := range rrs {
		if mx, ok := rr.(*dns.MX); ok {
			out = append(out, MX{Host: plainName(mx.Mx), Pref: mx.Preference})
		}
	}
	if len(out) == 0 {
		return nil, &Error{Name: domain, Type: "MX", Kind: ErrNoData}
	}
	return out, nil
}

// LookupTXT gives the TXT records of a name, the strings of each joined
// without spaces (RFC 8461, Section 3.1). It has the shape of
// net.Resolver.LookupTXT.
func (r *Resolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	rrs, err := r.lookup(ctx, name, dns.TypeTXT)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, rr := range rrs {
		if txt, ok := rr.(*dns.TXT); ok {
			out = append(out, unescape(strings.Join(txt.Txt, "")))
		}
	}
	if len(out) == 0 {
		return nil, &Error{Name: name, Type: "TXT", Kind: ErrNoData}
	}
	return out, nil
}

// LookupNetIP gives the addresses of a host; network is "ip", "ip4" or "ip6".
// Absence is reported only when every family that was asked for is absent.
func (r *Resolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	var types []uint16
	if network != "ip6" {
		types = append(types, dns.TypeA)
	}
	if network != "ip4" {
		types = append(types, dns.TypeAAAA)
	}
	var out []netip.Addr
	var failed error
	for _, a := range r.lookupEach(ctx, host, types) {
		rrs, err := a.rrs, a.err
		if err != nil {
			if failed == nil || isTemporary(err) {
				failed = err
			}
			continue
		}
		for _, rr := range rrs {
			switch a := rr.(type) {
			case *dns.A:
				if ip, ok := netip.AddrFromSlice(a.A.To4()); ok {
					out = append(out, ip)
				}
			case *dns.AAAA:
				if ip, ok := netip.AddrFromSlice(a.AAAA.To16()); ok && !ip.Is4In6() {
					out = append(out, ip)
				}
			}
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	if failed == nil {
		failed = &Error{Name: host, Type: "A", Kind: ErrNoData}
	}
	return nil, failed
}

// found is the end of one lookup.
type found struct {
	rrs []dns.RR
	err error
}

// lookupEach looks one name up for several types, at the same time when the
// network has to be asked.
func (r *Resolver) lookupEach(ctx context.Context, name string, types []uint16) []found {
	out := make([]found, len(types))
	var wg sync.WaitGroup
	for i, t := range types[1:] {
		ask := func() { out[i+1].rrs, out[i+1].err = r.lookup(ctx, name, t) }
		if _, ok := r.cache.get(canonical(name), t); ok {
			ask()
		} else {
			wg.Go(ask)
		}
	}
	out[0].rrs, out[0].err = r.lookup(ctx, name, types[0])
	wg.Wait()
	return out
}

// canonical is the form of a name in the cache.
func canonical(name string) string { return dns.Fqdn(strings.ToLower(name)) }

func isTemporary(err error) bool {
	e, ok := err.(*Error)
	return ok && e.Kind == ErrTemporary
}

// maxChain bounds a chain of CNAMEs.
const maxChain = 8

// lookup gives the records of one type, following CNAMEs.
func (r *Resolver) lookup(ctx context.Context, name string, t uint16) ([]dns.RR, error) {
	fqdn := canonical(name)
	typeName := dns.TypeToString[t]
	if _, ok := dns.IsDomainName(fqdn); !ok || name == "" {
		return nil, &Error{Name: name, Type: typeName, Kind: ErrNXDomain, Detail: "not a domain name"}
	}
	for range maxChain {
		a, ok := r.cache.get(fqdn, t)
		if !ok {
			var err error
			if a, err = r.askOnce(ctx, fqdn, t); err != nil {
				return nil, &Error{Name: name, Type: typeName, Kind: ErrTemporary, Detail: err.Error()}
			}
		}
		switch {
		case a.loop:
			return nil, &Error{Name: name, Type: typeName, Kind: ErrTemporary, Detail: "a loop of CNAME records"}
		case len(a.records) > 0:
			return a.records, nil
		case a.next != "":
			fqdn = a.next
		case a.nxdomain:
			return nil, &Error{Name: name, Type: typeName, Kind: ErrNXDomain}
		default:
			return nil, &Error{Name: name, Type: typeName, Kind: ErrNoData}
		}
	}
	return nil, &Error{Name: name, Type: typeName, Kind: ErrTemporary, Detail: "too long a chain of CNAME records"}
}

// answer is what one question brought, in the form that the cache keeps.
type answer struct {
	records  []dns.RR
	next     string // the end of a CNAME chain whose target was not in the answer
	nxdomain bool
	loop     bool // the CNAME records of the answer lead in a circle
	ttl      time.Duration
}

// digest reads a reply to (fqdn, t).
func digest(fqdn string, t uint16, m *dns.Msg) answer {
	a := answer{nxdomain: m.Rcode == dns.RcodeNameError, ttl: maxTTL}
	owner := fqdn
	for range maxChain {
		next := ""
		for _, rr := range m.Answer {
			h := rr.Header()
			if h.Class != dns.ClassINET || !strings.EqualFold(h.Name, owner) {
				continue
			}
			if h.Rrtype == t {
				a.records = append(a.records, rr)
				a.ttl = min(a.ttl, time.Duration(h.Ttl)*time.Second)
			} else if c, ok := rr.(*dns.CNAME); ok && next == "" {
				next = strings.ToLower(c.Target)
				a.ttl = min(a.ttl, time.Duration(h.Ttl)*time.Second)
			}
		}
		if len(a.records) > 0 || next == "" {
			break
		}
		if owner = next; owner == fqdn {
			a.loop, a.ttl = true, 0
			return a
		}
	}
	if len(a.records) == 0 {
		if owner != fqdn && !a.nxdomain {
			a.next = owner
		}
		a.ttl = min(a.ttl, negativeTTL(m))
	}
	return a
}

// negativeTTL is RFC 2308, Section 5: the lesser of the SOA's TTL and minimum.
func negativeTTL(m *dns.Msg) time.Duration {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return time.Duration(min(soa.Hdr.Ttl, soa.Minttl)) * time.Second
		}
	}
	return 0
}

// plainName is a name of an answer without its trailing dot.
func plainName(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }

// unescape turns the \DDD and \X forms that the DNS package writes into the
// bytes that were sent.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b = append(b, s[i])
			continue
		}
		digits := s[i+1 : min(i+4, len(s))]
		if len(digits) == 3 && !slices.ContainsFunc([]byte(digits), func(c byte) bool { return c < '0' || c > '9' }) {
			b = append(b, (digits[0]-'0')*100+(digits[1]-'0')*10+(digits[2]-'0'))
			i += 3
			continue
		}
		i++
		b = append(b, s[i])
	}
	return string(b)
}
