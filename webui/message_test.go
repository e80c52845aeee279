package webui

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"gatepost/webui/foreign"
)

func TestMessage(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	_, body := b.get("/message/m1")
	has(t, body, "Invoice 2211", "From bob@office.example · 240 kB",
		"How it stands", "To anna@wrongname.example Held: wrongname.example says mail must be encrypted", "Who can fix it: the other side. They need a certificate", "Next try 09:55",
		"Try again now Pause Return to sender… Delete…",
		"Its way Monday 13:41 Came in from bob, who logged in at 192.168.1.20. The way here was encrypted.",
		"09:31 · To anna@wrongname.example wrongname.example says that its mail must be encrypted: that is what we read Monday 02:41. mx.wrongname.example showed a certificate for another name (mail.hoster.example, www.hoster.example). Sending was not safe, so we kept it.",
		"Of the try 09:31", "MX records 10 mx.wrongname.example, 20 backup.mx.wrongname.example", "DNS security unsigned",
		"Policy id 20261101T000000", "Policy age 30 h", "Policy pattern mx.wrongname.example", "Time taken 140 ms", "TLS TLS 1.3 · TLS_AES_128_GCM_SHA256",
		"Certificate 1 CN=mail.hoster.example · mail.hoster.example, www.hoster.example · CN=Lab CA · 2026-11-20 05:31:00 UTC · 2027-02-15 17:41:00 UTC · SHA-256 3f3f", "Certificate 2 CN=Lab CA",
		"Rule RFC 8461, Section 4.1", "Reason id held · certificate-host-mismatch", "backup.mx.wrongname.example Time", "Time taken 30.0 s", "Open connection used again yes",
		"Client address 192.168.1.20", "Client's name for itself mail.office.example", "Login name bob",
		"Download the evidence", "Download the message itself…")
	// First lines hold no technical terms: those stand in <details> alone.
	if n := strings.Count(body, `<details class="tech`); n != 4 {
		t.Errorf("got %d details, want the try, two servers and the arrival", n)
	}
	if strings.Contains(body, "<details class=\"tech\" open") {
		t.Error("technical details are open")
	}
	if size := len(body); size > 40_000 {
		t.Errorf("got %d bytes", size)
	}
	_, body = b.get("/message/m7")
	has(t, body, "Waiting: the first try is about to start.", "no sender (a notice)", "Came in from bob")
	hasNot(t, body, "Of the try")
}

