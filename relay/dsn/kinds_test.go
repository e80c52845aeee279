package dsn

import (
	"mime"
	"net/mail"
	"strings"
	"testing"
	"time"
)

// RFC 3461, Sections 5.2.2 and 6.2: what was handed to a server without DSN is
// relayed; what is in a mailbox is delivered. The class of the status is 2.
func TestSuccess(t *testing.T) {
	p := sample()
	p.OriginalMessage = []byte("Subject: x\r\n\r\nbody\r\n")
	p.Recipients = []Recipient{
		{Final: "anna@good.example", Status: "2.1.5", Diagnostic: "250 2.1.5 ok", RemoteMTA: "mx.good.example", LastAttempt: now},
		{Final: "bob@good.example", Action: Delivered, Sentence: "In the mailbox."},
	}
	got, err := Success(p)
	if err != nil {
		t.Fatal(err)
	}
	h, ph, bodies := read(t, got)
	if h.Get("Subject") != "Your message was passed on" || h.Get("Auto-Submitted") != "auto-replied" {
		t.Errorf("got header %v", h)
	}
	for _, want := range []string{"Passed on to mx.good.example", "In the mailbox.", "You asked to be told"} {
		if !strings.Contains(bodies[0], want) {
			t.Errorf("the text lacks %q:\n%s", want, bodies[0])
		}
	}
	g := groups(t, bodies[1])
	if len(g) != 3 || g[1].Get("Action") != "relayed" || g[1].Get("Status") != "2.1.5" || g[2].Get("Action") != "delivered" || g[2].Get("Status") != "2.0.0" {
		t.Errorf("got %v", g)
	}
	if ph[2].Get("Content-Type") != "text/rfc822-headers" || bodies[2] != "Subject: x\r\n" {
		t.Errorf("got %v %q, want the header alone", ph[2], bodies[2])
	}
}

// RFC 3461, Section 4.3: RET is about failures alone.
func TestDelayNeverHasTheWholeMessage(t *testing.T) {
	p := sample()
	p.OriginalMessage = []byte("Subject: x\r\n\r\nbody\r\n")
	got, err := Delay(p)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, bodies := read(t, got); bodies[2] != "Subject: x\r\n" || strings.Contains(bodies[0], "Your message is attached") {
		t.Errorf("got %q", bodies)
	}
}

// RET=FULL is bounded, and what cannot be sent as it is goes back as its header.
func TestReturnedOriginal(t *testing.T) {
	head := "Subject: x\r\n"
	for _, tt := range []struct {
		name, message, kind, encoding string
		whole                         bool
	}{
		{"small", head + "\r\nbody\r\n", "message/rfc822", "", true},
		{"as big as may be", head + "\r\n" + strings.Repeat(strings.Repeat("y", 98)+"\r\n", 10485) + strings.Repeat("y", 62), "message/rfc822", "", true},
		{"bigger", head + "\r\n" + strings.Repeat(strings.Repeat("y", 98)+"\r\n", 10485) + strings.Repeat("y", 63), "text/rfc822-headers", "", false},
		{"8-bit body", head + "\r\ngr\xc3\xbcn\r\n", "message/rfc822", "8bit", true},
		{"UTF-8 header", "Subject: gr\xc3\xbcn\r\n\r\nx\r\n", "message/global", "8bit", true},
		{"another 8-bit header", "Subject: gr\xfcn\r\n\r\nx\r\n", "message/rfc822", "8bit", true},
		{"NUL", head + "\r\n\x00\r\n", "text/rfc822-headers", "", false},
		{"bare LF", head + "\r\na\nb\r\n", "text/rfc822-headers", "", false},
		{"UTF-8 header, long line", "Subject: gr\xc3\xbcn\r\n\r\n" + strings.Repeat("x", 999) + "\r\n", "message/global-headers", "quoted-printable", false},
		{"8-bit header, long line", "Subject: gr\xfcn\r\n\r\n" + strings.Repeat("x", 999) + "\r\n", "text/rfc822-headers; charset=unknown-8bit", "quoted-printable", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := sample()
			p.OriginalHeaders, p.OriginalMessage = nil, []byte(tt.message)
			got, err := Failure(p)
			if err != nil {
				t.Fatal(err)
			}
			_, ph, bodies := read(t, got)
			if kind := ph[2].Get("Content-Type"); kind != tt.kind || ph[2].Get("Content-Transfer-Encoding") != tt.encoding {
				t.Errorf("got %v, want %s, %q", ph[2], tt.kind, tt.encoding)
			}
			want := tt.message
			if !tt.whole {
				want, _, _ = strings.Cut(tt.message, "\r\n\r\n")
				want += "\r\n"
			}
			if bodies[2] != want {
				t.Errorf("got %.100q, want %.100q", bodies[2], want)
			}
			if strings.Contains(bodies[0], "Your message is attached.") != tt.whole {
				t.Errorf("the text says %s", bodies[0])
			}
		})
	}
}

// RFC 8689, Section 5: the caller may leave the original out.
func TestWithoutOriginal(t *testing.T) {
	p := sample()
	p.OriginalHeaders = nil
	got, err := Failure(p)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, bodies := read(t, got); len(bodies) != 2 || strings.Contains(bodies[0], "attached") {
		t.Errorf("got %d parts: %q", len(bodies), bodies)
	}
}

