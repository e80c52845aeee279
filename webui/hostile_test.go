package webui

import (
	"net/url"
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
	m := Message{ID: "m1", From: f, To: f, Domain: f, Subject: f, Size: 1, Received: at, Next: tuesday.Add(1e12), Deadline: tuesday.Add(1e14), Tries: 1, Last: a}
	unknown, paused, pending := m, m, m
	unknown.Last.Outcome, unknown.Last.Reason = "deferred", text
	paused.ID, paused.Paused = "m2", &Paused{What: "domain", By: f, Since: at}
	pending.ID, pending.Pending = "m3", &Pending{ID: "a1", Kind: "return", By: f, Until: tuesday.Add(1e10)}
	s.back.list = []Message{m, unknown, paused, pending}
	all := map[string]string{"count": text, "percent": text, "domain": text, "error": text, "since": text, text: text}
	s.back.home = Home{
		Hostname: text, Level: Level(text), Light: text, Box: &Box{Version: text, Started: at, Address: text}, Queue: &Queue{Held: 1, Oldest: at},
		Problems: []Problem{{ID: "held-mail", Level: LevelLook, Params: all}, {ID: "config-broken-default", Level: LevelBroken, Params: all}, {ID: text, Level: Level(text), Params: all}},
	}
	hostileQueue(s.queue, m, text)
	r := Rules{
		Domain: "shop.example", Mode: text, MX: list, ID: f, Read: at, Expires: tuesday.Add(1e14), Used: at, Next: at, Trouble: "sts-policy-invalid", Detail: f,
		SeenID: f + "x", Body: f, Addr: f, TLSVersion: text, Cipher: text, CertNames: list, CertIssuer: f, CertNotAfter: at,
	}
	odd := r
	odd.Domain, odd.Trouble, odd.Ended = f+"/", text, true // no name: it has no page
	s.rules.list = []Rules{odd, r}
	pages := map[string]string{}
	for _, path := range []string{
		"/", "/waiting", "/waiting?group=" + groupID(m), "/waiting/return?group=" + groupID(m), "/waiting/delete?id=m2",
		"/find?q=" + url.QueryEscape("abc"), "/others", "/others/shop.example", "/message/m1", "/message/m2", "/message/m9",
	} {
		res, body := b.get(path)
		if res.StatusCode != 200 {
			t.Fatalf("%s with %.40q: got %d, want 200", path, text, res.StatusCode)
		}
		path, _, _ = strings.Cut(path, "=")
		pages[path] = body
	}
	s.rules.result = Checked{Domain: f + "/", Attempt: a, Evidence: s.queue.details["m1"].History[0].Evidence}
	_, pages["/check"] = b.post("/check", "domain", "shop.example")
	// The words of what was done name the domain.
	s.back.list = []Message{m}
	b.post("/waiting/pause", "group", groupID(m))
	_, pages["/waiting after a pause"] = b.get("/waiting?page=2")
	s.queue.pauses = nil
	return pages
}

