package webui

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/webui/foreign"
	"gatepost/webui/words"
)

func has(t *testing.T, page string, want ...string) {
	t.Helper()
	got := visibleText(t, page)
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("got %q, want %q in it", got, w)
		}
	}
}

func TestHome(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	_, body := b.get("/")
	has(t, body,
		"Look here", "3 messages are held for safety, all to wrongname.example.", "Who can fix it: the other side.",
		"Does mail go out?", "Yes. Last message out 09:40, last in 09:39. 412 deliveries today.",
		"Is anything waiting?", "3 held for safety, 5 waiting for a normal retry. Oldest since Monday 13:41.",
		"Is our mail protected?", "Yes. Today 396 encrypted with a checked certificate, 16 encrypted without a check, 0 not encrypted.",
		"Is the box itself fine?", "Yes. Version 0.1.0. Running since Sunday 07:41. Disk 12 % full.",
		"Light on the box: Two flashes, then a pause. Mail is held for safety.", "Times are UTC.",
	)
	if !strings.Contains(body, `<time datetime="2026-11-24T09:40:00Z">09:40</time>`) {
		t.Error("a time without <time datetime>")
	}
	if !strings.Contains(body, `<a href="/waiting">3 held`) {
		t.Error("the numbers are no link to their list")
	}

	s.back.home.Traffic = &Traffic{LastIn: tuesday, InToday: 3}
	_, body = b.get("/")
	has(t, body, "3 messages in today, the last 09:41. None has gone out yet.", "Tue 24 Nov, 09:41 UTC · 192.168.77.50")

	s.back.home = Home{Level: LevelFine, Light: "healthy", Traffic: &Traffic{}, Queue: &Queue{}, Protection: &Protection{}, Box: &Box{DiskPercent: -1, ClockTrusted: true}}
	_, body = b.get("/")
	has(t, body, "All is well. Nothing to do.", "Ready. No mail has passed since the box started.", "No. Nothing waits.", "No mail has gone out today.", "Steady")
	if got := visibleText(t, body); strings.Contains(got, "Disk") || strings.Contains(got, "since .") {
		t.Errorf("got %q, want nothing that is not known", got)
	}

	s.back.home = Home{Level: LevelBroken, Problems: []Problem{
		{ID: "clock-wrong", Level: LevelBroken}, {ID: "storage-nearly-full", Level: LevelLook, Params: map[string]string{"percent": "88"}},
	}}
	_, body = b.get("/")
	has(t, body, "Broken", "The box does not know the right time, so it cannot check certificates.", "Also", "Look here: The data disk is 88 % full.",
		"Does mail go out? No. The box does not know the right time", "Not known just now.")

	s.back.home = Home{Level: LevelLook, Problems: []Problem{{ID: "booting", Level: LevelLook}}}
	_, body = b.get("/")
	has(t, body, "Starting", "The box is starting. Mail passes in a moment.")

	s.back.home.Protection = &Protection{Verified: 1, Clear: 2}
	_, body = b.get("/")
	has(t, body, "Partly. Today 1 encrypted with a checked certificate, 0 encrypted without a check, 2 not encrypted.")

	s.back.home = Home{Level: LevelBroken}
	_, body = b.get("/")
	has(t, body, "Something is wrong that this page has no words for.")

	s.back.err = errors.New("no answer")
	_, body = b.get("/")
	has(t, body, "This page cannot reach the rest of the box just now.")
}

// TestEveryProblemHasAHome shows each problem of the catalogue on Home, in each
// language.
func TestEveryProblemHasAHome(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	for _, lang := range words.Languages() {
		book, err := words.Load(lang)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range book.ProblemIDs() {
			s.back.home = Home{Level: LevelBroken, Problems: []Problem{{ID: id, Level: LevelBroken}, {ID: id, Level: LevelLook}}}
			res, body := b.do("GET", "/", nil, header("Accept-Language", lang))
			want := words.Voice{Book: book, Now: tuesday}.Problem(id, nil).Sentence.String()
			if res.StatusCode != 200 || res.Header.Get("Content-Language") != lang {
				t.Errorf("%s %s: got %d in %q", lang, id, res.StatusCode, res.Header.Get("Content-Language"))
			}
			has(t, body, want)
		}
	}
}

