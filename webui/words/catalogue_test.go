package words

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"gatepost/webui/foreign"
)

var now = time.Date(2026, 11, 24, 9, 41, 0, 0, time.UTC)

func voice(t *testing.T, lang string) Voice {
	t.Helper()
	b, err := Load(lang)
	if err != nil {
		t.Fatal(err)
	}
	if b.Lang != lang {
		t.Fatalf("got book %q, want %q", b.Lang, lang)
	}
	return Voice{Book: b, Now: now}
}

// forbidden are terms that no first line may use: people who are not mail
// experts read them.
var forbidden = regexp.MustCompile(`(?i)\b(MTA|MX|SMTP|TLS|TLSA|STARTTLS|DANE|DNSSEC|DSN|NDR|RFC|relay|spool|daemon|handshake|policy|enforc\w*|cache\w*|defer\w*|bounce\w*|queue\w*|timeout|x509|Warteschlange\w*)\b`)

// paramSets are all the ways in which parameters can be there or not, once with
// ordinary and once with very long values.
func paramSets() []Params {
	long := foreign.Text(strings.Repeat("a-very-long-label-of-a-stranger.", 40) + "example")
	var sets []Params
	for bits := range 1 << 9 {
		for _, hostile := range []bool{false, true} {
			if hostile && bits>>5 != 15 {
				continue
			}
			p := Params{}
			pick := func(i int, short foreign.Text) foreign.Text {
				switch {
				case bits>>i&1 == 0:
					return ""
				case hostile:
					return long
				}
				return short
			}
			p.Domain = pick(0, "partner.example")
			p.MX = pick(1, "mx.partner.example")
			if n := pick(2, "mail.hoster.example"); n != "" {
				p.Names = []foreign.Text{n, n, n, n}
			}
			p.Rcpt = pick(3, "anna@partner.example")
			p.Reply = pick(4, "4.3.0 Come back when the moon is full")
			if bits>>5&1 == 1 {
				p.Deadline = now.Add(77 * time.Hour)
			}
			if bits>>6&1 == 1 {
				p.Next = now.Add(14 * time.Minute)
			}
			if bits>>7&1 == 1 {
				p.Date = now.Add(-100 * time.Hour)
			}
			if bits>>8&1 == 1 {
				p.Size, p.Tried = 31_000_000, 3
			}
			sets = append(sets, p)
		}
	}
	return sets
}

// checkLine fails when a first line is not fit for the page.
func checkLine(t *testing.T, where string, text Text) {
	t.Helper()
	s, own := text.String(), ""
	for _, p := range text {
		if !p.Foreign {
			own += p.Text
		}
	}
	switch {
	case s == "":
		t.Errorf("%s: no words", where)
	case utf8.RuneCountInString(s) > MaxSentence:
		t.Errorf("%s: got %d characters, want at most %d: %s", where, utf8.RuneCountInString(s), MaxSentence, s)
	case strings.ContainsAny(s, "{}") || strings.Contains(s, "?.") || strings.Contains(s, "  "):
		t.Errorf("%s: a parameter is not filled: %s", where, s)
	case !strings.HasSuffix(s, ".") && !strings.HasSuffix(s, "?"):
		t.Errorf("%s: got %q, want a sentence that ends", where, s)
	}
	if f := forbidden.FindString(own); f != "" {
		t.Errorf("%s: the term %q is not for this page: %s", where, f, s)
	}
}

func TestEveryReasonHasWords(t *testing.T) {
	sets := paramSets()
	for _, lang := range Languages() {
		v := voice(t, lang)
		for _, id := range v.Book.ReasonIDs() {
			seen := map[string]bool{}
			for _, outcome := range []string{Held, Waiting, Returned, Past, Note} {
				for _, p := range sets {
					e := v.Reason(id, outcome, p)
					if s := e.Sentence.String(); !seen[s] {
						seen[s] = true
						checkLine(t, lang+" "+id+" "+outcome, e.Sentence)
					}
					if e.Owner == "" {
						t.Fatalf("%s %s: no owner", lang, id)
					}
					if s := e.Next.String(); s != "" && !seen[s] {
						seen[s] = true
						checkLine(t, lang+" "+id+" next", e.Next)
					}
				}
			}
		}
	}
}

func TestLastVariantNeedsOnlyTheDomain(t *testing.T) {
	for _, lang := range Languages() {
		b := voice(t, lang).Book
		for id, r := range b.reasons {
			for outcome, variants := range r.sentences {
				if len(variants) == 0 {
					continue
				}
				for _, name := range variants[len(variants)-1].names() {
					if name != "domain" {
						t.Errorf("%s %s %s: the last variant needs %q, which may not be known", lang, id, outcome, name)
					}
				}
			}
		}
		for id, p := range b.problems {
			for _, variants := range [][]message{p.sentence, p.happens, p.do} {
				if len(variants) > 0 && len(variants[len(variants)-1].names()) > 0 {
					t.Errorf("%s %s: the last variant has parameters: %v", lang, id, variants[len(variants)-1].names())
				}
			}
		}
	}
}

