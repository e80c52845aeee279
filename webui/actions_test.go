package webui

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"gatepost/webui/foreign"
)

// hasNot fails when a page says one of these.
func hasNot(t *testing.T, page string, no ...string) {
	t.Helper()
	got := visibleText(t, page)
	for _, n := range no {
		if strings.Contains(got, n) {
			t.Errorf("got %q, want no %q in it", got, n)
		}
	}
}

// next follows a POST that has to end in a redirect to path.
func next(t *testing.T, b *browser, path, to string, form ...string) string {
	t.Helper()
	res, body := b.post(path, form...)
	if res.StatusCode != 303 || res.Header.Get("Location") != to {
		t.Fatalf("%s %v: got %d %q, want a redirect to %s\n%s", path, form, res.StatusCode, res.Header.Get("Location"), to, visibleText(t, body))
	}
	_, body = b.get(to)
	return body
}

func wantCalls(t *testing.T, s *site, want ...string) {
	t.Helper()
	if got := s.queue.took(); !slices.Equal(got, want) {
		t.Errorf("got calls %q, want %q", got, want)
	}
}

func TestPauseGroup(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	g := groupID(s.back.list[0])
	body := next(t, b, "/waiting/pause", "/waiting", "group", g)
	wantCalls(t, s, "pause wrongname.example by Anna")
	has(t, body, "All mail to wrongname.example is paused.", "Paused by Anna today at 09:41. It stays here until someone resumes it. mx.wrongname.example showed a certificate for another name", "Resume Return to sender… Delete… Show 3 messages")
	s.pass(26 * time.Hour)
	b = s.anna() // the session is over
	_, body = b.get("/waiting")
	has(t, body, "Paused by Anna on Tuesday 09:41. It stays here until someone resumes it.")
	if i := strings.Index(body, `data-state="paused"`); i < strings.Index(body, `data-state="held"`) || i < strings.Index(body, `data-state="waiting"`) {
		t.Error("paused mail does not come after mail that needs a look")
	}
	// A paused group has another id: the old form finds nothing.
	body = next(t, b, "/waiting/pause", "/waiting", "group", g)
	has(t, body, "That mail waits no more. Nothing was changed.")
	body = next(t, b, "/waiting/resume", "/waiting", "group", groupID(s.back.list[0]))
	wantCalls(t, s, "resume wrongname.example by Anna")
	has(t, body, "Mail to wrongname.example goes out again.", "Held: wrongname.example says mail must be encrypted")
	hasNot(t, body, "Paused by")
}

func TestPauseOne(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	body := next(t, b, "/waiting/pause", "/message/m1", "id", "m1", "back", "message")
	wantCalls(t, s, "pause m1 by Anna")
	has(t, body, "The message is paused.", "Paused by Anna today at 09:41.")
	body = next(t, b, "/waiting/resume", "/message/m1", "id", "m1", "back", "message")
	wantCalls(t, s, "resume m1 by Anna")
	has(t, body, "1 message goes out again.", "Try again now Pause Return to sender… Delete…")

	// Two messages paused one by one by the same person are one group.
	next(t, b, "/waiting/pause", "/waiting", "id", "m1")
	next(t, b, "/waiting/pause", "/waiting", "id", "m2")
	s.queue.took()
	body = next(t, b, "/waiting/resume", "/waiting", "group", groupID(s.back.list[0]))
	wantCalls(t, s, "resume m1 by Anna", "resume m2 by Anna")
	has(t, body, "2 messages go out again.")
}

func TestPauseAll(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	_, body := b.get("/waiting")
	has(t, body, "Pause all outgoing mail")
	body = next(t, b, "/waiting/pause", "/waiting", "all", "yes")
	wantCalls(t, s, "pause all by Anna")
	has(t, body, "All outgoing mail is paused.", "Paused Outgoing mail is paused by Anna since 09:41. 7 messages wait. Resume",
		"Paused with all outgoing mail. It goes on when someone resumes it.")
	hasNot(t, body, "Pause all outgoing mail", "Try again now")
	if strings.Count(body, ">Resume</button>") != 1 {
		t.Error("more than the banner resumes")
	}
	_, home := b.get("/")
	has(t, home, "Outgoing mail is paused by Anna since 09:41. 8 messages wait. Resume")
	has(t, home, "Does mail go out? No. Outgoing mail is paused by Anna")
	s.back.home = Home{Level: LevelFine}
	_, home = b.get("/")
	has(t, home, "Outgoing mail is paused by Anna since 09:41. Resume")
	hasNot(t, home, "All is well. Nothing to do.", "Ready.")
	_, one := b.get("/message/m1")
	has(t, one, "Paused with all outgoing mail.")
	hasNot(t, one, "Resume", "Try again now")

	body = next(t, b, "/waiting/resume", "/waiting", "pause", pauseID(Target{All: true}))
	wantCalls(t, s, "resume all by Anna")
	has(t, body, "Outgoing mail goes out again.")
	hasNot(t, body, "Paused")
	body = next(t, b, "/waiting/resume", "/waiting", "pause", pauseID(Target{All: true}))
	wantCalls(t, s)
	has(t, body, "Nothing to resume: that is not paused.")
}