func TestWaiting(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	_, body := b.get("/waiting")
	has(t, body, "Waiting mail (7)",
		"wrongname.example 3 messages · oldest since Monday 13:41",
		"Held: wrongname.example says mail must be encrypted, but its server mx.wrongname.example showed a certificate for another name (mail.hoster.example, www.hoster.example). We keep trying until Friday 13:41.",
		"Who can fix it: the other side. They need a certificate on that server",
		"Next try 09:55", "To anna@wrongname.example From bob@office.example Invoice 2211 240 kB · since Monday 13:41 · 9 tries",
		"Held: the certificate of mx.expired.example ended on 20 Nov.",
		"Waiting: the server of gmx.example asked us to come back later, as is usual for a first contact. Next try 09:55. Nothing to do.",
		"Waiting: none of the 2 servers of down.example answers.",
		"We follow the rules of down.example that we saved on 21 Nov: the page with its rules could not be read today.",
		"Waiting: the first try is about to start.", "no sender (a notice)",
		"Technical details", "RFC 8461, Section 4.1", "203.0.113.12", "TLS 1.3 · TLS_AES_128_GCM_SHA256", "mail.hoster.example, www.hoster.example",
		"451 4.7.1 Greylisted, see you in 5 minutes", "enforce", "20261101T000000",
	)
	if strings.Index(body, "expired.example") > strings.Index(body, "gmx.example") {
		t.Error("held mail does not come first")
	}
	if strings.Count(body, "Next try <time") == 0 || strings.Contains(visibleText(t, body), "We give up Friday 13:41 · ") {
		t.Error("times are missing or said twice")
	}

	s.back.list = nil
	_, body = b.get("/waiting")
	has(t, body, "Nothing waits. Every message has left the box.")
	s.back.err = errors.New("no answer")
	res, body := b.get("/waiting")
	if res.StatusCode != 503 {
		t.Errorf("got %d, want 503", res.StatusCode)
	}
	has(t, body, "The list of waiting mail cannot be read just now.")
}

// TestEveryReasonOnThePage shows each reason of the catalogue, held and
// waiting, in each language, and compares with the catalogue.
func TestEveryReasonOnThePage(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	for _, lang := range words.Languages() {
		book, _ := words.Load(lang)
		for _, id := range append(book.ReasonIDs(), "", "never-heard-of") {
			for outcome, as := range map[string]string{"held": words.Held, "deferred": words.Waiting} {
				s.back.list = []Message{{ID: "m", To: "a@x.example", Domain: "x.example", Received: tuesday, Last: Attempt{Outcome: outcome, Reason: id, Time: tuesday}}}
				_, body := b.do("GET", "/waiting", nil, header("Accept-Language", lang))
				has(t, body, words.Voice{Book: book, Now: tuesday}.Reason(id, as, words.Params{Domain: "x.example", Rcpt: "a@x.example"}).Sentence.String())
			}
		}
	}
}

func TestRetry(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	s.back.list = append(s.back.list, s.back.list[0]) // a second recipient of the same message
	for _, c := range []struct {
		form    []string
		retried []string
		flash   string
	}{
		{[]string{"id", "m5"}, []string{"m5"}, "1 message is tried now."},
		{[]string{"group", groupID(s.back.list[0])}, []string{"m1", "m2", "m3"}, "3 messages are tried now."},
		{[]string{"group", "0123456789abcdef"}, nil, "Nothing to try: that mail waits no more."},
		{nil, nil, "Nothing to try"},
		{[]string{"id", "../../etc/passwd"}, nil, "Nothing to try"},
		{[]string{"id", strings.Repeat("m", 65)}, nil, "Nothing to try"},
	} {
		s.back.retried = nil
		res, _ := b.post("/waiting/retry", c.form...)
		if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/waiting" {
			t.Errorf("%v: got %d %q, want a redirect to /waiting", c.form, res.StatusCode, res.Header.Get("Location"))
		}
		if !slices.Equal(s.back.retried, c.retried) {
			t.Errorf("%v: got %v tried, want %v", c.form, s.back.retried, c.retried)
		}
		_, body := b.get("/waiting")
		has(t, body, c.flash)
		if !strings.Contains(body, `role="status"`) {
			t.Errorf("%v: the message is no status", c.form)
		}
		if _, body := b.get("/waiting"); strings.Contains(visibleText(t, body), c.flash) {
			t.Errorf("%v: the message stays", c.form)
		}
	}
	s.back.err = errors.New("no answer")
	b.post("/waiting/retry", "id", "m1")
	s.back.err = nil
	_, body := b.get("/waiting")
	has(t, body, "That did not work just now, and nothing was changed. Try it again in a minute.")
	if !strings.Contains(body, `role="alert"`) {
		t.Error("a failure is no alert")
	}
}

func TestLongLists(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	s.back.list = nil
	for i := range 10_000 {
		d := foreign.Text(fmt.Sprintf("d%03d.example", i%400))
		s.back.list = append(s.back.list, Message{
			ID: fmt.Sprintf("m%05d", i), To: "a@" + d, From: "bob@office.example", Domain: d, Received: tuesday.Add(-time.Duration(i) * time.Second),
			Next: tuesday.Add(time.Hour), Deadline: tuesday.Add(50 * time.Hour), Tries: 2,
			Last: Attempt{Outcome: "deferred", Reason: "connect-timeout", MX: "mx." + d, MXTried: 2, Time: tuesday},
		})
	}
	_, body := b.get("/waiting")
	has(t, body, "Waiting mail (10,000)", "Page 1 of 16", "Show all 25")
	if n := strings.Count(body, "<article"); n != groupsPerPage {
		t.Errorf("got %d groups, want %d", n, groupsPerPage)
	}
	if n := strings.Count(body, "<li><div"); n != groupsPerPage*rowsInGroup {
		t.Errorf("got %d rows, want %d", n, groupsPerPage*rowsInGroup)
	}
	_, body = b.get("/waiting?page=16")
	has(t, body, "Page 16 of 16")
	for _, page := range []string{"17", "-1", "0", "99999999999999999999", "x"} {
		if res, _ := b.get("/waiting?page=" + page); res.StatusCode != 200 {
			t.Errorf("page %s: got %d, want 200", page, res.StatusCode)
		}
	}
	for i := range s.back.list {
		s.back.list[i].Domain = "one.example"
	}
	_, body = b.get("/waiting?group=" + groupID(s.back.list[0]) + "&page=2")
	has(t, body, "Page 2 of 200", "Back to all waiting mail")
	if !strings.Contains(body, "page=1") || !strings.Contains(body, "page=3") {
		t.Error("no links to the pages beside")
	}
	if _, body = b.get("/waiting?group=%3Cscript%3E"); strings.Contains(body, "script") {
		t.Error("the query is repeated on the page")
	}
}