func TestEveryProblemHasWords(t *testing.T) {
	params := []map[string]string{
		nil,
		{"count": "1", "percent": "88", "domain": "partner.example", "error": "config.toml: line 12: unknown key \"relays\"", "since": "2026-11-24T08:00:00Z"},
		{"count": "1204", "domain": strings.Repeat("long.", 60) + "example", "error": strings.Repeat("x", 5000)},
		{"count": "many", "percent": "", "since": "yesterday", "other": "y"},
	}
	for _, lang := range Languages() {
		v := voice(t, lang)
		for _, id := range v.Book.ProblemIDs() {
			for _, p := range params {
				got := v.Problem(id, p)
				checkLine(t, lang+" "+id, got.Sentence)
				if got.Owner == "" {
					t.Errorf("%s %s: no owner", lang, id)
				}
				if id != "booting" && got.Do.String() == "" {
					t.Errorf("%s %s: nothing to do is said", lang, id)
				}
			}
		}
		for _, id := range []string{
			"storage-missing", "storage-failed", "storage-full", "storage-nearly-full", "config-broken-last-good",
			"config-broken-default", "no-network", "dns-broken", "clock-wrong", "relay-down", "held-mail", "backlog", "booting",
			"spool-damaged", "web-down", "owner-unreadable", "no-answer",
		} {
			if got := v.Problem(id, nil); got.ID != id {
				t.Errorf("%s: problem %q has no words", lang, id)
			}
		}
		for _, id := range []string{"dead", "held", "disk-full", "backlog", "rolled-back", "no-network", "booting", "healthy"} {
			if l, ok := v.Light(id); !ok || l.Look == "" || l.Meaning == "" || l.Do == "" {
				t.Errorf("%s: light %q has no words", lang, id)
			}
		}
		if got, want := len(v.Book.LightIDs()), len(v.Book.lights); got != want {
			t.Errorf("%s: the legend lists %d lights, want %d", lang, got, want)
		}
	}
}

// TestLanguagesAgree compares each language with the first: same ids, same
// parameters.
func TestLanguagesAgree(t *testing.T) {
	want := voice(t, Languages()[0]).Book
	for _, lang := range Languages()[1:] {
		b := voice(t, lang).Book
		sameKeys(t, lang+" reasons", b.reasons, want.reasons)
		sameKeys(t, lang+" problems", b.problems, want.problems)
		sameKeys(t, lang+" lights", b.lights, want.lights)
		sameKeys(t, lang+" owners", b.owners, want.owners)
		sameKeys(t, lang+" texts", b.texts, want.texts)
		for key, m := range b.texts {
			if got, want := slices.Sorted(slices.Values(m.names())), slices.Sorted(slices.Values(want.texts[key].names())); !slices.Equal(got, want) {
				t.Errorf("%s %s: got parameters %v, want %v", lang, key, got, want)
			}
		}
		for id, r := range b.reasons {
			if r.owner != want.reasons[id].owner {
				t.Errorf("%s %s: got owner %q, want %q", lang, id, r.owner, want.reasons[id].owner)
			}
			for outcome, variants := range r.sentences {
				if len(variants) != len(want.reasons[id].sentences[outcome]) {
					t.Errorf("%s %s %s: got %d variants, want %d", lang, id, outcome, len(variants), len(want.reasons[id].sentences[outcome]))
				}
			}
		}
		if len(b.calendar.Weekdays) != 7 || len(b.calendar.Short) != 7 || len(b.calendar.Months) != 12 {
			t.Errorf("%s: the calendar is not whole", lang)
		}
	}
}

func sameKeys[T any](t *testing.T, where string, got, want map[string]T) {
	t.Helper()
	a, b := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))
	if !slices.Equal(a, b) {
		t.Errorf("%s: got %v, want %v", where, a, b)
	}
}

