package main

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"gatepost/mtasts"
)

// report is what check found; it is the JSON object of check -json.
type report struct {
	Domain   string      `json:"domain"`
	Verdict  string      `json:"verdict"`
	Sentence string      `json:"sentence"`
	Record   *recordView `json:"record,omitempty"`
	Policy   *policyView `json:"policy,omitempty"`
	// PolicyHost is what was seen of the policy host.
	PolicyHost *mtasts.HostEvidence `json:"policy_host,omitempty"`
	MX         []mxView             `json:"mx,omitempty"`
	Trouble    *failure             `json:"trouble,omitempty"`
}

type recordView struct {
	ID string `json:"id"`
}

type mxView struct {
	Host       string   `json:"host"`
	Preference uint16   `json:"preference"`
	Listed     bool     `json:"listed"`
	Addr       string   `json:"addr,omitempty"`
	TLS        string   `json:"tls,omitempty"`
	CertNames  []string `json:"cert_names,omitempty"`
	OK         bool     `json:"ok"`
	Reason     string   `json:"reason,omitempty"`
	Detail     string   `json:"detail,omitempty"`
	unknown    bool
}

// The verdicts of check and their exit codes.
const (
	protected = "protected"
	notSafe   = "not-protected"
	broken    = "broken"
	unknown   = "unknown"
)

var exitCodes = map[string]int{protected: 0, notSafe: 1, broken: 1, unknown: 2}

func check(e env, args []string) int {
	var c checker
	var asJSON bool
	var resolver, roots string
	flags := newFlags("check")
	flags.BoolVar(&asJSON, "json", false, "write one JSON object")
	flags.StringVar(&resolver, "resolver", "", "`ADDR` of the DNS server, port 53 unless given")
	flags.StringVar(&roots, "roots", "", "PEM `FILE` of the trusted roots, instead of the system's")
	flags.StringVar(&c.helo, "helo", "", "`NAME` for EHLO, the host's name unless given")
	flags.Func("map", "connect to `HOST:PORT=ADDR:PORT`; may be given again", c.addMap)
	domain, err := parseMixed(flags, args)
	if err != nil {
		return e.badFlags(flags, err)
	}
	if domain == "" {
		err = errors.New("check takes a DOMAIN")
	}
	if err == nil {
		err = c.setUp(resolver, roots)
	}
	if err == nil {
		domain, err = mtasts.PolicyDomain(domain)
	}
	if err != nil {
		return e.complain(err)
	}
	ctx, cancel := context.WithTimeout(e.ctx, 3*time.Minute)
	defer cancel()
	r := c.check(ctx, domain)
	if asJSON {
		e.print(r)
	} else {
		r.write(e.stdout)
	}
	return exitCodes[r.Verdict]
}

// parseMixed parses flags that may stand before and after one argument.
func parseMixed(flags *flag.FlagSet, args []string) (arg string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			return "", err
		}
		if flags.NArg() == 0 {
			return arg, nil
		}
		if arg != "" {
			return "", fmt.Errorf("unexpected argument %q", flags.Arg(0))
		}
		arg, args = flags.Arg(0), flags.Args()[1:]
	}
}

// checker is check's way to the network.
type checker struct {
	resolver *net.Resolver
	roots    *x509.CertPool
	helo     string
	mapped   map[string]netip.AddrPort // "host:port", lower case
}

func (c *checker) addMap(s string) error {
	from, to, ok := strings.Cut(s, "=")
	addr, err := netip.ParseAddrPort(to)
	if _, _, err2 := net.SplitHostPort(from); !ok || err != nil || err2 != nil {
		return fmt.Errorf("%q is not HOST:PORT=ADDR:PORT", s)
	}
	if c.mapped == nil {
		c.mapped = make(map[string]netip.AddrPort)
	}
	c.mapped[strings.ToLower(from)] = addr
	return nil
}

func (c *checker) setUp(resolver, roots string) error {
	c.resolver = net.DefaultResolver
	if resolver != "" {
		if _, _, err := net.SplitHostPort(resolver); err != nil {
			resolver = net.JoinHostPort(strings.Trim(resolver, "[]"), "53")
		}
		c.resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, resolver)
		}}
	}
	if roots != "" {
		pem, err := os.ReadFile(roots)
		if err != nil {
			return err
		}
		c.roots = x509.NewCertPool()
		if !c.roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s holds no certificate", roots)
		}
	}
	if c.helo == "" {
		c.helo, _ = os.Hostname()
		if c.helo == "" {
			c.helo = "localhost"
		}
	}
	return nil
}

// fetcher gives a Fetcher; a mapped policy host is dialled where the map says,
// whatever kind of address that is: the user has said so.
func (c *checker) fetcher(domain string) *mtasts.Fetcher {
	f := &mtasts.Fetcher{LookupNetIP: c.resolver.LookupNetIP, Roots: c.roots, UserAgent: "mtasts-check"}
	if to, ok := c.mapped["mta-sts."+domain+":443"]; ok {
		f.LookupNetIP = func(context.Context, string, string) ([]netip.Addr, error) {
			return []netip.Addr{to.Addr()}, nil
		}
		f.Allow = func(netip.Addr) bool { return true }
		f.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, to.String())
		}
	}
	return f
}

// write gives the report as text, the verdict first.
func (r report) write(w io.Writer) {
	fmt.Fprintf(w, "%s: %s\n", r.Domain, r.Sentence)
	if r.Record != nil {
		fmt.Fprintf(w, "  record   id %s\n", r.Record.ID)
	}
	if r.Policy != nil {
		fmt.Fprintf(w, "  policy   mode %s, max_age %d, mx %q\n", r.Policy.Mode, r.Policy.MaxAge, r.Policy.MX)
	}
	if r.PolicyHost != nil && r.PolicyHost.Addr != "" {
		fmt.Fprintf(w, "  fetched  from %s, %s, certificate for %q\n", r.PolicyHost.Addr, r.PolicyHost.TLSVersion, r.PolicyHost.CertNames)
	}
	for _, mx := range r.MX {
		state := "ok"
		if !mx.OK {
			state = mx.Reason + ": " + mx.Detail
		}
		fmt.Fprintf(w, "  mx %3d   %q %s %s %s\n", mx.Preference, mx.Host, mx.Addr, mx.TLS, state)
	}
	if r.Trouble != nil {
		fmt.Fprintf(w, "  trouble  %s: %s\n", r.Trouble.Error, r.Trouble.Detail)
	}
}