func TestMessageStates(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	at := func(ago time.Duration, a Attempt) Attempt { a.Time = tuesday.Add(-ago); return a }
	delivered := Attempt{Outcome: "delivered", MX: "mx.good.example", Protection: "verified", PolicyMode: "testing", MXTried: 2}
	held := Attempt{Outcome: "held", Reason: "certificate-expired", MX: "mx.good.example", CertNotAfter: tuesday.Add(-90 * time.Hour)}
	to := foreign.Text("anna@good.example")
	for _, c := range []struct {
		name string
		d    Detail
		want []string
		no   []string
	}{
		{"delivered", Detail{History: []AttemptRow{{To: to, Attempt: at(time.Hour, delivered)}, {To: to, Attempt: at(3*time.Hour, held)}}}, []string{
			"This message waits no more.", "Delivered to mx.good.example, encrypted, with a checked certificate.", "How it came in is kept only while it waits.",
			"The certificate of mx.good.example had ended on 20 Nov. Sending was not safe, so we kept it.", "good.example is trying out rules for encrypted mail. They do not bind yet. We asked 2 servers.",
		}, []string{"Try again now", "Delete…", "Download the message itself", "We keep trying", "Held:"}},
		{"in clear", Detail{History: []AttemptRow{{To: to, Attempt: at(time.Hour, Attempt{Outcome: "delivered", MX: "mx.old.example", Protection: "clear"})}}}, []string{
			"Delivered to mx.old.example, not encrypted.",
		}, nil},
		{"bare", Detail{History: []AttemptRow{{To: to, Attempt: at(time.Hour, Attempt{Outcome: "delivered"})}}}, []string{"To anna@good.example Delivered."}, nil},
		{"returned", Detail{History: []AttemptRow{{To: to, Attempt: at(time.Hour, Attempt{Outcome: "returned", Reason: "no-such-user", Code: 550, Enhanced: "5.1.1", Reply: "who?"})}}}, []string{
			"Returned: anna@good.example does not exist at good.example.", "Who can fix it: the person who sent it.",
			"good.example said that it does not know anna@good.example. So it went back to its sender.", "550 5.1.1 who?",
		}, nil},
		{"deleted", Detail{History: []AttemptRow{{To: to, Attempt: at(time.Hour, held)}}, Ended: &Ended{Time: tuesday.Add(-time.Minute), Kind: "removed", By: "Anna"}}, []string{
			"This message waits no more. Anna deleted it, 09:40. The sender was not told.",
		}, []string{"We keep trying"}},
		{"lost", Detail{Ended: &Ended{Time: tuesday.Add(-time.Minute), Kind: "lost"}}, []string{"It could be neither delivered nor returned, and nobody could be told."}, nil},
		{"unknown end", Detail{History: []AttemptRow{{To: to, Attempt: at(time.Hour, held)}}}, []string{"How it ended is not noted here."}, []string{"We keep trying"}},
		{"made here", Detail{Open: []Message{{ID: "x", To: to, Domain: "good.example", Received: tuesday, Next: tuesday}}, Notice: true, RequireTLS: true}, []string{
			"Made by this box, to tell a sender about another message.", "REQUIRETLS (RFC 8689)",
		}, []string{"not encrypted"}},
		{"from nobody knows", Detail{Open: []Message{{ID: "x", To: to, Domain: "good.example", Received: tuesday, Next: tuesday}}, RequireTLS: true}, []string{
			"Came in. The way here was not encrypted. The sender asked for encryption all the way.",
		}, nil},
		{"from a printer", Detail{Open: []Message{{ID: "x", To: to, Domain: "good.example", Received: tuesday, Next: tuesday}}, Client: "192.168.1.40"}, []string{
			"Came in from 192.168.1.40. The way here was not encrypted.",
		}, nil},
		{"half done", Detail{
			Open: []Message{{
				ID: "x", To: "b@slow.example", Domain: "slow.example", Received: tuesday, Next: tuesday.Add(time.Hour), Deadline: tuesday.Add(9 * time.Hour),
				Last: at(time.Hour, Attempt{Outcome: "deferred", Reason: "greylisted"}),
			}},
			History: []AttemptRow{{To: to, Attempt: at(time.Hour, delivered)}, {To: "b@slow.example", Attempt: at(time.Hour, Attempt{Outcome: "deferred", Reason: "greylisted"})}},
		}, []string{
			"To b@slow.example Waiting: the server of slow.example asked us to come back later", "To anna@good.example Delivered to mx.good.example",
			"The server of slow.example asked us to come back later, as is usual for a first contact. So it waited for another try.",
		}, []string{"waits no more"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.queue.details = map[string]Detail{"x": c.d}
			for _, lang := range []string{"de", "en"} {
				res, body := b.do("GET", "/message/x", nil, header("Accept-Language", lang))
				if res.StatusCode != 200 {
					t.Fatalf("%s: got %d, want 200", lang, res.StatusCode)
				}
				if lang == "en" {
					has(t, body, c.want...)
					hasNot(t, body, c.no...)
				}
				hasNot(t, body, " . ", "..", "?.", "{", "}")
			}
		})
	}
}

func TestMessageUnknown(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	s.queue.details = map[string]Detail{"empty": {}}
	for _, path := range []string{
		"/message/nothing", "/message/empty", "/message/%3Cscript%3E", "/message/" + strings.Repeat("x", 65),
		"/message/nothing/evidence", "/message/%00/evidence", "/message/%3Cscript%3E/original",
	} {
		res, body := b.get(path)
		if res.StatusCode != 404 {
			t.Errorf("%s: got %d, want 404", path, res.StatusCode)
		}
		has(t, body, "There is no such message. The box keeps the way of a message for 30 days.")
	}
	s.queue.err = errors.New("no answer")
	for _, path := range []string{"/message/m1", "/message/m1/evidence"} {
		res, body := b.get(path)
		if res.StatusCode != 503 {
			t.Errorf("%s: got %d, want 503", path, res.StatusCode)
		}
		has(t, body, "The way of this message cannot be read just now.")
	}
}

