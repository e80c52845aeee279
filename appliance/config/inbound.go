package config

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"gatepost/mtasts"
)

// Default ports of the servers that the settings name (RFC 5321, RFC 6409, RFC
// 8314).
const (
	portSMTP        = 25
	portSubmission  = 587
	portSubmissions = 465
)

// place is where the keys of one table stand, for the lines of faults.
type place struct {
	v    *validator
	path string // of the table: "smart_host", "inbound#0"
	name string // for people: [smart_host], domain "office.example"
}

// fault notes a fault of one key, or of the table when the key is not there.
func (p place) fault(key, format string, args ...any) {
	path := join(p.path, key)
	if p.v.lines[path] == 0 {
		path = p.path
	}
	p.v.fault(path, p.name+": "+format, args...)
}

func (v *validator) inbound(f []fileInbound, c *Config) {
	seen := map[string]bool{}
	for i, in := range f {
		at := place{v: v, path: arrayPath("inbound", i), name: "[[inbound]]"}
		out := Inbound{TLSRule: InboundTLSOff, Recipients: RecipientsAsk}
		domain, err := mtasts.PolicyDomain(in.Domain)
		switch {
		case in.Domain == "":
			at.fault("domain", "the domain is missing, such as: domain = \"office.example\"")
		case err != nil || !validName(domain):
			at.fault("domain", "%q is not a mail domain, such as \"office.example\"", in.Domain)
		case seen[domain]:
			at.fault("domain", "the domain %q is there twice", in.Domain)
		default:
			at.name = "domain " + strconv.Quote(domain)
		}
		seen[domain] = true
		out.Domain = domain
		out.Server = at.server(in.fileServer, TLSTry, portSMTP)
		out.Server.Final = in.Final
		out.Recipients, out.List = at.recipients(in.Recipients, domain)
		if in.TLSRule != nil {
			out.TLSRule = *in.TLSRule
			if !slices.Contains([]string{InboundTLSOff, InboundTLSWatch, InboundTLSRequired}, out.TLSRule) {
				at.fault("tls_rule", "%q is not a rule: write \"off\", \"watch\" or \"required\"", out.TLSRule)
			}
		}
		out.ReportAddresses = at.localParts("report_addresses", in.ReportAddresses, domain)
		c.Inbound = append(c.Inbound, out)
	}
}

func (v *validator) smartHost(f fileServer, c *Config) {
	if !v.defined("smart_host") {
		return
	}
	at := place{v: v, path: "smart_host", name: "[smart_host]"}
	s := at.server(f, TLSVerify, portSubmission)
	c.SmartHost = &s
}

// server reads what [[inbound]] and [smart_host] have in common.
func (p place) server(f fileServer, rule string, port uint16) Server {
	s := Server{TLS: rule, ImplicitTLS: f.ImplicitTLS, User: f.User, Password: Secret(f.Password)}
	if f.ImplicitTLS {
		port = portSubmissions
	}
	s.Host, s.Port = p.host(f.Server, port)
	if f.Port != nil {
		if *f.Port < 1 || *f.Port > 65535 {
			p.fault("port", "%d is not a port: 1 to 65535", *f.Port)
		} else {
			if s.Port != port {
				p.fault("port", "the port stands in server and in port: write it once")
			}
			s.Port = uint16(*f.Port)
		}
	}
	if f.TLS != nil {
		s.TLS = *f.TLS
	}
	if !slices.Contains([]string{TLSNone, TLSTry, TLSRequire, TLSVerify}, s.TLS) {
		p.fault("tls", "%q is not a rule: write \"none\", \"try\", \"require\" or \"verify\"", s.TLS)
	} else if s.ImplicitTLS && s.TLS == TLSNone {
		p.fault("implicit_tls", "implicit_tls begins with TLS, but tls = \"none\" forbids it")
	}
	if f.CertificateName != nil {
		s.CertificateName = *f.CertificateName
		if !validHost(s.CertificateName) {
			p.fault("certificate_name", "%q is not a host name or an address", s.CertificateName)
		}
	}
	p.login(s)
	return s
}

