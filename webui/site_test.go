package webui

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"

	"gatepost/webui/foreign"
	"gatepost/webui/session"
)

// fake is a Backend of fixed answers.
type fake struct {
	mu      sync.Mutex
	home    Home
	list    []Message
	err     error
	retried []string
}

func (f *fake) Home(context.Context) (Home, error)         { return f.home, f.err }
func (f *fake) Waiting(context.Context) ([]Message, error) { return f.list, f.err }
func (f *fake) Retry(_ context.Context, ids []string) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.retried = append(f.retried, ids...)
	return len(ids), f.err
}

// tuesday is the time at which the tests' pages are made, unless they move it.
var tuesday = time.Date(2026, 11, 24, 9, 41, 0, 0, time.UTC)

const goodPassword = "four quiet herons at noon"

// site is a running page with a browser in front of it.
type site struct {
	t      *testing.T
	srv    *Server
	http   *httptest.Server
	back   *fake
	queue  *fakeQueue
	rules  *fakeRules
	system *fakeSystem
	dir    *os.Root
	code   string
	now    time.Time
	mu     sync.Mutex
}

func (s *site) clock() time.Time { s.mu.Lock(); defer s.mu.Unlock(); return s.now }

func (s *site) pass(d time.Duration) { s.mu.Lock(); defer s.mu.Unlock(); s.now = s.now.Add(d) }

// newSite starts a page whose data directory is new, or missing with noData.
func newSite(t *testing.T, edit func(*Config)) *site {
	t.Helper()
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	s := &site{t: t, back: &fake{home: sampleHome(), list: sampleWaiting()}, dir: dir, now: tuesday}
	s.queue = &fakeQueue{back: s.back, now: s.clock}
	s.system = &fakeSystem{now: Settings{Text: "version = 1\nhostname = \"gate.office.example\"\n", Hash: "ab12", Use: "file"}}
	s.rules = &fakeRules{list: sampleRules()}
	s.start(edit)
	return s
}

// start starts the page, or starts it again over the same directory.
func (s *site) start(edit func(*Config)) {
	s.t.Helper()
	s.code = ""
	cfg := Config{
		Backend: s.back, Queue: s.queue, Rules: s.rules, System: s.system, Data: s.dir, Now: s.clock,
		ShowCode:    func(code string) { s.code = code },
		Hosts:       func() []string { return []string{"gatepost.office.example", "192.168.77.50"} },
		Certificate: func() (string, string) { return "3F:9A:00:11", "maple-river-otter-seven" },
	}
	if edit != nil {
		edit(&cfg)
	}
	srv, err := New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.srv = srv
	s.http = httptest.NewUnstartedServer(srv.Handler())
	s.http.EnableHTTP2 = true
	s.http.StartTLS()
	s.t.Cleanup(s.http.Close)
}

// browser is a client with cookies that sends what browsers send and follows
// no redirect.
type browser struct {
	t    *testing.T
	base string
	c    *http.Client
}

