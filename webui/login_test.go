package webui

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestLogin(t *testing.T) {
	s := newOwnedSite(t)
	b := s.browser()
	if res, _ := b.get("/"); res.Header.Get("Location") != "/login" {
		t.Errorf("got %d %q, want a redirect to /login", res.StatusCode, res.Header.Get("Location"))
	}
	if _, body := b.get("/login"); strings.Contains(body, "Anna") || strings.Contains(body, "office.example") {
		t.Error("the login page shows who or where")
	}
	wrongName, bodyName := b.post("/login", "name", "Bert", "password", goodPassword)
	s.pass(time.Minute)
	wrongPassword, bodyPassword := b.post("/login", "name", "Anna", "password", "four quiet herons at dusk")
	s.pass(time.Minute)
	if wrongName.StatusCode != 403 || wrongPassword.StatusCode != 403 {
		t.Errorf("got %d and %d, want 403 twice", wrongName.StatusCode, wrongPassword.StatusCode)
	}
	if a, c := strings.ReplaceAll(bodyName, "Bert", "Anna"), bodyPassword; a != c {
		t.Error("a wrong name and a wrong password look different")
	}
	if !strings.Contains(visibleText(t, bodyName), "Name or password is not right.") || strings.Contains(bodyPassword, "dusk") {
		t.Errorf("got %q", visibleText(t, bodyName))
	}
	res, _ := b.post("/login", "name", " anna", "password", goodPassword)
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/" {
		t.Fatalf("got %d, want a redirect to /", res.StatusCode)
	}
	checkCookie(t, res, sessionCookie)
	if res, _ := b.get("/waiting"); res.StatusCode != 200 {
		t.Errorf("logged in: got %d, want 200", res.StatusCode)
	}
	if res, _ := b.get("/login"); res.Header.Get("Location") != "/" {
		t.Errorf("/login with a session: got %d, want a redirect", res.StatusCode)
	}
}

func TestLoginMakesANewToken(t *testing.T) {
	s := newOwnedSite(t)
	b := s.browser()
	token := func() string {
		res, _ := b.post("/login", "name", "Anna", "password", goodPassword)
		for _, c := range res.Cookies() {
			if c.Name == sessionCookie {
				return c.Value
			}
		}
		t.Fatal("no cookie")
		return ""
	}
	first, second := token(), token()
	if first == second || len(first) < 43 {
		t.Errorf("got tokens %q and %q, want two long ones", first, second)
	}
	if _, ok := s.srv.sessions.Find(first); ok {
		t.Error("the old session lives on")
	}
}

func TestLogoutEndsTheSessionOnTheBox(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	at, _ := url.Parse(s.http.URL)
	token := b.c.Jar.Cookies(at)[0].Value
	res, _ := b.post("/logout")
	if res.Header.Get("Location") != "/login?out" {
		t.Fatalf("got %d %q", res.StatusCode, res.Header.Get("Location"))
	}
	if _, ok := s.srv.sessions.Find(token); ok {
		t.Error("the session lives on")
	}
	if _, body := b.get("/login?out"); !strings.Contains(visibleText(t, body), "You are logged out.") {
		t.Errorf("got %q", visibleText(t, body))
	}
	b.c.Jar.SetCookies(at, []*http.Cookie{{Name: sessionCookie, Value: token, Path: "/", Secure: true}})
	if res, _ := b.get("/"); res.Header.Get("Location") != "/login" {
		t.Errorf("the old cookie: got %d, want a redirect to /login", res.StatusCode)
	}
}

func TestSessionEndsWhenIdle(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	s.pass(59 * time.Minute)
	if res, _ := b.get("/"); res.StatusCode != 200 {
		t.Fatalf("after 59 minutes: got %d, want 200", res.StatusCode)
	}
	s.pass(61 * time.Minute)
	if res, _ := b.get("/"); res.Header.Get("Location") != "/login" {
		t.Errorf("after 61 idle minutes: got %d, want a redirect to /login", res.StatusCode)
	}
}

func TestLoginSlowsDown(t *testing.T) {
	s := newOwnedSite(t)
	b := s.browser()
	for range 3 {
		res, _ := b.post("/login", "name", "Anna", "password", "wrong wrong wrong")
		if res.StatusCode != 403 {
			t.Fatalf("got %d, want 403", res.StatusCode)
		}
		s.pass(4 * time.Second)
	}
	b.post("/login", "name", "Anna", "password", "wrong wrong wrong")
	res, body := b.post("/login", "name", "Anna", "password", goodPassword)
	if res.StatusCode != 429 || res.Header.Get("Retry-After") != "8" || !strings.Contains(visibleText(t, body), "Try again in 8 seconds.") {
		t.Errorf("got %d, Retry-After %q: %q", res.StatusCode, res.Header.Get("Retry-After"), visibleText(t, body))
	}
	s.pass(8 * time.Second)
	if res, _ := b.post("/login", "name", "Anna", "password", goodPassword); res.StatusCode != 303 {
		t.Errorf("after the wait: got %d, want 303", res.StatusCode)
	}
	if res, _ := b.post("/login", "name", "Anna", "password", goodPassword); res.StatusCode != 303 {
		t.Errorf("right again at once: got %d, want 303", res.StatusCode)
	}
}