// hostileQueue puts text in every place of a QueueBackend's answers.
func hostileQueue(q *fakeQueue, m Message, text string) {
	f, at := foreign.Text(text), tuesday.Add(-1)
	list := []foreign.Text{f, f, f}
	host := EvidenceHost{
		Time: at, Took: 1e9, MX: f, Addr: f, Reused: true, Pattern: f, Protection: text, TLSVersion: text, Cipher: text,
		Chain:   []Certificate{{Subject: f, Names: list, Issuer: f, NotBefore: at, NotAfter: at, SHA256: text}},
		Outcome: text, Reason: text, Rule: text, Code: 550, Enhanced: f, Reply: f, Detail: f,
	}
	e := &Evidence{
		Route: text, DNS: &EvidenceDNS{MX: []EvidenceMX{{Host: f, Pref: 1}}, More: 1, Implicit: true, Null: true, Error: f, Security: text},
		Hosts: []EvidenceHost{host, host},
	}
	rows := []AttemptRow{{To: f, Attempt: m.Last, Evidence: e}, {To: "b@" + f, Attempt: m.Last}}
	gone := m.Last
	gone.Outcome, gone.Protection = "delivered", "verified"
	open := Detail{Open: []Message{m, m}, Client: f, Hello: f, TLS: text, User: f, TraceID: text, RequireTLS: true, History: rows}
	paused := open
	paused.Open = []Message{{ID: "m2", From: f, To: f, Domain: f, Subject: f, Last: m.Last, Paused: &Paused{What: "message", By: f, Since: at}}}
	q.details = map[string]Detail{
		"m1": open, "m2": paused,
		"m9": {History: []AttemptRow{{To: f, Attempt: gone}, {To: "b@" + f, Attempt: m.Last}}, Ended: &Ended{Time: at, Kind: "removed", By: f}},
	}
	q.pauses = []PauseRow{
		{Target{All: true}, Paused{What: "all", By: f, Since: at}}, {Target{Domain: text + ".elsewhere"}, Paused{What: "domain", By: f, Since: at}},
	}
	q.pending = []PendingRow{{Pending{ID: "a1", Kind: text, By: f, Until: tuesday.Add(1e10)}, 1}}
	q.lost = []LostMail{{Time: at, ID: "m9", To: f, Subject: f}}
	q.found = Found{Waiting: []Message{m}, Past: []PastRow{{ID: "m9", From: f, To: f, Attempt: m.Last}, {ID: "m9", From: f, To: f, Attempt: gone}}, Next: 7}
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

// TestHostileIDs: ids come from the box itself. One that is not URL-safe leads
// nowhere and is shown as text.
func TestHostileIDs(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	show := func(id string) []string {
		m := sampleWaiting()[0]
		m.ID, m.Pending = id, nil
		s.back.list = []Message{m}
		s.queue.lost = []LostMail{{Time: tuesday, ID: id, To: "x@y.example"}}
		s.queue.pending = []PendingRow{{Pending{ID: id, Kind: "delete", Until: tuesday.Add(1e10)}, 1}}
		_, body := b.get("/waiting")
		return shape(t, body)
	}
	want := strings.Join(show("not an id"), "\n")
	for _, p := range payloads() {
		if goodID.MatchString(p) {
			continue
		}
		if got := strings.Join(show(p), "\n"); got != want {
			t.Errorf("%.60q: the page changes", p)
		}
		for _, path := range []string{"/message/", "/waiting/return?id=", "/waiting/delete?group="} {
			res, body := b.get(path + url.QueryEscape(p))
			if res.StatusCode != 404 && res.StatusCode != 301 && res.StatusCode != 307 || strings.Contains(body, "alert") {
				t.Errorf("%s%.60q: got %d, want 404 that repeats nothing", path, p, res.StatusCode)
			}
		}
	}
}

// TestHostileSearch: what is searched for comes back as text, in the field and
// in the link to older tries.
func TestHostileSearch(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	s.queue.found.Next = 9
	_, plain := b.get("/find?q=harmless")
	s.queue.found.Past = []PastRow{{ID: "m1", To: "x@y.example", Attempt: Attempt{Outcome: "delivered"}}}
	_, rows := b.get("/find?q=harmless")
	for _, p := range payloads() {
		res, page := b.get("/find?q=" + url.QueryEscape(p))
		if res.StatusCode != 200 {
			t.Errorf("%.60q: got %d, want 200", p, res.StatusCode)
		}
		if strings.Contains(page, `role="alert"`) {
			continue // too long, too short or no text
		}
		if got := strings.Join(shape(t, page), "\n"); got != strings.Join(shape(t, rows), "\n") {
			t.Errorf("%.60q: the page changes", p)
		}
	}
	if strings.Contains(plain, `href="/find?`) {
		t.Error("a link to older tries without a try")
	}
}
