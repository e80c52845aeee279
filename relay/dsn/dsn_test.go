package dsn

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var now = time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)

// counter returns a Token that counts.
func counter() func() string {
	n := 0
	return func() string { n++; return fmt.Sprintf("token%012d", n) }
}

func sample() Params {
	return Params{
		ReportingMTA:    "gate.office.example",
		From:            "mailer-daemon@gate.office.example",
		To:              "bob@office.example",
		EnvelopeID:      "QQ314159",
		Arrival:         now.Add(-time.Hour),
		OriginalHeaders: []byte("Message-ID: <1@office.example>\r\nSubject: Invoice\r\nTo: anna@good.example\r\n"),
		Recipients: []Recipient{{
			Final: "anna@good.example", Original: "rfc822;anna@old.example", Status: "5.1.1",
			Diagnostic: "550 5.1.1 no such user", RemoteMTA: "mx.good.example", LastAttempt: now,
			Sentence: "Returned: anna@good.example does not exist at good.example.",
		}},
		Now:   now,
		Token: counter(),
	}
}

// read takes a notice apart: the header, and per part its header and its
// decoded body.
func read(t *testing.T, notice []byte) (mail.Header, []textproto.MIMEHeader, []string) {
	t.Helper()
	checkLines(t, notice)
	m, err := mail.ReadMessage(bytes.NewReader(notice))
	if err != nil {
		t.Fatalf("not a message: %v\n%s", err, notice)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("got content type %q %v, %v", kind, params, err)
	}
	r := multipart.NewReader(m.Body, params["boundary"])
	var headers []textproto.MIMEHeader
	var bodies []string
	for {
		p, err := r.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("parts: %v\n%s", err, notice)
		}
		var src io.Reader = p
		if p.Header.Get("Content-Transfer-Encoding") == "quoted-printable" {
			src = quotedprintable.NewReader(p)
		}
		body, err := io.ReadAll(src)
		if err != nil {
			t.Fatal(err)
		}
		headers, bodies = append(headers, p.Header), append(bodies, string(body))
	}
	if len(bodies) != 2 && len(bodies) != 3 {
		t.Fatalf("got %d parts, want 2 or 3\n%s", len(bodies), notice)
	}
	if got := headers[1].Get("Content-Type"); got != "message/delivery-status" && got != "message/global-delivery-status" {
		t.Fatalf("got second part %q", got)
	}
	return m.Header, headers, bodies
}

func checkLines(t *testing.T, notice []byte) {
	t.Helper()
	for i, line := range strings.SplitAfter(string(notice), "\r\n") {
		text := strings.TrimSuffix(line, "\r\n")
		if len(text) > hardLine || strings.ContainsAny(text, "\r\n\x00") {
			t.Errorf("line %d is %d bytes or has a bare line end: %.80q", i, len(text), text)
		}
	}
}

// groups reads the fields of the status part, one map for the message and one
// for each recipient.
func groups(t *testing.T, body string) []textproto.MIMEHeader {
	t.Helper()
	var out []textproto.MIMEHeader
	r := textproto.NewReader(bufio.NewReader(strings.NewReader(body + "\r\n\r\n")))
	for {
		h, err := r.ReadMIMEHeader()
		if len(h) == 0 {
			return out
		}
		if err != nil {
			t.Fatalf("status part: %v\n%s", err, body)
		}
		out = append(out, h)
	}
}

func TestFailureIsExact(t *testing.T) {
	got, err := Failure(sample())
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(`From: Mail delivery <mailer-daemon@gate.office.example>
To: <bob@office.example>
Subject: Your message could not be delivered
Date: Mon, 23 Nov 2026 18:00:00 +0000
Message-ID: <token000000000001@gate.office.example>
In-Reply-To: <1@office.example>
References: <1@office.example>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
	boundary="=_token000000000002"

--=_token000000000002
Content-Type: text/plain; charset=us-ascii
Content-Description: Notification

Your message could not be delivered to the people below. We have stopped
trying. If it still matters, look at the reason and send it again.

anna@good.example
    Returned: anna@good.example does not exist at good.example.
    The other server (mx.good.example) said: 550 5.1.1 no such user

The first lines of your message (its header) are attached.
This notice was written by the mail gateway gate.office.example.

--=_token000000000002
Content-Type: message/delivery-status
Content-Description: Delivery report

Reporting-MTA: dns; gate.office.example
Original-Envelope-Id: QQ314159
Arrival-Date: Mon, 23 Nov 2026 17:00:00 +0000

Original-Recipient: rfc822; anna@old.example
Final-Recipient: rfc822; anna@good.example
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.good.example
Diagnostic-Code: smtp; 550 5.1.1 no such user
Last-Attempt-Date: Mon, 23 Nov 2026 18:00:00 +0000

--=_token000000000002
Content-Type: text/rfc822-headers
Content-Description: Your message, its header

Message-ID: <1@office.example>
Subject: Invoice
To: anna@good.example

--=_token000000000002--
`, "\n", "\r\n")
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	read(t, got)
	again, _ := Failure(sample())
	if !bytes.Equal(got, again) {
		t.Error("the same input gave another notice")
	}
}

