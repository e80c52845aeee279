package webui

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// visitor is somebody who makes requests in a certain way.
type visitor struct {
	name string
	edit func(*http.Request)
}

func header(pairs ...string) func(*http.Request) {
	return func(r *http.Request) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i+1] == "" {
				r.Header.Del(pairs[i])
			} else {
				r.Header.Set(pairs[i], pairs[i+1])
			}
		}
	}
}

func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }

// TestEveryRoute walks all routes of all modes, with and without a session,
// under wrong names and with the headers of another site.
func TestEveryRoute(t *testing.T) {
	visitors := []visitor{
		{"plain", nil},
		{"wrong host", host("evil.example")},
		{"wrong host with our address in it", host("192.168.77.50.evil.example")},
		{"cross-site", header("Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example")},
		{"same-site", header("Sec-Fetch-Site", "same-site")},
		{"foreign origin only", header("Sec-Fetch-Site", "", "Origin", "https://evil.example")},
		{"null origin", header("Sec-Fetch-Site", "", "Origin", "null")},
		{"origin of the same name over http", header("Sec-Fetch-Site", "", "Origin", "http://gatepost.local")},
		{"no fetch headers", header("Sec-Fetch-Site", "")},
	}
	checked := 0
	for _, m := range []mode{unclaimed, claimed, lame} {
		for _, withSession := range []bool{false, true} {
			if withSession && m != claimed {
				continue
			}
			s := newOwnedSite(t)
			switch m {
			case unclaimed:
				s = newSite(t, nil)
			case lame:
				s = newSite(t, func(c *Config) { c.Data = nil })
			}
			for _, rt := range routes(m) {
				for _, v := range visitors {
					s.pass(2 * time.Minute) // no pause for wrong codes and passwords
					b := s.browser()
					if withSession {
						b = s.anna()
					}
					path := strings.NewReplacer("{$}", "", "{id}", "m1", "{what}", "restart", "{domain}", "shop.example", "{name}", strings.TrimPrefix(s.srv.assets.CSS, "/assets/")).Replace(rt.pattern)
					res, _ := b.do(rt.method, path, nil, v.edit)
					want := wantStatus(rt, m, v.name, withSession)
					if res.StatusCode != want {
						t.Errorf("mode %d, %s %s, session %v, %s: got %d, want %d", m, rt.method, path, withSession, v.name, res.StatusCode, want)
					}
					checkHeaders(t, res, rt)
					checked++
				}
			}
		}
	}
	t.Logf("%d combinations", checked)
}

func wantStatus(rt route, m mode, visitor string, withSession bool) int {
	post := rt.method == http.MethodPost
	switch {
	case strings.HasPrefix(visitor, "wrong host"):
		return http.StatusMisdirectedRequest
	case post && visitor == "no fetch headers" && withSession:
		return http.StatusForbidden // a browser's cookie without a browser's headers
	case post && visitor != "plain" && visitor != "no fetch headers":
		return http.StatusForbidden
	case rt.pattern == "/assets/{name}":
		return http.StatusOK
	case m == lame:
		return http.StatusServiceUnavailable
	case m == unclaimed && rt.pattern == "/claim":
		if post {
			return http.StatusForbidden // no code
		}
		return http.StatusOK
	case m == unclaimed:
		return http.StatusSeeOther // to /claim
	case rt.pattern == "/login" && withSession && !post:
		return http.StatusSeeOther
	case rt.pattern == "/login" && post:
		return http.StatusForbidden // no password
	case rt.pattern == "/login":
		return http.StatusOK
	case !withSession && post:
		return http.StatusUnauthorized
	case !withSession:
		return http.StatusSeeOther // to /login
	case rt.pattern == "/message/{id}/original" && post, rt.pattern == "/system/try", rt.pattern == "/system/backup", rt.pattern == "/system/end/{what}" && post:
		return http.StatusForbidden // no password
	case rt.pattern == "/system/check":
		return http.StatusOK // changes nothing
	case rt.pattern == "/system/restore":
		return http.StatusUnprocessableEntity // no file
	case rt.pattern == "/check":
		return http.StatusOK // a page with the result, or with the form
	case post:
		return http.StatusSeeOther // done, with a message
	case rt.pattern == "/waiting/return" || rt.pattern == "/waiting/delete":
		return http.StatusNotFound // no message named
	}
	return http.StatusOK
}

func checkHeaders(t *testing.T, res *http.Response, rt route) {
	t.Helper()
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
		"X-Content-Type-Options":       "nosniff",
		"Referrer-Policy":              "no-referrer",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Permissions-Policy":           "camera=(), microphone=(), geolocation=(), clipboard-write=(self)",
		"Strict-Transport-Security":    "",
		"Access-Control-Allow-Origin":  "",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: got %s %q, want %q", rt.pattern, name, got, want)
		}
	}
	want := "no-store"
	if rt.pattern == "/assets/{name}" && res.StatusCode == http.StatusOK {
		want = "public, max-age=31536000, immutable"
	}
	if got := res.Header.Get("Cache-Control"); got != want {
		t.Errorf("%s: got Cache-Control %q, want %q", rt.pattern, got, want)
	}
}