// TestLongStory: a thousand attempts for fifty recipients stay a small page.
func TestLongStory(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	var d Detail
	for i := range 1000 {
		a := sampleWaiting()[0].Last
		a.Time = tuesday.Add(-time.Duration(i/5) * time.Hour)
		d.History = append(d.History, AttemptRow{To: foreign.Text(fmt.Sprintf("r%d@wrongname.example", i%50)), Attempt: a, Evidence: sampleEvidence(a)})
	}
	e := d.History[0].Evidence
	for range 30 {
		e.Hosts = append(e.Hosts, e.Hosts[0])
		e.Hosts[0].Chain = append(e.Hosts[0].Chain, e.Hosts[0].Chain[0])
		e.DNS.MX = append(e.DNS.MX, e.DNS.MX[0])
	}
	s.queue.details = map[string]Detail{"x": d}
	start := time.Now()
	_, body := b.get("/message/x")
	t.Logf("%d bytes in %v", len(body), time.Since(start))
	has(t, body, "and 25 more", "To r0@wrongname.example, r1@wrongname.example, r2@wrongname.example and 2 more", "Earlier tries", "and 22 more")
	hasNot(t, body, "Later tries")
	if n := strings.Count(body, "#evidence"); n != triesPerPage {
		t.Errorf("got %d tries, want %d", n, triesPerPage)
	}
	if len(body) > 100_000 {
		t.Errorf("got %d bytes, want at most 100000", len(body))
	}
	_, body = b.get("/message/x?page=10")
	has(t, body, "Later tries")
	hasNot(t, body, "Earlier tries")
	tries := triesOf(d.History)
	_, body = b.get("/message/x?page=10&try=" + tries[199].ID)
	has(t, body, "Of the try 16 Nov 02:41")
	if strings.Count(body, `aria-current="true"`) != 1 {
		t.Error("the chosen try is not marked")
	}
	for _, query := range []string{"?page=99", "?page=x&try=%3Cscript%3E", "?try=0"} {
		if res, body := b.get("/message/x" + query); res.StatusCode != 200 || strings.Contains(body, "script") {
			t.Errorf("%s: got %d", query, res.StatusCode)
		}
	}
}

func TestEvidenceDownload(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	res, body := b.get("/message/m1/evidence")
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Content-Disposition": `attachment; filename="gatepost-m1.json"`, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("got %s %q, want %q", name, got, want)
		}
	}
	var f evidenceFile
	if err := json.Unmarshal([]byte(body), &f); err != nil {
		t.Fatal(err)
	}
	if f.ID != "m1" || len(f.Attempts) != 1 || f.Attempts[0].Evidence.Hosts[0].Chain[0].Names[0] != "mail.hoster.example" || f.Attempts[0].Attempt.PolicyID != "20261101T000000" {
		t.Errorf("got %+v", f)
	}
	for _, no := range []string{"Invoice", "bob@office", "<", "0001-01-01"} {
		if strings.Contains(body, no) {
			t.Errorf("the evidence holds %q", no)
		}
	}
}

// TestEvidenceForm reads what the admin API serves: no name of it is unknown,
// and what is written is the same.
func TestEvidenceForm(t *testing.T) {
	data, err := os.ReadFile("testdata/evidence.json")
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.DisallowUnknownFields()
	var e Evidence
	if err := dec.Decode(&e); err != nil {
		t.Fatal(err)
	}
	out, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(out), strings.TrimSpace(string(data)); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestOriginal(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	s.queue.body = "From: bob@office.example\r\nSubject: <script>alert(1)</script>\r\n\r\nSecret.\r\n"
	_, body := b.get("/message/m1/original")
	has(t, body, "Download the message itself?", "That is private: open it only if you must. The box notes who downloads it.", "Your password")
	wantCalls(t, s)

	res, body := b.post("/message/m1/original", "password", "guess")
	if res.StatusCode != 403 || strings.Contains(body, "Secret") {
		t.Errorf("got %d, want 403 without the message", res.StatusCode)
	}
	has(t, body, "The password is not right.")
	wantCalls(t, s)
	s.pass(2 * time.Minute)

	res, body = b.post("/message/m1/original", "password", goodPassword)
	if body != s.queue.body {
		t.Errorf("got %q, want the message byte for byte", body)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/octet-stream", "Content-Disposition": `attachment; filename="m1.eml"`, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Content-Encoding": "",
	} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("got %s %q, want %q", name, got, want)
		}
	}
	wantCalls(t, s, "original m1")

	res, body = b.post("/message/gone/original", "password", goodPassword)
	if res.StatusCode != 404 {
		t.Errorf("got %d, want 404", res.StatusCode)
	}
	has(t, body, "That mail waits no more. Nothing was changed.")
	s.queue.err = errors.New("no answer")
	if res, _ = b.post("/message/m1/original", "password", goodPassword); res.StatusCode != 503 {
		t.Errorf("got %d, want 503", res.StatusCode)
	}
	s.queue.err = nil
	for range 6 {
		res, body = b.post("/message/m1/original", "password", "guess")
	}
	if res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Errorf("got %d after many guesses, want 429", res.StatusCode)
	}
	has(t, body, "Too many tries.")
}