func TestDelay(t *testing.T) {
	p := sample()
	p.Recipients[0].Status = "5.7.5" // a policy failure is 4.7.x until it is given up
	p.Recipients[0].RetryUntil = now.Add(72 * time.Hour)
	p.Recipients[0].Sentence = "Held: good.example says mail must be encrypted."
	p.Recipients = append(p.Recipients, Recipient{Final: "b@good.example", Action: Relayed, Status: "2.0.0"})
	got, err := Delay(p)
	if err != nil {
		t.Fatal(err)
	}
	h, _, bodies := read(t, got)
	if h.Get("Subject") != "Your message has not arrived yet" || h.Get("Auto-Submitted") != "auto-replied" {
		t.Errorf("got header %v", h)
	}
	if !strings.Contains(bodies[0], "We keep trying until Thursday, 26 November 2026, 18:00 UTC.") || !strings.Contains(bodies[0], "you do not have to do anything") {
		t.Errorf("got text %s", bodies[0])
	}
	g := groups(t, bodies[1])
	if len(g) != 3 || g[1].Get("Action") != "delayed" || g[1].Get("Status") != "4.7.5" || g[1].Get("Will-Retry-Until") != "Thu, 26 Nov 2026 18:00:00 +0000" || g[2].Get("Action") != "relayed" {
		t.Errorf("got %v", g)
	}
}

func TestStatusAgreesWithAction(t *testing.T) {
	for _, tt := range []struct {
		action       Action
		status, want string
	}{
		{Failed, "5.7.30", "5.7.30"},
		{Failed, "4.4.7", "4.4.7"},
		{Failed, "2.0.0", "5.0.0"},
		{Failed, "", "5.0.0"},
		{Failed, "5.1", "5.0.0"},
		{Failed, "5.1.1\r\nX: y", "5.0.0"},
		{Failed, "5.1234.1", "5.0.0"},
		{Delayed, "5.1.1", "4.1.1"},
		{Delayed, "", "4.0.0"},
		{Relayed, "4.1.1", "2.1.1"},
	} {
		if got := statusFor(tt.action, tt.status); got != tt.want {
			t.Errorf("%s %q: got %s, want %s", tt.action, tt.status, got, tt.want)
		}
	}
}

// Strangers choose nearly every text in a notice; none of it may leave its place.
func TestHostileTexts(t *testing.T) {
	evil := "550 x\r\n\r\n--=_token000000000002\r\nContent-Type: text/html\r\n\r\n<script>\x00\x1b[31m\u202eabc\u2028Status: 2.0.0 grün \xff" + strings.Repeat("y", 3000)
	p := sample()
	p.EnvelopeID = "a\r\nX-Evil: 1"
	p.Recipients[0] = Recipient{
		Final: "jürgen@good.example\r\nX-Evil: 1", Original: "rfc822;a\r\nX-Evil: 1", Status: "5.0.0\r\nX-Evil: 1", Diagnostic: evil,
		RemoteMTA: "mx\r\nX-Evil: 1", Sentence: "Zurück: " + evil,
	}
	p.OriginalHeaders = []byte("Message-ID: <a@b>\r\n\tX-Evil: 1 --=_token000000000002\r\nSubject: gr\xfcn " + strings.Repeat("z", 2000) + "\r\n\r\nbody\r\n")
	got, err := Failure(p)
	if err != nil {
		t.Fatal(err)
	}
	if Is8Bit(got) || bytes.ContainsAny(got, "\x00\x1b") {
		t.Error("got bytes that are not plain ASCII text")
	}
	h, ph, bodies := read(t, got)
	g := groups(t, bodies[1])
	if len(g) != 2 {
		t.Fatalf("got %d groups, want 2:\n%s", len(g), bodies[1])
	}
	for _, m := range []map[string][]string{h, ph[0], ph[1], ph[2], g[0], g[1]} {
		if _, ok := m["X-Evil"]; ok {
			t.Errorf("got a field of a stranger in %v", m)
		}
	}
	if got := g[1].Get("Final-Recipient"); !strings.HasPrefix(got, `utf-8; j\x{FC}rgen@good.example`) {
		t.Errorf("got %q", got)
	}
	if g[1].Get("Remote-MTA") != "" || g[1].Get("Status") != "5.0.0" || len(g[1].Get("Diagnostic-Code")) > maxDiag+50 {
		t.Errorf("got %v", g[1])
	}
	if !utf8.ValidString(bodies[0]) || !strings.Contains(bodies[0], "Zurück: 550 x") || strings.Contains(bodies[0], "body") {
		t.Errorf("got text %q", bodies[0])
	}
	if !strings.Contains(bodies[2], "gr\xfcn "+strings.Repeat("z", 2000)) || strings.Contains(bodies[2], "body") {
		t.Errorf("got original %q, want its header byte for byte", bodies[2])
	}
}