func TestAllowedHost(t *testing.T) {
	s := newSite(t, func(c *Config) {
		c.Hosts = func() []string {
			return []string{"Gatepost.Office.Example.", "192.168.77.50", "fd00::50", "fe80::1%eth0"}
		}
	})
	for name, want := range map[string]bool{
		"gatepost.office.example": true, "GATEPOST.office.example:8443": true, "gatepost.office.example.": true,
		"192.168.77.50": true, "192.168.77.50:443": true, "[fd00::50]": true, "[fd00::50]:443": true, "[::ffff:192.168.77.50]:1": true,
		"localhost": true, "localhost:8443": true, "127.0.0.1:18443": true, "127.9.9.9": true, "[::1]:443": true, "gatepost.local": true,
		"": false, "evil.example": false, "192.168.77.51": false, "localhost.evil.example": false, "0.0.0.0": false, "[::]": false,
		"xgatepost.office.example": false, "gatepost.office.example.evil": false, "192.168.77.50.nip.io": false, ":443": false, "gatepost.office.example@evil": false,
	} {
		if got := s.srv.allowedHost(name); got != want {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
}

// TestUnknownPaths: what is not in the table is not found, with a
// constant page.
func TestUnknownPaths(t *testing.T) {
	b := newOwnedSite(t).anna()
	for _, path := range []string{
		"/nothing", "/claim", "/claim/owner", "/Login", "/assets/", "/assets/x.css", "/assets/..%2f..%2fowner.json",
		"/%3Cscript%3Ealert(1)%3C/script%3E", "/waiting/", "/static/", "/api/v1/",
	} {
		res, body := b.get(path)
		if res.StatusCode != http.StatusNotFound || strings.Contains(body, "alert") {
			t.Errorf("%s: got %d, want 404 that repeats nothing", path, res.StatusCode)
		}
	}
	for _, method := range []string{"PUT", "DELETE", "PATCH", "TRACE", "FOO"} {
		if res, _ := b.do(method, "/waiting", nil, header("Sec-Fetch-Site", "same-origin")); res.StatusCode < 400 {
			t.Errorf("%s: got %d, want a refusal", method, res.StatusCode)
		}
	}
}

func TestBodiesAreBounded(t *testing.T) {
	s := newSite(t, nil)
	if res, _ := s.browser().post("/claim", "code", strings.Repeat("x", maxBody+1)); res.StatusCode == http.StatusSeeOther {
		t.Errorf("got %d, want a refusal", res.StatusCode)
	}
}

// TestCrossSiteVisitContinues: a link from another site arrives without the
// cookie; the answer goes on by itself, with nothing in it.
func TestCrossSiteVisitContinues(t *testing.T) {
	s := newOwnedSite(t)
	for path, want := range map[string]string{
		"/": "0; url=/", "/waiting?group=0123456789abcdef": "0; url=/waiting",
		"/find?q=a@b.example": "0; url=/find", "/message/m1?try=1": "0; url=/message/m1", "/message/m1%22": "0; url=/", "/message/m1/original": "0; url=/",
	} {
		res, body := s.browser().do("GET", path, nil, header("Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"))
		if got := res.Header.Get("Refresh"); res.StatusCode != 200 || got != want || strings.Contains(body, "example") {
			t.Errorf("%s: got %d with Refresh %q, want 200 with %q and no data", path, res.StatusCode, got, want)
		}
	}
}

// TestTablesAreWhole: every right is known, nothing but reading is open once
// the box has an owner, and no GET has a handler that changes something.
func TestTablesAreWhole(t *testing.T) {
	for _, m := range []mode{unclaimed, claimed, lame} {
		seen := map[string]bool{}
		for _, rt := range routes(m) {
			key := rt.method + " " + rt.pattern
			if seen[key] || rt.handle == nil {
				t.Errorf("mode %d: %s is there twice or does nothing", m, key)
			}
			seen[key] = true
			if !slices.Contains([]right{open, look, retry, act, mail, settings}, rt.right) {
				t.Errorf("%s: the right %q is not known", key, rt.right)
			}
			if m == claimed && rt.right == open && rt.pattern != "/login" && rt.pattern != "/assets/{name}" {
				t.Errorf("%s is open to everyone", key)
			}
			if m == lame && rt.method != http.MethodGet {
				t.Errorf("%s changes something although nobody can log in", key)
			}
		}
	}
	if got := fmt.Sprint(rightsOf("Anna")); got != "[look retry act mail settings]" {
		t.Errorf("got rights %s, want [look retry act mail settings]", got)
	}
}