// TestPauseOddDomain: a stranger chooses the domain. The backend gets its very
// bytes, forms and pages never do.
func TestPauseOddDomain(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	for _, domain := range []string{
		`"><script>alert(1)</script>.example`, "evil\u202egpj.example", "a\x00b", "x\r\nSet-Cookie: y=1", "xn--80ak6aa92e.com", "[203.0.113.9]", "täst.example", "\xff\xfe", strings.Repeat("long.", 200) + "example", "?x=1&y=2#z", "%41%00",
	} {
		m := sampleWaiting()[0]
		m.Domain = foreign.Text(domain)
		s.back.list, s.queue.pauses = []Message{m}, nil
		body := next(t, b, "/waiting/pause", "/waiting", "group", groupID(m))
		wantCalls(t, s, "pause "+domain+" by Anna")
		has(t, body, "is paused.", "Paused by Anna")
		if strings.Contains(body, "<script") || strings.Contains(body, "\u202e") {
			t.Errorf("%q: the page holds it as it is", domain)
		}
		// No mail waits there any more: the pause is still shown, and can end.
		s.back.list = nil
		_, body = b.get("/waiting")
		has(t, body, "Also paused, though no mail waits there", "Nothing waits.")
		body = next(t, b, "/waiting/resume", "/waiting", "pause", pauseID(Target{Domain: domain}))
		wantCalls(t, s, "resume "+domain+" by Anna")
		has(t, body, "goes out again.")
	}
}

func TestReturn(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	other := s.back.list[0]
	other.To, other.Domain = "carl@expired.example", "expired.example"
	s.back.list = append(s.back.list, other) // m1 has a recipient in another group
	s.back.list[2].From = ""
	g := groupID(s.back.list[0])
	_, body := b.get("/waiting/return?group=" + g)
	has(t, body, "Return 3 messages to their senders?", "1 more recipient of the same mail is part of this.", "1 message has no sender, so nobody gets a notice.",
		"Invoice 2211", "The sender gets a notice with this text:", "This message was not delivered. The people who look after our mail chose to return it.",
		"You can undo this for 60 seconds.", "Return to sender Keep it waiting")
	wantCalls(t, s) // a GET does nothing
	if !strings.Contains(body, `name="ids" value="m1,m2,m3"`) {
		t.Error("the form does not carry what it shows")
	}

	body = next(t, b, "/waiting/return", "/waiting", "ids", "m1,m2,m3", "text", "Out of business.\r\nCall us.\x00\u202e")
	wantCalls(t, s, `return m1 m2 m3 by Anna: "Out of business.\nCall us."`)
	has(t, body, "3 messages go back to their senders in 60 seconds. Undo", "This can still be undone", "Anna chose to return 3 messages to their senders. You can undo it for 60 more seconds. Undo")
	if !strings.Contains(body, `role="status"`) {
		t.Error("the message is no status")
	}
	s.pass(45 * time.Second)
	_, body = b.get("/waiting")
	has(t, body, "You can undo it for 15 more seconds.")
	hasNot(t, body, "go back to their senders in 60 seconds")

	body = next(t, b, "/waiting/undo", "/waiting", "action", "a1")
	wantCalls(t, s, "undo a1 by Anna")
	has(t, body, "Undone: 3 messages wait again.")
	hasNot(t, body, "This can still be undone", "chose to return")
}