// TestTexts: each text that a page uses is there, and each that is there is
// used.
func TestTexts(t *testing.T) {
	used := map[string]bool{"some-domain": true}
	for _, dir := range []string{".", "templates"} {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") || !strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, ".html") {
				continue
			}
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`"([a-z]+(?:[.-][a-z0-9-]+)*)"`).FindAllStringSubmatch(string(data), -1) {
				used[m[1]] = true
			}
		}
	}
	for _, state := range []string{"fine", "look", "broken", "starting", "paused"} {
		used["level."+state] = true
	}
	for _, how := range append([]string{"restore"}, Ends...) {
		for _, text := range []string{"ask-", "what-", "done-", "then-"} {
			used["system."+text+how] = true
		}
	}
	for _, key := range []string{
		"use-last-good", "use-default", "within-180", "within-60", "within-30",
		"error-" + SystemInvalid, "error-" + SystemNoTrial, "error-" + SystemTrial, "error-" + SystemNoDisk, "error-" + SystemPassphrase, "error-" + SystemBadBackup,
	} {
		used["system."+key] = true
	}
	book, err := words.Load("en")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range book.TextKeys() {
		if !used[key] {
			t.Errorf("the text %q is used nowhere", key)
		}
	}
}

func TestAssets(t *testing.T) {
	s := newSite(t, nil)
	for _, path := range []string{s.srv.assets.CSS, s.srv.assets.Icon} {
		plain, body := s.browser().do("GET", path, nil, header("Accept-Encoding", "identity"))
		if plain.StatusCode != 200 || plain.Header.Get("Content-Encoding") != "" || len(body) == 0 {
			t.Errorf("%s: got %d", path, plain.StatusCode)
		}
		packed, small := s.browser().do("GET", path, nil, header("Accept-Encoding", "gzip"))
		z, err := gzip.NewReader(strings.NewReader(small))
		if err != nil || packed.Header.Get("Content-Encoding") != "gzip" {
			t.Fatalf("%s: got %v, want gzip", path, err)
		}
		if got, err := io.ReadAll(z); err != nil || string(got) != body {
			t.Errorf("%s: the packed file differs: %v", path, err)
		}
		if limit := 8 << 10; len(small) > limit {
			t.Errorf("%s: got %d bytes packed, want at most %d", path, len(small), limit)
		}
	}
	css, err := fs.ReadFile(assetFiles, "assets/gatepost.css")
	if err != nil {
		t.Fatal(err)
	}
	for _, no := range []string{"http:", "https:", "url(", "@import"} {
		if strings.Contains(string(css), no) {
			t.Errorf("the style sheet loads something: %s", no)
		}
	}
}

// TestPagesAreQuiet: nothing in any template that the Content-Security-Policy
// would refuse, no script, and nothing from another host.
func TestPagesAreQuiet(t *testing.T) {
	files, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil || len(files) < 8 {
		t.Fatalf("got %v %v", files, err)
	}
	bad := regexp.MustCompile(`(?i)<script|\sstyle=|\son[a-z]+=|javascript:|https?://|<iframe|<img|srcset|<base`)
	for _, name := range files {
		data, err := fs.ReadFile(templateFiles, name)
		if err != nil {
			t.Fatal(err)
		}
		if m := bad.FindString(string(data)); m != "" {
			t.Errorf("%s: %q", name, m)
		}
	}
}

func TestPageWeight(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	for len(s.back.list) < 57 {
		m := s.back.list[0]
		m.ID = fmt.Sprintf("n%d", len(s.back.list))
		s.back.list = append(s.back.list, m)
	}
	for path, limit := range map[string]int{
		"/": 8 << 10, "/waiting": 20 << 10, "/waiting?group=" + groupID(s.back.list[0]): 20 << 10,
		"/message/m1": 8 << 10, "/find": 4 << 10, "/waiting/return?group=" + groupID(s.back.list[0]): 8 << 10,
	} {
		_, body := b.do("GET", path, nil, header("Accept-Encoding", "gzip"))
		if len(body) > limit {
			t.Errorf("%s: got %d bytes, want at most %d", path, len(body), limit)
		}
		t.Logf("%s: %d bytes packed", path, len(body))
	}
}
