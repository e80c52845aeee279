package verdict

import "time"

// Evidence is all that one attempt saw, host by host. Attempts for several
// recipients of one message in one domain share one Evidence. It is kept in the
// history beside the verdict and not in the queue, because it may be large: a
// few kilobytes, bounded by the limits below.
//
// Every text in it may hold bytes chosen by a stranger.
type Evidence struct {
	Route Route `json:"route"`
	// DNS is what the name service said about where mail for the domain goes;
	// nil when nothing was asked.
	DNS   *DNS   `json:"dns,omitempty"`
	Hosts []Host `json:"hosts,omitempty"` // in the order tried, at most MaxHosts
}

// Limits of an Evidence.
const (
	MaxHosts = 20
	MaxMX    = 20
	MaxChain = 5
	MaxNames = 20
)

// Route says how the next hop was found.
type Route string

// The routes.
const (
	RouteMX        Route = "mx"        // RFC 5321, Section 5.1
	RouteLiteral   Route = "literal"   // an address literal
	RouteInside    Route = "inside"    // the office's own server, from the settings
	RouteSmartHost Route = "smarthost" // everything goes through one server, from the settings
)

// DNS is the answer about the mail servers of a domain.
type DNS struct {
	MX       []MX   `json:"mx,omitempty"`       // in the order of preference, at most MaxMX
	More     int    `json:"more,omitempty"`     // records beyond MaxMX
	Implicit bool   `json:"implicit,omitempty"` // no MX: the domain itself is the host
	Null     bool   `json:"null,omitempty"`     // RFC 7505
	Error    string `json:"error,omitempty"`    // why there is no answer
	// Security is "unsigned" while answers are not validated (DNSSEC).
	Security string `json:"security"`
}

// MX is one MX record.
type MX struct {
	Host string `json:"host"`
	Pref uint16 `json:"pref"`
}

// Host is what happened with one address of one MX host.
type Host struct {
	Time time.Time     `json:"time"`
	Took time.Duration `json:"took_ns"`
	MX   string        `json:"mx,omitempty"`
	Addr string        `json:"addr,omitempty"`
	// Reused says that an open connection of an earlier message was used; what
	// it had shown was judged again for this message.
	Reused bool `json:"reused,omitempty"`
	// Pattern is the mx pattern of the policy that lists the host.
	Pattern string `json:"pattern,omitempty"`

	Protection Protection    `json:"protection,omitempty"`
	TLSVersion string        `json:"tls_version,omitempty"`
	Cipher     string        `json:"cipher,omitempty"`
	Chain      []Certificate `json:"chain,omitempty"` // as shown, the leaf first, at most MaxChain

	Outcome  Outcome `json:"outcome"` // what this host alone led to
	Reason   Reason  `json:"reason,omitempty"`
	Rule     string  `json:"rule,omitempty"`
	Code     int     `json:"code,omitempty"`
	Enhanced string  `json:"enhanced,omitempty"`
	Reply    string  `json:"reply,omitempty"`
	Detail   string  `json:"detail,omitempty"`
}

// Certificate is one certificate of a chain that a host showed.
type Certificate struct {
	Subject   string    `json:"subject,omitempty"`
	Names     []string  `json:"names,omitempty"` // DNS names, at most MaxNames
	Issuer    string    `json:"issuer,omitempty"`
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	SHA256    string    `json:"sha256,omitempty"` // of the certificate, hexadecimal
}