// login checks that a name has its password and that both travel protected.
func (p place) login(s Server) {
	switch {
	case s.User == "" && s.Password != "":
		p.fault("password", "there is a password, but no user")
	case s.User != "" && s.Password == "":
		p.fault("user", "there is a user, but no password")
	case s.User != "" && (s.TLS == TLSNone || s.TLS == TLSTry):
		p.fault("user", "a password is never sent without encryption: with a user, tls must be \"require\" or \"verify\"")
	case len(s.User) > 255 || len(s.Password) > 255 || strings.ContainsRune(s.User, 0) || strings.ContainsRune(string(s.Password), 0):
		p.fault("user", "user and password have at most 255 bytes each, and no zero byte (RFC 4616)")
	}
}

// host reads "mail.lan", "192.168.1.5", "mail.lan:2525" or "[fd00::5]:25".
func (p place) host(s string, port uint16) (string, uint16) {
	if s == "" {
		p.fault("server", "the server is missing, such as: server = \"192.168.1.5\"")
		return "", port
	}
	host := s
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.String(), port
	}
	if h, ps, err := net.SplitHostPort(s); err == nil {
		n, err := strconv.ParseUint(ps, 10, 16)
		if err != nil || n == 0 {
			p.fault("server", "%q: %q is not a port: 1 to 65535", s, ps)
			return h, port
		}
		host, port = h, uint16(n)
	}
	if !validHost(host) && !validLabel(host) {
		p.fault("server", "%q is not a server, such as \"192.168.1.5\" or \"mail.lan:25\"", s)
	}
	return host, port
}

// recipients reads "ask", "any" or a list of addresses or local parts.
func (p place) recipients(f any, domain string) (kind string, list []string) {
	switch f := f.(type) {
	case nil:
		return RecipientsAsk, nil
	case string:
		if f == RecipientsAsk || f == RecipientsAny {
			return f, nil
		}
	case []any:
		var names []string
		for _, x := range f {
			s, ok := x.(string)
			if !ok {
				p.fault("recipients", "the list holds something that is not a text in quotes")
				return RecipientsList, nil
			}
			names = append(names, s)
		}
		if len(names) == 0 {
			p.fault("recipients", "the list is empty: nobody could get mail")
		}
		return RecipientsList, p.localParts("recipients", names, domain)
	}
	p.fault("recipients", "write \"ask\", \"any\" or a list of addresses, such as [\"anna@office.example\", \"info\"]")
	return RecipientsAsk, nil
}

// localParts reads addresses of the domain, or only what is before their "@".
func (p place) localParts(key string, names []string, domain string) []string {
	var out []string
	for _, s := range names {
		local, of := s, domain
		if at := strings.LastIndexByte(s, '@'); at >= 0 {
			local, of = s[:at], strings.ToLower(s[at+1:])
			if a, err := mtasts.PolicyDomain(of); err == nil {
				of = a
			}
		}
		if local == "" || len(local) > 64 || strings.ContainsAny(local, "@ \t\r\n\x00") {
			p.fault(key, "%q is not a mail address", s)
			continue
		}
		if of != domain {
			p.fault(key, "%q is not in this domain", s)
			continue
		}
		out = append(out, local)
	}
	return out
}

func (v *validator) listen(f fileListen, c *Listen) {
	for _, l := range []struct {
		key  string
		from *string
		into *string
	}{
		{"smtp", f.SMTP, &c.SMTP},
		{"submissions", f.Submissions, &c.Submissions},
		{"submission", f.Submission, &c.Submission},
		{"page", f.Page, &c.Page},
	} {
		if l.from == nil || *l.from == "" {
			continue
		}
		*l.into = *l.from
		host, port, err := net.SplitHostPort(*l.from)
		if err == nil && host != "" && host != "localhost" {
			_, err = netip.ParseAddr(host)
		}
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil {
			v.fault("listen."+l.key, "%q is not an address with a port, such as \"0.0.0.0:25\" or \"127.0.0.1:8443\"", *l.from)
		}
	}
}

func (v *validator) bind(list []string, c *Bind) {
	for _, s := range list {
		a, err := netip.ParseAddr(s)
		into := &c.V4
		if a.Unmap().Is6() {
			into = &c.V6
		}
		switch {
		case err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast():
			v.fault("relay.bind", "%q is not an address of this machine, such as \"192.168.1.30\"", s)
		case into.IsValid():
			v.fault("relay.bind", "at most one IPv4 and one IPv6 address can be named, %q is one more", s)
		default:
			*into = a.Unmap()
		}
	}
}

// validLabel reports whether s is a single name without dots, as local networks
// have them.
func validLabel(s string) bool {
	return s != "" && !strings.Contains(s, ".") && validName(s+".lan")
}
