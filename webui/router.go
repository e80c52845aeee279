package webui

import (
	"net/http"
	"net/netip"
	"slices"

	"gatepost/webui/session"
	"gatepost/webui/words"
)

// The cookies. The prefix makes browsers refuse them without Secure, with a
// Domain or with another Path (RFC 6265bis, Section 4.1.3.2).
const (
	sessionCookie = "__Host-gatepost"
	ticketCookie  = "__Host-gatepost-claim"
)

// visit is one request, with what is known about who makes it.
type visit struct {
	w       http.ResponseWriter
	r       *http.Request
	voice   words.Voice
	token   string          // of the session, "" without one
	session session.Session // zero without one
}

// newMux builds the router of a mode from its table. The check of the right
// stands inside the router, around each handler.
func (s *Server) newMux(m mode) *http.ServeMux {
	mux := http.NewServeMux()
	for _, rt := range routes(m) {
		if !s.has(rt.part) {
			continue
		}
		mux.HandleFunc(rt.method+" "+rt.pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, bodyLimit(rt))
			v := s.newVisit(w, r)
			if rt.right != open && !v.may(rt.right) {
				s.askLogin(v, rt)
				return
			}
			rt.handle(s, v)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(s.newVisit(w, r), http.StatusNotFound, "error.not-found")
	})
	return mux
}

func (s *Server) newVisit(w http.ResponseWriter, r *http.Request) *visit {
	v := &visit{w: w, r: r, voice: words.Voice{
		Book: s.books[words.Match(r.Header.Get("Accept-Language"))], Zone: s.cfg.Zone, Now: s.cfg.Now(),
	}}
	if c, err := r.Cookie(sessionCookie); err == nil {
		if sess, ok := s.sessions.Find(c.Value); ok {
			v.token, v.session = c.Value, sess
		}
	}
	return v
}

// may reports whether the visitor is logged in and has a right.
func (v *visit) may(r right) bool {
	return v.token != "" && slices.Contains(rightsOf(v.session.Person), r)
}

// askLogin answers a request without the session that its route needs. A
// browser that comes from another site withholds the SameSite=Strict cookie
// even when there is a session, and a redirect would not change that: a page
// without data that goes on by itself does.
func (s *Server) askLogin(v *visit, rt route) {
	switch {
	case rt.method != http.MethodGet:
		s.fail(v, http.StatusUnauthorized, "error.refused")
	case v.r.Header.Get("Sec-Fetch-Site") == "cross-site" && v.r.Header.Get("Sec-Fetch-Mode") == "navigate":
		path := "/"
		if id := v.r.PathValue("id"); rt.pattern == "/waiting" || rt.pattern == "/find" || rt.pattern == "/others" || rt.pattern == "/check" {
			path = rt.pattern
		} else if rt.pattern == "/message/{id}" && goodID.MatchString(id) {
			path = "/message/" + id
		} else if domain := v.r.PathValue("domain"); rt.pattern == "/others/{domain}" && goodDomain.MatchString(domain) {
			path = "/others/" + domain
		}
		v.w.Header().Set("Refresh", "0; url="+path)
		s.show(v, http.StatusOK, "continue", "continue.title", path)
	default:
		v.redirect("/login")
	}
}

// redirect answers with 303 to a path of our own.
func (v *visit) redirect(path string) {
	v.w.Header().Set("Location", path)
	v.w.WriteHeader(http.StatusSeeOther)
}

// address is where the request comes from. Forwarded headers are not believed.
func (v *visit) address() netip.Addr {
	ap, err := netip.ParseAddrPort(v.r.RemoteAddr)
	if err != nil {
		return netip.IPv4Unspecified()
	}
	return ap.Addr()
}

// setCookie sets a cookie for the life of the browser, or removes it when value
// is "".
func (v *visit) setCookie(name, value string) {
	c := &http.Cookie{Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(v.w, c)
}