func TestWholeMessage(t *testing.T) {
	for _, tt := range []struct{ name, message, encoding, kind string }{
		{"7-bit", "Subject: x\r\n\r\nhello\r\n.\r\n", "", "message/rfc822"},
		{"8-bit", "Subject: x\r\n\r\nhell\xf6\r\n", "8bit", "message/rfc822"},
		{"over-long line", "Subject: x\r\n\r\n" + strings.Repeat("x", 2000) + "\r\n", "", "text/rfc822-headers"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := sample()
			p.OriginalMessage = []byte(tt.message)
			p.OriginalHeaders = nil
			got, err := Failure(p)
			if err != nil {
				t.Fatal(err)
			}
			h, ph, bodies := read(t, got)
			if ph[2].Get("Content-Type") != tt.kind || ph[2].Get("Content-Transfer-Encoding") != tt.encoding || h.Get("Content-Transfer-Encoding") != tt.encoding {
				t.Errorf("got part %v in %v", ph[2], h)
			}
			if Is8Bit(got) != (tt.encoding == "8bit") {
				t.Errorf("got Is8Bit %v", Is8Bit(got))
			}
			want := tt.message
			if tt.kind != "message/rfc822" {
				want = "Subject: x\r\n"
			}
			if bodies[2] != want {
				t.Errorf("got %q, want %q", bodies[2], want)
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	long := strings.Repeat("X: "+strings.Repeat("y", 95)+"\r\n", 1000)
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"\r\nbody", ""},
		{"A: b\r\n\r\nbody\r\n\r\nmore", "A: b\r\n"},
		{"A: b\r\n", "A: b\r\n"},
		{long + "\r\nbody", long[:MaxHeaders/100*100]},
		{strings.Repeat("x", MaxHeaders+5), ""},
	} {
		if got := string(Headers([]byte(tt.in))); got != tt.want {
			t.Errorf("%.20q: got %d bytes, want %d", tt.in, len(got), len(tt.want))
		}
	}
}

// A boundary that stands in the message is not used.
func TestBoundaryIsNotInTheMessage(t *testing.T) {
	p := sample()
	p.OriginalHeaders = []byte("X: --=_token000000000002\r\n")
	got, err := Failure(p)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(got, []byte(`boundary="=_token000000000003"`)) {
		t.Errorf("got\n%s", got)
	}
	p.Token = func() string { return "short" }
	if _, err := Failure(p); err == nil {
		t.Error("got no error for a bad Token")
	}
	p.Token = nil
	one, err := Failure(p)
	two, _ := Failure(p)
	if err != nil || bytes.Equal(one, two) {
		t.Errorf("got %v, or the same random boundary twice", err)
	}
}

func TestCallersMistakes(t *testing.T) {
	for name, change := range map[string]func(*Params){
		"no recipients": func(p *Params) { p.Recipients = nil },
		"null path":     func(p *Params) { p.To = "" },
		"bad To":        func(p *Params) { p.To = "a@b>\r\nBcc: <x@y" },
		"bad From":      func(p *Params) { p.From = "x" },
		"bad name":      func(p *Params) { p.ReportingMTA = "a\r\nb" },
		"no time":       func(p *Params) { p.Now = time.Time{} },
	} {
		p := sample()
		change(&p)
		if _, err := Failure(p); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