func (s *site) browser() *browser {
	jar, _ := cookiejar.New(nil)
	c := s.http.Client()
	return &browser{t: s.t, base: s.http.URL, c: &http.Client{
		Transport: c.Transport, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (b *browser) do(method, path string, form url.Values, edit func(*http.Request)) (*http.Response, string) {
	b.t.Helper()
	req, err := http.NewRequest(method, b.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	if edit != nil {
		edit(req)
	}
	res, err := b.c.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res, string(body)
}

func (b *browser) get(path string) (*http.Response, string) { return b.do("GET", path, nil, nil) }

func (b *browser) post(path string, pairs ...string) (*http.Response, string) {
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return b.do("POST", path, form, nil)
}

// claim makes this browser's person the owner.
func (s *site) claim(b *browser) {
	s.t.Helper()
	if res, _ := b.post("/claim", "code", s.code); res.Header.Get("Location") != "/claim/owner" {
		s.t.Fatalf("code: got %d %q, want a redirect to /claim/owner", res.StatusCode, res.Header.Get("Location"))
	}
	if res, body := b.post("/claim/owner", "name", "Anna", "password", goodPassword, "repeat", goodPassword); res.Header.Get("Location") != "/" {
		s.t.Fatalf("owner: got %d, want a redirect to /\n%s", res.StatusCode, visibleText(s.t, body))
	}
}

// goodHash is the hash of goodPassword, made once.
var goodHash = sync.OnceValue(func() string {
	hash, err := session.NewHasher().Hash(context.Background(), goodPassword)
	if err != nil {
		panic(err)
	}
	return hash
})

// newOwnedSite starts a page whose box belongs to Anna.
func newOwnedSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t, nil)
	if err := session.CreateOwner(s.dir, session.Owner{Name: "Anna", Password: goodHash()}); err != nil {
		t.Fatal(err)
	}
	s.http.Close()
	s.start(nil)
	return s
}

// anna is a browser in which Anna is logged in.
func (s *site) anna() *browser {
	b := s.browser()
	at, _ := url.Parse(s.http.URL)
	b.c.Jar.SetCookies(at, []*http.Cookie{{Name: sessionCookie, Value: s.srv.sessions.Begin("Anna", "127.0.0.1"), Path: "/", Secure: true}})
	return b
}

var spaces = regexp.MustCompile(`\s+`)

// visibleText is what a person reads on a page.
func visibleText(t *testing.T, page string) string {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	var walk func(*html.Node)
	walk = func(n *html.Node) {
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
		}
		if n.Type == html.ElementNode && n.Data == "head" {
			return
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
		switch n.Data {
		case "p", "li", "dt", "dd", "h1", "h2", "div", "td", "th", "summary", "button":
			b.WriteString(" ")
		}
	}
	walk(doc)
	return strings.TrimSpace(spaces.ReplaceAllString(b.String(), " "))
}

func sampleHome() Home {
	return Home{
		Hostname: "gatepost.office.example", Level: LevelLook, Light: "held",
		Problems:   []Problem{{ID: "held-mail", Level: LevelLook, Params: map[string]string{"count": "3", "domain": "wrongname.example"}}},
		Traffic:    &Traffic{LastIn: tuesday.Add(-2 * time.Minute), LastOut: tuesday.Add(-time.Minute), InToday: 425, OutToday: 412},
		Queue:      &Queue{Held: 3, Waiting: 5, Oldest: tuesday.Add(-20 * time.Hour)},
		Protection: &Protection{Verified: 396, Encrypted: 16},
		Box:        &Box{Version: "0.1.0", Started: tuesday.Add(-50 * time.Hour), DiskPercent: 12, ClockTrusted: true, Address: "192.168.77.50"},
	}
}

func sampleWaiting() []Message {
	var list []Message
	add := func(id, to string, domain foreign.Text, subject string, age time.Duration, tries int, a Attempt) {
		a.Time = tuesday.Add(-10 * time.Minute)
		list = append(list, Message{
			ID: id, From: "bob@office.example", To: foreign.Text(to), Domain: domain, Subject: foreign.Text(subject), Size: 240_000,
			Received: tuesday.Add(-age), Next: tuesday.Add(14 * time.Minute), Deadline: tuesday.Add(76 * time.Hour), Tries: tries, Last: a,
		})
	}
	wrong := Attempt{
		Outcome: "held", Reason: "certificate-host-mismatch", Rule: "RFC 8461, Section 4.1", MX: "mx.wrongname.example", Addr: "203.0.113.12",
		Protection: "encrypted", TLSVersion: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256",
		CertNames: []foreign.Text{"mail.hoster.example", "www.hoster.example"}, CertIssuer: "Lab CA", CertNotAfter: tuesday.Add(2000 * time.Hour),
		PolicyMode: "enforce", PolicyID: "20261101T000000", PolicyFetched: tuesday.Add(-31 * time.Hour), PolicyExpires: tuesday.Add(300 * time.Hour),
		PolicyMX: []foreign.Text{"mx.wrongname.example"}, MXTried: 1, Detail: "x509: certificate is valid for mail.hoster.example",
	}
	add("m1", "anna@wrongname.example", "wrongname.example", "Invoice 2211", 20*time.Hour, 9, wrong)
	add("m2", "eve@wrongname.example", "wrongname.example", "Re: Invoice 2211", 3*time.Hour, 4, wrong)
	add("m3", "anna@wrongname.example", "wrongname.example", "", time.Hour, 2, wrong)
	add("m4", "carl@expired.example", "expired.example", "Offer", 2*time.Hour, 3, Attempt{
		Outcome: "held", Reason: "certificate-expired", MX: "mx.expired.example", CertNotAfter: tuesday.Add(-90 * time.Hour), MXTried: 1,
	})
	add("m5", "info@gmx.example", "gmx.example", "Question", 5*time.Minute, 1, Attempt{
		Outcome: "deferred", Reason: "greylisted", MX: "mx1.gmx.example", Code: 451, Enhanced: "4.7.1", Reply: "Greylisted, see you in 5 minutes", MXTried: 1,
	})
	add("m6", "x@down.example", "down.example", "Hello", 8*time.Hour, 6, Attempt{
		Outcome: "deferred", Reason: "connect-timeout", MX: "mx.down.example", MXTried: 2, Detail: "dial tcp: i/o timeout",
		PolicyNote: "sts-policy-fetch-error", PolicyFetched: tuesday.Add(-80 * time.Hour),
	})
	list = append(list, Message{ID: "m7", To: "new@good.example", Domain: "good.example", Size: 1800, Received: tuesday.Add(-time.Second), Next: tuesday, Deadline: tuesday.Add(100 * time.Hour)})
	return list
}
