package webui

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/webui/foreign"
)

func TestOthers(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	_, body := b.get("/others")
	shown := visibleText(t, body)
	for _, want := range []string{
		"Other domains", "3 domains", "shop.example", "Must be encrypted: only to the 2 servers that they name",
		"the page with its rules could not be read", "ended", "they do not hold any more", "Being tried out: they name 1 server",
	} {
		if !strings.Contains(strings.ToLower(shown), strings.ToLower(want)) {
			t.Errorf("the list lacks %q:\n%s", want, shown)
		}
	}
	_, body = b.get("/others?q=SHOP&problems=yes")
	if got := s.rules.query; got.Part != "shop" || !got.Trouble || got.Limit != rulesPerPage {
		t.Errorf("asked %+v", got)
	}
	hasNot(t, body, "gone.example", "well.example")
	if !strings.Contains(body, `href="/others/shop.example"`) || !strings.Contains(body, " checked>") {
		t.Errorf("no link, or the choice is forgotten: %s", body)
	}
	_, body = b.get("/others?q=nothing")
	has(t, body, "None of the saved rules fit.")
	s.rules.list = nil
	_, body = b.get("/others")
	has(t, body, "No rules of other domains are saved yet.")
	s.rules.err = errors.New("down")
	res, body := b.get("/others")
	if res.StatusCode != 503 {
		t.Errorf("got %d, want 503", res.StatusCode)
	}
	has(t, body, "The saved rules cannot be shown just now.")
}

// TestOthersPages walks through more domains than fit on a page: each is shown
// once.
func TestOthersPages(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	s.rules.list = nil
	for i := range 120 {
		s.rules.list = append(s.rules.list, Rules{Domain: foreign.Text(fmt.Sprintf("d%03d.example", i)), Mode: "enforce", Read: tuesday, Expires: tuesday.Add(time.Hour)})
	}
	path, seen := "/others?q=example", 0
	for pages := 1; path != ""; pages++ {
		_, body := b.get(path)
		seen += strings.Count(body, `href="/others/d`)
		path = ""
		if i := strings.Index(body, `<a href="/others?after=`); i >= 0 {
			link, _, _ := strings.Cut(body[i+len(`<a href="`):], `"`)
			path = strings.ReplaceAll(link, "&amp;", "&")
		}
		if pages > 4 {
			t.Fatal("the pages do not end")
		}
	}
	if seen != 120 {
		t.Errorf("got %d domains, want 120", seen)
	}
}

func TestOtherRules(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	_, body := b.get("/others/shop.example")
	shown := visibleText(t, body)
	for _, want := range []string{
		"mx1.shop.example", "*.mail.shop.example", "Read again now", "192.0.2.7:443", "TLS 1.3", "R11", "mode: enforce",
		"20260101000000Z", "20261124000000Z", "connection refused", "https://mta-sts.shop.example/.well-known/mta-sts.txt",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("the page lacks %q:\n%s", want, shown)
		}
	}
	for _, path := range []string{"/others/unknown.example", "/others/" + url.PathEscape("<b>.example"), "/others/x", "/others/" + strings.Repeat("a.", 200)} {
		if res, _ := b.get(path); res.StatusCode != 404 {
			t.Errorf("%s: got %d, want 404", path, res.StatusCode)
		}
	}
}

// TestReread: what came of it is said, and only for a domain.
func TestReread(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	for _, c := range []struct {
		answer     Reread
		err        error
		next, says string
	}{
		{Reread{Held: true}, nil, "/others/shop.example", "have not changed"},
		{Reread{Held: true, Changed: true}, nil, "/others/shop.example", "has new rules"},
		{Reread{Held: true, Trouble: "sts-policy-fetch-error"}, nil, "/others/shop.example", "The saved rules stay in force."},
		{Reread{Trouble: "sts-policy-fetch-error"}, nil, "/others", "none are saved that hold"},
		{Reread{}, nil, "/others", "has no rules"},
		{Reread{}, errors.New("down"), "/others", "could not be read again"},
	} {
		s.rules.answer, s.rules.err = c.answer, c.err
		res, _ := b.post("/others/reread", "domain", "shop.example")
		s.rules.err = nil
		if got := res.Header.Get("Location"); res.StatusCode != 303 || got != c.next {
			t.Errorf("%+v: got %d to %q, want %q", c.answer, res.StatusCode, got, c.next)
		}
		_, body := b.get(c.next)
		has(t, body, c.says)
	}
	b.post("/others/reread", "domain", "../x")
	b.post("/others/reread", "domain", "")
	if want := slices.Repeat([]string{"shop.example"}, 6); !slices.Equal(s.rules.asked, want) {
		t.Errorf("asked %v, want %v", s.rules.asked, want)
	}
}