func TestDelete(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	_, body := b.get("/waiting/delete?id=m5")
	has(t, body, "Delete 1 message?", "The sender will not be told.", "You can undo this for 15 minutes. After that nobody can bring it back.", "Delete Keep it waiting")
	hasNot(t, body, "notice", "Return")
	if !strings.Contains(body, `href="/message/m5"`) || !strings.Contains(body, `name="back" value="message"`) {
		t.Error("the way back to the message is missing")
	}
	body = next(t, b, "/waiting/delete", "/message/m5", "ids", "m5", "id", "m5", "back", "message")
	wantCalls(t, s, "delete m5 by Anna")
	has(t, body, "1 message is deleted in 15 minutes. Undo", "Anna chose to delete 1 message. The sender is not told.", "You can undo it for 15 more minutes.")
	hasNot(t, body, "Try again now", "Delete…")
	s.pass(14 * time.Minute)
	_, body = b.get("/waiting")
	has(t, body, "You can undo it for 60 more seconds.")

	// Too late: first the page knows, then the backend does.
	s.pass(2 * time.Minute)
	_, body = b.get("/waiting")
	has(t, body, "It is being done now.")
	if strings.Contains(body, "/waiting/undo") {
		t.Error("an action that is over can be undone")
	}
	body = next(t, b, "/waiting/undo", "/waiting", "action", "a1")
	has(t, body, "Too late to undo: it has been done already.")
	if !strings.Contains(body, `role="alert"`) {
		t.Error("a failure is no alert")
	}
	for _, id := range []string{"", "a7", "../a1", strings.Repeat("a", 65)} {
		has(t, next(t, b, "/waiting/undo", "/waiting", "action", id), "Too late to undo")
	}
}

// TestMessageGoneMeanwhile: between the page and the deed mail may leave.
func TestMessageGoneMeanwhile(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	s.back.list = s.back.list[1:] // m1 was delivered
	for _, c := range []struct{ path, to, want string }{
		{"/waiting/return", "/waiting", "That mail waits no more. Nothing was changed."},
		{"/waiting/delete", "/waiting", "That mail waits no more. Nothing was changed."},
		{"/waiting/pause", "/waiting", "That mail waits no more. Nothing was changed."},
		{"/waiting/resume", "/waiting", "Nothing to resume: that is not paused."},
	} {
		body := next(t, b, c.path, c.to, "id", "m1", "ids", "m1")
		has(t, body, c.want)
		if !strings.Contains(body, `role="status"`) {
			t.Errorf("%s: that is told as a failure", c.path)
		}
	}
	// Those that are left are taken, and counted.
	body := next(t, b, "/waiting/delete", "/waiting", "ids", "m1,m2,m3")
	has(t, body, "2 messages are deleted in 15 minutes.")
	for _, path := range []string{"/waiting/return?id=m1", "/waiting/delete?group=0123456789abcdef", "/waiting/delete", "/waiting/return?id=../x"} {
		res, body := b.get(path)
		if res.StatusCode != 404 {
			t.Errorf("%s: got %d, want 404", path, res.StatusCode)
		}
		has(t, body, "That mail waits no more. Nothing was changed.")
	}
	for _, ids := range []string{"", ",", "../x", "m 1"} {
		s.queue.took()
		has(t, next(t, b, "/waiting/delete", "/waiting", "ids", ids), "That mail waits no more.")
		wantCalls(t, s)
	}
}

func TestReturnTextTooLong(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	long := "</textarea><script>alert(1)</script>" + strings.Repeat("ä", 1001)
	res, body := b.post("/waiting/return", "ids", "m1,m2", "text", long)
	if strings.Contains(body, "<script") {
		t.Error("the text is not shown as text")
	}
	if res.StatusCode != 422 {
		t.Errorf("got %d, want 422", res.StatusCode)
	}
	has(t, body, "The text is too long. Make it shorter.", "Return 2 messages to their senders?", long)
	wantCalls(t, s)
	if _, body = b.post("/waiting/return", "ids", "m1", "text", long, "id", "m1", "back", "message"); !strings.Contains(body, `href="/message/m1"`) {
		t.Error("the way back to the message is lost")
	}
}

// TestNotice: what a person typed is plain lines when it leaves the page, as the
// mail machine wants it.
func TestNotice(t *testing.T) {
	for _, p := range append(payloads(), "", " a\r\n\tb\r ", "\u00ad") {
		got, ok := cleanNotice(p)
		if ok != (len(got) <= maxNotice) || !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) && !unicode.Is(unicode.Z, r) }) {
			t.Errorf("%.40q: got %.40q %v", p, got, ok)
		}
	}
	if got, ok := cleanNotice(" Dear Bob,\r\n\tgone.\r"); got != "Dear Bob,\n gone." || !ok {
		t.Errorf("got %q %v", got, ok)
	}
}