// TestOriginalBreaksOff: half a message must not look like a whole one.
func TestOriginalBreaksOff(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	req, err := http.NewRequest("POST", b.base+"/message/m1/original", strings.NewReader("password="+strings.ReplaceAll(goodPassword, " ", "+")))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	res, err := b.c.Do(req)
	if err == nil {
		defer res.Body.Close()
		var b strings.Builder
		buf := make([]byte, 512)
		for err == nil {
			var n int
			n, err = res.Body.Read(buf)
			b.Write(buf[:n])
		}
		if err.Error() == "EOF" {
			t.Errorf("got %q as a whole message", b.String())
		}
	}
}

func TestFind(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	_, body := b.get("/find")
	has(t, body, "Find a message", "Address, domain, or the id of a message", "The last 7 days", "Search")
	hasNot(t, body, "No message found")
	_, body = b.get("/find?q=+anna@x.example+&days=30")
	has(t, body, "No message found. The box keeps this list for 30 days. Was it sent through this box?")
	if q := s.queue.query; q.Text != "anna@x.example" || !q.Since.Equal(tuesday.Add(-30*24*time.Hour)) || q.After != 0 {
		t.Errorf("got %+v", q)
	}
	if !strings.Contains(body, `value="anna@x.example"`) || !strings.Contains(body, `value="30" selected`) {
		t.Error("the form forgets what was asked")
	}
	s.queue.found = Found{
		Waiting: s.back.list[:1],
		Past: []PastRow{
			{ID: "p1", From: "bob@office.example", To: "anna@x.example", Attempt: Attempt{Time: tuesday.Add(-time.Hour), Outcome: "delivered", MX: "mx.x.example", Protection: "encrypted"}},
			{ID: "p2", To: "anna@x.example", Attempt: Attempt{Time: tuesday.Add(-2 * time.Hour), Outcome: "held", Reason: "starttls-not-supported", MX: "mx.x.example"}},
		}, Next: 77,
	}
	_, body = b.get("/find?q=x.example&days=7")
	has(t, body, "Waits now To anna@wrongname.example From bob@office.example Invoice 2211", "What happened 08:41 · To anna@x.example From bob@office.example Delivered to mx.x.example, encrypted. The certificate was not checked. Its way",
		"no sender (a notice) mx.x.example offered no encryption. Someone in between may have hidden it. Sending was not safe, so we kept it.", "Older")
	if !strings.Contains(body, `href="/message/p1"`) || !strings.Contains(body, `href="/find?after=77&amp;days=7&amp;q=x.example"`) {
		t.Error("links are missing")
	}
	_, body = b.get("/find?after=77&days=7&q=x.example")
	if s.queue.query.After != 77 {
		t.Errorf("got %+v, want the page after 77", s.queue.query)
	}
	hasNot(t, body, "Waits now")
	s.queue.query = FindQuery{}
	for _, q := range []string{"", "ab", strings.Repeat("x", 321), "%ff%fe%fd"} {
		_, body = b.get("/find?q=" + q)
		has(t, body, "Type at least 3 letters")
		if s.queue.query.Text != "" {
			t.Errorf("%q was looked for", s.queue.query.Text)
		}
	}
	s.queue.err = errors.New("no answer")
	res, body := b.get("/find?q=anna")
	if res.StatusCode != 503 {
		t.Errorf("got %d, want 503", res.StatusCode)
	}
	has(t, body, "Mail cannot be looked for just now.")
}