// TestWithoutRules: a box without saved rules to tell has no such pages.
func TestWithoutRules(t *testing.T) {
	s := newOwnedSite(t)
	s.http.Close()
	s.start(func(c *Config) { c.Rules = nil })
	b := s.anna()
	_, body := b.get("/")
	hasNot(t, body, "Other domains")
	if res, _ := b.get("/others"); res.StatusCode != 404 {
		t.Errorf("got %d, want 404", res.StatusCode)
	}
}

// TestCheck: the verdict, each server, and what is wrong with what was typed.
func TestCheck(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	_, body := b.get("/check?domain=shop.example")
	has(t, body, "No mail is sent.")
	if !strings.Contains(body, `value="shop.example"`) || len(s.rules.checked) > 0 {
		t.Errorf("the form is not filled, or a GET has asked %v", s.rules.checked)
	}
	host := func(mx, outcome, protection string) EvidenceHost {
		return EvidenceHost{MX: foreign.Text(mx), Outcome: outcome, Protection: protection, Took: 310 * time.Millisecond}
	}
	good := Attempt{Outcome: "delivered", MX: "mx1.shop.example", Protection: "verified", PolicyMode: "enforce", PolicyMX: []foreign.Text{"mx1.shop.example"}}
	s.rules.result = Checked{Attempt: good, Evidence: &Evidence{
		Route: "mx", DNS: &EvidenceDNS{MX: []EvidenceMX{{Host: "mx1.shop.example"}, {Host: "mx2.shop.example"}}},
		Hosts: []EvidenceHost{host("mx1.shop.example", "delivered", "verified"), host("mx2.shop.example", "held", "encrypted"), host("mx3.shop.example", "deferred", "")},
	}}
	_, body = b.post("/check", "domain", " Anna@SHOP.example. ")
	has(t, body, "Mail to shop.example goes out encrypted and checked.", "Their DNS names 2 mail servers.", "Must be encrypted",
		"mx1.shop.example takes mail encrypted, and its certificate is right.", "310 ms", "mx2.shop.example does not do what the rules ask",
		"mx3.shop.example does not take mail from us just now.", "Their saved rules")
	for _, c := range []struct {
		a    Attempt
		want []string
	}{
		{Attempt{Outcome: "delivered", Protection: "clear"}, []string{"goes out without encryption", "They publish no rules"}},
		{Attempt{Outcome: "delivered", Protection: "encrypted"}, []string{"nobody can check to whom"}},
		{Attempt{Outcome: "held", Reason: "starttls-not-supported", MX: "mx.shop.example"}, []string{"would be held now", "offered no encryption", "Who can fix it"}},
		{Attempt{Outcome: "deferred", Reason: "connect-timeout"}, []string{"would wait now"}},
		{Attempt{Outcome: "returned", Reason: "no-route"}, []string{"would be returned"}},
		{Attempt{}, []string{"The settings of this box say where mail to shop.example goes."}},
	} {
		s.rules.result = Checked{Attempt: c.a}
		_, body = b.post("/check", "domain", "shop.example")
		has(t, body, c.want...)
	}
	asked := len(s.rules.checked)
	for _, bad := range []string{"", "localhost", "a b.example", "http://x.example/", "[192.0.2.1]", strings.Repeat("a.", 200)} {
		_, body = b.post("/check", "domain", bad)
		has(t, body, "Type a domain")
	}
	if len(s.rules.checked) != asked {
		t.Errorf("asked %v", s.rules.checked[asked:])
	}
	s.rules.err = ErrBadDomain
	_, body = b.post("/check", "domain", "a..b")
	has(t, body, "Type a domain")
	s.rules.err = errors.New("down")
	res, body := b.post("/check", "domain", "shop.example")
	has(t, body, "cannot be found out just now")
	if res.StatusCode != 503 {
		t.Errorf("got %d, want 503", res.StatusCode)
	}
}
