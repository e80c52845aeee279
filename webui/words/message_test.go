package words

import (
	"strings"
	"testing"
	"time"

	"gatepost/webui/foreign"
)

func TestParseMessage(t *testing.T) {
	v := voice(t, "de")
	for _, c := range []struct {
		in   string
		vals values
		want string
	}{
		{"plain", nil, "plain"},
		{"to {domain}.", values{"domain": host("a.example")}, "to a.example."},
		{"{n, plural, one {# message} other {# messages}} wait", values{"n": 1}, "1 message wait"},
		{"{n, plural, one {# message} other {# messages}}", values{"n": 2000}, "2.000 messages"},
		{"{n, plural, one {one to {domain}} other {# to {domain}}}", values{"n": 2, "domain": foreign.Text("#1")}, "2 to #1"},
		{"{size}", values{"size": bytes(1_249_000)}, "1,2 MB"},
		{"{at}", values{"at": now.Add(24 * time.Hour)}, "Mittwoch 09:41"},
	} {
		m, err := parseMessage(c.in)
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if got := v.fill(m, c.vals).String(); got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
	for _, bad := range []string{
		"{", "}", "{}", "{A}", "{a b}", "{n, plural}", "{n, plural, one {x}", "{n, plural, one {x} other {}}",
		"{n, select, one {x} other {y}}", "{n, plural, one {{m, plural, one {x} other {y}}} other {z}}", "a}b",
	} {
		if m, err := parseMessage(bad); err == nil {
			t.Errorf("%q: got %v, want an error", bad, m)
		}
	}
}

func FuzzParseMessage(f *testing.F) {
	for _, s := range []string{"plain", "to {domain}", "{n, plural, one {# a} other {# b {c}}}", "{{}}", "{n, plural, one {"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := parseMessage(s)
		if err == nil && !strings.Contains(s, "{") && m.plain() != s {
			t.Errorf("got %q, want %q", m.plain(), s)
		}
	})
}

func TestSay(t *testing.T) {
	v := voice(t, "en")
	if got, ok := v.Say("waiting.tries", "count", 1); !ok || got.String() != "1 try" {
		t.Errorf("got %q %v, want \"1 try\"", got, ok)
	}
	for _, pairs := range [][]any{nil, {"number", 1}, {"count"}, {1, 2}} {
		if got, ok := v.Say("waiting.tries", pairs...); ok {
			t.Errorf("%v: got %q, want none", pairs, got)
		}
	}
	if _, ok := v.Say("no.such.key"); ok {
		t.Error("a missing key was said")
	}
}

func TestMatch(t *testing.T) {
	for header, want := range map[string]string{
		"": "en", "de": "de", "de-AT,de;q=0.9,en;q=0.8": "de", "fr, de;q=0.5": "de", "fr": "en", "EN-us": "en",
		"de;q=0, en": "en", ";;;,,,": "en", strings.Repeat("fr,", 50) + "de": "en",
	} {
		if got := Match(header); got != want {
			t.Errorf("%q: got %q, want %q", header, got, want)
		}
	}
}

func TestTimes(t *testing.T) {
	en := voice(t, "en")
	berlin := time.FixedZone("CET", 3600)
	for _, c := range []struct {
		at   time.Time
		zone *time.Location
		want string
	}{
		{now, nil, "09:41"},
		{now.Add(15 * time.Hour), nil, "Wednesday 00:41"},
		{now.Add(13*time.Hour + 30*time.Minute), berlin, "Wednesday 00:11"},
		{now.Add(-6 * 24 * time.Hour), nil, "Wednesday 09:41"},
		{now.Add(-7 * 24 * time.Hour), nil, "17 Nov 09:41"},
		{now.Add(60 * 24 * time.Hour), nil, "23 Jan 2027 09:41"},
	} {
		v := en
		v.Zone = c.zone
		if got := v.Time(c.at); got != c.want {
			t.Errorf("%v: got %q, want %q", c.at, got, c.want)
		}
	}
	if got, want := en.Today(), "Tue 24 Nov, 09:41 UTC"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := en.ZoneName(), "UTC"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNumbers(t *testing.T) {
	en, de := voice(t, "en"), voice(t, "de")
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "-1,234"} {
		if got := en.Number(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{12: "12 B", 1500: "2 kB", 240_000: "240 kB", 26_214_400: "26,2 MB"} {
		if got := de.Size(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}