// TestLongGroup: one deed takes at most the oldest 1,000, and says so.
func TestLongGroup(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	s.back.list = nil
	for i := range 1500 {
		s.back.list = append(s.back.list, Message{
			ID: fmt.Sprintf("m%010d", i), To: "a@one.example", Domain: "one.example", Received: tuesday.Add(-time.Duration(i) * time.Second),
			Last: Attempt{Outcome: "deferred", Reason: "connect-timeout", Time: tuesday},
		})
	}
	_, body := b.get("/waiting/delete?group=" + groupID(s.back.list[0]))
	has(t, body, "Delete 1,000 messages?", "The list is long: this takes the oldest 1,000 of 1,500 messages.", "and 995 more")
	_, rest, _ := strings.Cut(body, `name="ids" value="`)
	ids, _, _ := strings.Cut(rest, `"`)
	if !strings.HasPrefix(ids, "m0000001499,") || strings.Count(ids, ",") != 999 {
		t.Errorf("got %.40q and %d ids, want the oldest 1000", ids, strings.Count(ids, ",")+1)
	}
	if n := len(url.Values{"ids": {ids}}.Encode()); n > maxBody/2 {
		t.Errorf("the form has %d bytes, and %d is the limit", n, maxBody)
	}
	has(t, next(t, b, "/waiting/delete", "/waiting", "ids", ids), "1,000 messages are deleted in 15 minutes.")
}

func TestActionsFail(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	s.queue.err = errors.New("no answer")
	for path, form := range map[string][]string{
		"/waiting/pause": {"all", "yes"}, "/waiting/resume": {"pause", "x"}, "/waiting/return": {"ids", "m1"},
		"/waiting/delete": {"ids", "m1"}, "/waiting/undo": {"action", "a1"},
	} {
		body := next(t, b, path, "/waiting", form...)
		has(t, body, "That did not work just now, and nothing was changed.", "What is paused or can be undone cannot be read just now.", "wrongname.example 3 messages")
		if !strings.Contains(body, `role="alert"`) {
			t.Errorf("%s: a failure is no alert", path)
		}
	}
	if _, body := b.get("/"); strings.Contains(body, "paused") {
		t.Error("Home says something about pauses that it cannot know")
	}
	s.queue.err, s.back.err = nil, errors.New("no answer")
	for _, path := range []string{"/waiting/return?id=m1", "/waiting/delete?id=m1"} {
		if res, _ := b.get(path); res.StatusCode != 503 {
			t.Errorf("%s: got %d, want 503", path, res.StatusCode)
		}
	}
}

func TestLost(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	_, body := b.get("/waiting")
	hasNot(t, body, "Mail that reached nobody")
	for i := range 25 {
		s.queue.lost = append(s.queue.lost, LostMail{Time: tuesday.Add(-time.Duration(i) * time.Hour), ID: fmt.Sprintf("l%d", i), To: "old@gone.example", Subject: "Undelivered"})
	}
	_, body = b.get("/waiting")
	has(t, body, "Mail that reached nobody", "This mail could be neither delivered nor returned", "09:41 · To old@gone.example · Undelivered · Its way", "and 5 more")
	if !strings.Contains(body, `href="/message/l0"`) || strings.Contains(body, "/message/l20") {
		t.Error("want links to the first 20")
	}
	hasNot(t, body, "Broken")
}

// TestWithoutQueue: a box whose relay cannot do these things shows none of
// them, and has no such routes.
func TestWithoutQueue(t *testing.T) {
	s := newOwnedSite(t)
	s.http.Close()
	s.start(func(c *Config) { c.Queue = nil })
	b := s.anna()
	for _, path := range []string{"/", "/waiting", "/waiting?group=" + groupID(s.back.list[0])} {
		_, body := b.get(path)
		hasNot(t, body, "Pause", "Return to sender", "Delete", "Its way", "Find a message")
	}
	for _, rt := range routes(claimed) {
		if rt.part != queue {
			continue
		}
		if res, _ := b.do(rt.method, strings.ReplaceAll(rt.pattern, "{id}", "m1"), nil, header("Sec-Fetch-Site", "same-origin")); res.StatusCode != 404 && res.StatusCode != 405 {
			t.Errorf("%s %s: got %d, want 404", rt.method, rt.pattern, res.StatusCode)
		}
	}
	has(t, next(t, b, "/waiting/retry", "/waiting", "id", "m1", "back", "message"), "1 message is tried now.")
}

// TestGetChangesNothing opens every page that there is.
func TestGetChangesNothing(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	for _, rt := range routes(claimed) {
		path := strings.ReplaceAll(strings.ReplaceAll(rt.pattern, "{id}", "m1"), "{$}", "")
		if rt.method != "GET" || strings.Contains(path, "{") {
			continue
		}
		for _, query := range []string{"", "?id=m1&ids=m1&group=" + groupID(s.back.list[0]) + "&all=yes&action=a1&q=anna&text=x&password=" + url.QueryEscape(goodPassword)} {
			b.get(path + query)
		}
	}
	wantCalls(t, s)
	if len(s.back.retried) > 0 {
		t.Errorf("got %v tried, want none", s.back.retried)
	}
}