func TestSentences(t *testing.T) {
	full := Params{
		Domain: "partner.example", MX: "mx.partner.example", Names: []foreign.Text{"mail.hoster.example"},
		Rcpt: "anna@partner.example", Reply: "4.3.0 moon not full",
		Deadline: time.Date(2026, 11, 27, 14, 0, 0, 0, time.UTC), Next: time.Date(2026, 11, 24, 9, 55, 0, 0, time.UTC),
		Date: time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC), Size: 31_000_000,
	}
	for _, c := range []struct {
		lang, id, outcome string
		p                 Params
		want              string
	}{
		{"en", "certificate-host-mismatch", Held, full, "Held: partner.example says mail must be encrypted, but its server mx.partner.example showed a certificate for another name (mail.hoster.example). We keep trying until Friday 14:00."},
		{"en", "certificate-expired", Held, full, "Held: the certificate of mx.partner.example ended on 20 Nov. partner.example asks us not to deliver without a valid one. We keep trying until Friday 14:00."},
		{"en", "certificate-not-trusted", Held, full, "Held: mx.partner.example showed a certificate that no known authority signed, and partner.example asks for one that is. We keep trying until Friday 14:00."},
		{"en", "starttls-not-supported", Held, full, "Held: partner.example says mail must be encrypted, but mx.partner.example offered no encryption just now. Someone in between may be hiding it. We keep trying until Friday 14:00."},
		{"en", "sts-mx-not-listed", Held, full, "Held: partner.example names the servers that may take its mail, and mx.partner.example is not one of them. We keep trying until Friday 14:00."},
		{"en", "connect-timeout", Waiting, full, "Waiting: mx.partner.example does not answer. Next try 09:55. We keep trying until Friday 14:00."},
		{"en", "greylisted", Waiting, full, "Waiting: the server of partner.example asked us to come back later, as is usual for a first contact. Next try 09:55. Nothing to do."},
		{"en", "no-such-user", Returned, full, "Returned: anna@partner.example does not exist at partner.example."},
		{"en", "sts-policy-fetch-error", Note, full, "We follow the rules of partner.example that we saved on 20 Nov: the page with its rules could not be read today."},
		{"en", "sts-policy-fetch-error", Note, Params{Domain: "partner.example"}, "partner.example announces rules for its mail, but we could not read them. Mail goes out as if there were none."},
		{"en", "unknown", Waiting, full, "Waiting: partner.example answered something that we do not know: “4.3.0 moon not full”. Next try 09:55."},
		{"en", "never-heard-of", Held, full, "Held: sending this mail to partner.example would not be safe just now. We keep trying."},
		{"en", "too-big", Returned, full, "Returned: this message has 31.0 MB, and that is more than partner.example takes."},
		{"en", "connect-timeout", Waiting, Params{}, "Waiting: the server of the recipient's domain does not answer. We keep trying."},
		{"de", "certificate-expired", Held, full, "Zurückgehalten: Das Zertifikat von mx.partner.example endete am 20. November. partner.example will ohne gültiges Zertifikat keine Mail. Wir versuchen es weiter bis Freitag 14:00."},
	} {
		if got := voice(t, c.lang).Reason(c.id, c.outcome, c.p).Sentence.String(); got != c.want {
			t.Errorf("%s %s:\ngot  %s\nwant %s", c.lang, c.id, got, c.want)
		}
	}
}

func TestNote(t *testing.T) {
	v := voice(t, "en")
	p := Params{Domain: "a.example"}
	if got, want := v.Note("sts-webpki-invalid", p).String(), "The page with the rules of a.example has a bad certificate, so we do not believe it."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, id := range []string{"", "greylisted", "never-heard-of"} {
		if got := v.Note(id, p); len(got) != 0 {
			t.Errorf("%q: got %q, want none", id, got)
		}
	}
}

func TestSentencesKeepTheirParts(t *testing.T) {
	s := voice(t, "en").Reason("certificate-host-mismatch", Held, Params{
		Domain: "xn--bcher-kva.example", MX: "mx\u202egpj.example", Names: []foreign.Text{"a.example", "b.example", "c.example"},
		Deadline: now.Add(time.Hour),
	}).Sentence
	var foreigners []string
	var times int
	for _, p := range s {
		if p.Foreign {
			foreigners = append(foreigners, p.Text)
		}
		if !p.Time.IsZero() {
			times++
		}
	}
	want := []string{"bücher.example (xn--bcher-kva.example)", "mx‹U+202E›gpj.example", "a.example, b.example +1"}
	if !slices.Equal(foreigners, want) || times != 1 {
		t.Errorf("got %q and %d times, want %q and 1", foreigners, times, want)
	}
}

func TestProblemSentences(t *testing.T) {
	v := voice(t, "en")
	for _, c := range []struct {
		id   string
		p    map[string]string
		want string
	}{
		{"held-mail", map[string]string{"count": "1", "domain": "a.example"}, "1 message is held for safety, all to a.example."},
		{"held-mail", map[string]string{"count": "3"}, "3 messages are held for safety."},
		{"held-mail", nil, "Some mail is held for safety."},
		{"backlog", map[string]string{"count": "1204", "since": "2026-11-24T08:00:00Z"}, "Mail is backing up: 1,204 messages wait, the oldest since 08:00."},
		{"storage-nearly-full", map[string]string{"percent": "88"}, "The data disk is 88 % full."},
		{"martian", nil, "Something is wrong that this page has no words for."},
	} {
		if got := v.Problem(c.id, c.p).Sentence.String(); got != c.want {
			t.Errorf("%s: got %q, want %q", c.id, got, c.want)
		}
	}
}