// RFC 6533, Sections 3 and 4: addresses outside ASCII as they are when the notice
// needs SMTPUTF8 anyway, else in ASCII.
func TestInternationalAddresses(t *testing.T) {
	for _, tt := range []struct {
		to, kind, final, original string
		eightBit                  bool
	}{
		{"bob@office.example", "message/delivery-status", `utf-8; j\x{FC}rgen@good.example`, `utf-8; \x{9577}@good.example`, false},
		{"bärbel@office.example", "message/global-delivery-status", "utf-8; jürgen@good.example", "utf-8; 長@good.example", true},
	} {
		p := sample()
		p.To = tt.to
		p.Recipients[0].Final, p.Recipients[0].Original = "jürgen@good.example", "utf-8;長@good.example"
		p.Recipients[0].Sentence = "Returned: jürgen does not exist.\nZurück: jürgen gibt es nicht."
		got, err := Failure(p)
		if err != nil {
			t.Fatal(err)
		}
		h, ph, bodies := read(t, got)
		to, err := mail.ParseAddress(h.Get("To"))
		if err != nil || to.Address != tt.to {
			t.Errorf("got To %q, %v", h.Get("To"), err)
		}
		g := groups(t, bodies[1])
		if ph[1].Get("Content-Type") != tt.kind || g[1].Get("Final-Recipient") != tt.final || g[1].Get("Original-Recipient") != tt.original {
			t.Errorf("%s: got %v %v", tt.to, ph[1], g[1])
		}
		if Is8Bit(got) != tt.eightBit || (h.Get("Content-Transfer-Encoding") == "8bit") != tt.eightBit {
			t.Errorf("%s: 8-bit %v, header %v", tt.to, Is8Bit(got), h)
		}
		if !strings.Contains(bodies[0], "    Returned: jürgen does not exist.\r\n    Zurück: jürgen gibt es nicht.\r\n") {
			t.Errorf("got text\n%s", bodies[0])
		}
		kind, params, err := mime.ParseMediaType(ph[0].Get("Content-Type"))
		if err != nil || kind != "text/plain" || params["charset"] != "utf-8" {
			t.Errorf("got %q %v, %v", kind, params, err)
		}
	}
}

// FuzzNotice builds notices out of whatever strangers may write: the structure
// holds and no field is theirs.
func FuzzNotice(f *testing.F) {
	f.Add("anna@good.example", "rfc822;anna@old.example", "5.1.1", "550 5.1.1 no such user", "mx.good.example", "Returned.", "env", []byte("Subject: x\r\n\r\nbody\r\n"), byte(0))
	f.Add("jürgen@good.example", "utf-8;長@x", "x\r\nEvil: 1", "a\r\n\r\n--=_token000000000002\r\n", "a\r\nEvil: 1", "x\nEvil: 1\n\r\n--", "\r\nEvil: 1", []byte("--=_token000000000002\r\n"), byte(1))
	f.Add(strings.Repeat("a", 1200), strings.Repeat("a", 30)+";x", "", strings.Repeat("\xff", 1200), "", strings.Repeat("é", 2500), " ", []byte("Message-ID: <a@b>\r\n\xff\r\n"), byte(2))
	f.Add("", "rfc822; ", "9.9.9", "\x00\x1b", "[192.0.2.1]", "", "", []byte("\r\n"), byte(7))
	f.Fuzz(func(t *testing.T, final, original, status, diagnostic, mta, sentence, envid string, message []byte, mode byte) {
		p := sample()
		p.EnvelopeID = envid
		if mode&4 != 0 {
			p.To = "bärbel@office.example"
		}
		p.Recipients = []Recipient{{Final: final, Original: original, Status: status, Diagnostic: diagnostic, RemoteMTA: mta, Sentence: sentence, RetryUntil: now.Add(time.Hour)}, {Final: "z@good.example"}}
		p.OriginalHeaders, p.OriginalMessage = nil, message
		if mode&8 != 0 {
			p.OriginalHeaders, p.OriginalMessage = message, nil
		}
		write, action, class := Failure, "failed", "45"
		switch mode & 3 {
		case 1:
			write, action, class = Delay, "delayed", "4"
		case 2:
			write, action, class = Success, "relayed", "2"
		}
		got, err := write(p)
		if err != nil {
			t.Fatal(err)
		}
		h, ph, bodies := read(t, got)
		g := groups(t, bodies[1])
		if len(g) != 3 || g[0].Get("Reporting-Mta") == "" || g[2].Get("Final-Recipient") != "rfc822; z@good.example" {
			t.Fatalf("got groups %v of\n%s", g, got)
		}
		for _, r := range g[1:] {
			if s := r.Get("Status"); r.Get("Action") != action || len(s) < 5 || !strings.Contains(class, s[:1]) {
				t.Errorf("got %v", r)
			}
		}
		known := " Reporting-Mta Original-Envelope-Id Arrival-Date Original-Recipient Final-Recipient Action Status Remote-Mta Diagnostic-Code Last-Attempt-Date Will-Retry-Until " +
			"From To Subject Date Message-Id In-Reply-To References Auto-Submitted Mime-Version Content-Type Content-Transfer-Encoding Content-Description "
		headers := []map[string][]string{h, g[0], g[1], g[2]}
		for _, part := range ph {
			headers = append(headers, part)
		}
		for _, header := range headers {
			for name := range header {
				if !strings.Contains(known, " "+name+" ") {
					t.Errorf("got the field %q", name)
				}
			}
		}
		if mode&4 == 0 && len(bodies) == 3 && ph[2].Get("Content-Transfer-Encoding") != "8bit" && Is8Bit(got) {
			t.Errorf("8-bit bytes where none were announced")
		}
	})
}
