package webui

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/webui/session"
)

func TestClaimFlow(t *testing.T) {
	s := newSite(t, nil)
	if len(s.code) != 11 || s.srv.Claimed() {
		t.Fatalf("got code %q and claimed %v, want a code", s.code, s.srv.Claimed())
	}
	b := s.browser()
	if res, _ := b.get("/"); res.Header.Get("Location") != "/claim" {
		t.Errorf("got %d %q, want a redirect to /claim", res.StatusCode, res.Header.Get("Location"))
	}
	res, body := b.get("/claim")
	got := visibleText(t, body)
	for _, want := range []string{"This box has no owner yet", "maple-river-otter-seven", "3F:9A:00:11"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
	for _, secret := range []string{s.code, strings.ReplaceAll(s.code, "-", ""), "office.example", "0.1.0"} {
		if strings.Contains(body, secret) {
			t.Errorf("the page before the claim shows %q", secret)
		}
	}
	if res.Header.Get("Set-Cookie") != "" {
		t.Error("a cookie before the code")
	}
	if res, _ := b.get("/claim/owner"); res.Header.Get("Location") != "/claim" {
		t.Errorf("without the code: got %d, want a redirect to /claim", res.StatusCode)
	}
	if res, _ := b.post("/claim/owner", "name", "Eve", "password", goodPassword, "repeat", goodPassword); res.Header.Get("Location") != "/claim" || s.srv.Claimed() {
		t.Errorf("without the code: got %d, claimed %v", res.StatusCode, s.srv.Claimed())
	}
	if res, body := b.post("/claim", "code", "WRONG"); res.StatusCode != 403 || !strings.Contains(visibleText(t, body), "That code is not right. 4 tries left, then wait 1 minute.") {
		t.Errorf("got %d %q", res.StatusCode, visibleText(t, body))
	}
	res, _ = b.post("/claim", "code", strings.ToLower(strings.ReplaceAll(s.code, "-", " ")))
	if res.Header.Get("Location") != "/claim/owner" {
		t.Fatalf("got %d %q, want the next step", res.StatusCode, res.Header.Get("Location"))
	}
	checkCookie(t, res, ticketCookie)
	if _, body := b.get("/claim/owner"); !strings.Contains(visibleText(t, body), "Your name and password") {
		t.Error("no form for name and password")
	}
	// Another browser does not profit from the ticket.
	if res, _ := s.browser().post("/claim/owner", "name", "Eve", "password", goodPassword, "repeat", goodPassword); res.Header.Get("Location") != "/claim" {
		t.Errorf("another browser: got %d, want a redirect to /claim", res.StatusCode)
	}
	for _, c := range []struct{ name, password, repeat, want string }{
		{"", goodPassword, goodPassword, "Type a name of 1 to 60 characters."},
		{"A\u202eB", goodPassword, goodPassword, "Type a name of 1 to 60 characters."},
		{strings.Repeat("A", 61), goodPassword, goodPassword, "Type a name of 1 to 60 characters."},
		{"Anna", "short", "short", "The password needs at least 12 characters."},
		{"Anna", "password1234", "password1234", "That password is easy to guess. Take another one."},
		{"Anna", goodPassword, goodPassword + "x", "The two passwords are not the same."},
		{"Anna", strings.Repeat("ab cd ", 50), "", "The password can have at most 256 characters."},
	} {
		res, body := b.post("/claim/owner", "name", c.name, "password", c.password, "repeat", c.repeat)
		if res.StatusCode != 422 || !strings.Contains(visibleText(t, body), c.want) || strings.Contains(body, c.password) {
			t.Errorf("%q %q: got %d %q, want %q and no password", c.name, c.password, res.StatusCode, visibleText(t, body), c.want)
		}
	}
	res, _ = b.post("/claim/owner", "name", " Anna ", "password", goodPassword, "repeat", goodPassword)
	if res.Header.Get("Location") != "/" || !s.srv.Claimed() {
		t.Fatalf("got %d %q, want the box claimed", res.StatusCode, res.Header.Get("Location"))
	}
	checkCookie(t, res, sessionCookie)
	if _, body := b.get("/"); !strings.Contains(visibleText(t, body), "Logged in as Anna") {
		t.Errorf("got %q, want Anna logged in", visibleText(t, body))
	}
	for _, path := range []string{"/claim", "/claim/owner"} {
		if res, _ := b.get(path); res.StatusCode != 404 {
			t.Errorf("%s after the claim: got %d, want 404", path, res.StatusCode)
		}
		if res, _ := b.post(path, "code", s.code); res.StatusCode != 404 {
			t.Errorf("POST %s after the claim: got %d, want 404", path, res.StatusCode)
		}
	}
	// The next start knows the owner and makes no code.
	s.start(nil)
	if s.code != "" || !s.srv.Claimed() {
		t.Errorf("after a restart: got code %q, claimed %v", s.code, s.srv.Claimed())
	}
	if res, _ := s.browser().get("/claim"); res.StatusCode != 404 {
		t.Errorf("/claim after a restart: got %d, want 404", res.StatusCode)
	}
	b = s.browser()
	if res, _ := b.post("/login", "name", "anna", "password", goodPassword); res.Header.Get("Location") != "/" {
		t.Errorf("login after a restart: got %d", res.StatusCode)
	}
}

// TestClaimByTheButton holds the button: the first browser that asks is let in
// without the code, and no other.
func TestClaimByTheButton(t *testing.T) {
	press := 0
	s := newSite(t, func(c *Config) { c.Press = func() (int, bool) { return press, true } })
	b := s.browser()
	_, body := b.get("/claim")
	if got := visibleText(t, body); !strings.Contains(got, "Or hold the button on the box") || strings.Contains(got, "Continue without a code") {
		t.Errorf("before the press: got %q", got)
	}
	if res, body := b.post("/claim", "press", "yes"); res.StatusCode != 403 || !strings.Contains(visibleText(t, body), "The minute of the button is over.") {
		t.Errorf("without a press: got %d %q", res.StatusCode, visibleText(t, body))
	}
	press = 1
	if _, body := b.get("/claim"); !strings.Contains(visibleText(t, body), "Continue without a code") {
		t.Error("after the press: no way without the code")
	}
	res, _ := b.post("/claim", "press", "yes")
	if res.Header.Get("Location") != "/claim/owner" {
		t.Fatalf("the first browser: got %d", res.StatusCode)
	}
	checkCookie(t, res, ticketCookie)
	other := s.browser()
	if res, body := other.post("/claim", "press", "yes"); res.StatusCode != 403 || !strings.Contains(visibleText(t, body), "Another browser is claiming this box just now.") {
		t.Errorf("the second browser: got %d %q", res.StatusCode, visibleText(t, body))
	}
	press = 0
	if _, body := b.get("/claim/owner"); !strings.Contains(visibleText(t, body), "Your name and password") {
		t.Error("the first browser cannot go on after the minute")
	}
	press = 2 // the next press is for the next browser, whose ticket ends the first
	if res, _ := other.post("/claim", "press", "yes"); res.Header.Get("Location") != "/claim/owner" {
		t.Errorf("after another press: got %d", res.StatusCode)
	}
	if res, _ := b.get("/claim/owner"); res.Header.Get("Location") != "/claim" {
		t.Errorf("the browser of the press before: got %d, want a redirect to /claim", res.StatusCode)
	}
	if res, _ := s.browser().get("/claim/owner"); res.Header.Get("Location") != "/claim" || s.srv.Claimed() {
		t.Errorf("a browser without a ticket: got %d", res.StatusCode)
	}
}

func checkCookie(t *testing.T, res *http.Response, name string) {
	t.Helper()
	for _, c := range res.Cookies() {
		if c.Name == name && c.Value != "" {
			if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 0 || !c.Expires.IsZero() {
				t.Errorf("got cookie %q, want Secure, HttpOnly, SameSite=Strict, Path=/ and nothing else", c.Raw)
			}
			return
		}
	}
	t.Errorf("no cookie %s", name)
}

func TestCodeIsNewAtEveryStart(t *testing.T) {
	s := newSite(t, nil)
	first := s.code
	s.start(nil)
	if s.code == first || s.code == "" {
		t.Errorf("got %q after %q, want a new code", s.code, first)
	}
	if res, _ := s.browser().post("/claim", "code", first); res.StatusCode != 403 {
		t.Errorf("the old code: got %d, want 403", res.StatusCode)
	}
}

func TestClaimTriesAreLimited(t *testing.T) {
	s := newSite(t, nil)
	for range session.ClaimTries {
		s.browser().post("/claim", "code", "AAAAA-AAAAA")
	}
	res, body := s.browser().post("/claim", "code", s.code)
	if res.StatusCode != 429 || res.Header.Get("Retry-After") != "60" || !strings.Contains(visibleText(t, body), "Wait 60 seconds") {
		t.Errorf("got %d, Retry-After %q, %q", res.StatusCode, res.Header.Get("Retry-After"), visibleText(t, body))
	}
	s.pass(time.Minute)
	if res, _ := s.browser().post("/claim", "code", s.code); res.Header.Get("Location") != "/claim/owner" {
		t.Errorf("after the pause: got %d, want the next step", res.StatusCode)
	}
}

// TestTwoClaimAtOnce: both have the code; one becomes the owner, whole.
func TestTwoClaimAtOnce(t *testing.T) {
	s := newSite(t, nil)
	b := s.browser()
	b.post("/claim", "code", s.code)
	var wg sync.WaitGroup
	for _, name := range []string{"Anna", "Bert"} {
		wg.Go(func() { b.post("/claim/owner", "name", name, "password", goodPassword, "repeat", goodPassword) })
	}
	wg.Wait()
	o, err := session.LoadOwner(s.dir)
	if err != nil || !s.srv.Claimed() {
		t.Fatalf("got %v, claimed %v", err, s.srv.Claimed())
	}
	if got := s.srv.owner.Load().Name; got != o.Name {
		t.Errorf("got owner %q in memory and %q on disk", got, o.Name)
	}
}

// TestUnreadableOwner: a record that is there but cannot be read neither opens
// the box to a new owner nor hides that something is wrong.
func TestUnreadableOwner(t *testing.T) {
	s := newSite(t, nil)
	f, err := s.dir.Create("owner.json")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	s.start(nil)
	b := s.browser()
	res, body := b.get("/")
	if res.StatusCode != 503 || !strings.Contains(visibleText(t, body), "The record of this box's owner cannot be read") || s.code != "" {
		t.Errorf("got %d, code %q, %q", res.StatusCode, s.code, visibleText(t, body))
	}
	for _, path := range []string{"/claim", "/login", "/waiting"} {
		if res, _ := b.get(path); res.StatusCode != 404 {
			t.Errorf("%s: got %d, want 404", path, res.StatusCode)
		}
	}
}

// TestMissingStorage: without a data disk the page says so, and nothing else.
func TestMissingStorage(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Data = nil })
	res, body := s.browser().get("/")
	got := visibleText(t, body)
	if res.StatusCode != 503 || !strings.Contains(got, "The box has no data disk, so it takes no mail.") || !strings.Contains(got, "Who can fix it: you.") {
		t.Errorf("got %d %q", res.StatusCode, got)
	}
	for _, secret := range []string{"office.example", "wrongname", "0.1.0", "192.168", "<form", "412"} {
		if strings.Contains(body, secret) {
			t.Errorf("the page shows %q to everyone", secret)
		}
	}
	s.back.home.Problems = []Problem{{ID: "storage-failed", Level: LevelBroken, Params: map[string]string{"error": "sda1 at 192.168.1.1"}}}
	if _, body := s.browser().get("/"); !strings.Contains(visibleText(t, body), "cannot be read or written") || strings.Contains(body, "sda1") {
		t.Errorf("got %q, want storage-failed without details", visibleText(t, body))
	}
}

// TestClaimNeedsADisk: an owner that cannot be saved is no owner.
func TestClaimNeedsADisk(t *testing.T) {
	s := newSite(t, nil)
	if err := s.dir.Mkdir("owner.json.new", 0o700); err != nil { // in the way of the temporary file
		t.Fatal(err)
	}
	b := s.browser()
	b.post("/claim", "code", s.code)
	res, body := b.post("/claim/owner", "name", "Anna", "password", goodPassword, "repeat", goodPassword)
	if res.StatusCode != 507 || s.srv.Claimed() || !strings.Contains(visibleText(t, body), "could not be saved on the data disk") {
		t.Errorf("got %d, claimed %v, %q", res.StatusCode, s.srv.Claimed(), visibleText(t, body))
	}
	if _, err := session.LoadOwner(s.dir); !errors.Is(err, session.ErrNoOwner) {
		t.Errorf("got %v, want no owner", err)
	}
}

func TestPlainHTTPIsRefused(t *testing.T) {
	s := newSite(t, nil)
	res, err := http.Get("http://" + strings.TrimPrefix(s.http.URL, "https://") + "/claim")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 400 {
		t.Errorf("got %d, want 400", res.StatusCode)
	}
}
