package webui

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// maxBody bounds what an ordinary request may carry, in bytes; the router sees
// to it, because some may carry more.
const maxBody = 64 << 10

// policy is the Content-Security-Policy of every answer.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// guard is what every request passes before the router: headers on the answer,
// the Host allow-list against DNS rebinding, and the refusal of requests that
// another site made.
func (s *Server) guard(next http.Handler) http.Handler {
	csrf := http.NewCrossOriginProtection()
	refuse := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(s.newVisit(w, r), http.StatusForbidden, "error.refused")
	})
	csrf.SetDenyHandler(refuse)
	inner := csrf.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !safe(r.Method) && !s.ownPage(r) {
			refuse(w, r)
			return
		}
		next.ServeHTTP(w, r)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), clipboard-write=(self)")
		h.Set("Cache-Control", "no-store")
		if !s.allowedHost(r.Host) {
			http.Error(w, "This box does not answer to that name.", http.StatusMisdirectedRequest)
			return
		}
		inner.ServeHTTP(w, r)
	})
}

func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// ownPage reports whether a request that would change something comes from a
// page of ours. CrossOriginProtection lets requests pass that carry neither
// Sec-Fetch-Site nor Origin, for programs that are not browsers; with a cookie
// of ours that is not enough here.
func (s *Server) ownPage(r *http.Request) bool {
	if len(r.Cookies()) == 0 {
		return true
	}
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "same-origin":
		return true
	case "":
		o, err := url.Parse(r.Header.Get("Origin"))
		return err == nil && o.Scheme == "https" && o.Host == r.Host && s.allowedHost(o.Host)
	default:
		return false
	}
}

// allowedHost reports whether the box is called by a name or address of its
// own, whatever the port.
func (s *Server) allowedHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	name, addr := normalHost(host)
	if addr.IsValid() && addr.IsLoopback() || name == "localhost" || name == "gatepost.local" {
		return true
	}
	if s.cfg.Hosts == nil {
		return false
	}
	for _, own := range s.cfg.Hosts() {
		ownName, ownAddr := normalHost(own)
		if addr.IsValid() && addr == ownAddr || !addr.IsValid() && name != "" && name == ownName {
			return true
		}
	}
	return false
}

// normalHost returns an address, or else a name in lower case without its
// trailing dot.
func normalHost(host string) (string, netip.Addr) {
	bare := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if addr, err := netip.ParseAddr(bare); err == nil {
		return "", addr.Unmap().WithZone("")
	}
	return strings.ToLower(strings.TrimSuffix(host, ".")), netip.Addr{}
}
