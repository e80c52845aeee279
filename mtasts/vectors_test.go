package mtasts

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// vector is one case of a file in testdata: lines "key: value", a blank line
// between cases, "#" for comments.
type vector struct {
	name   string
	values map[string][]string
}

func readVectors(t testing.TB, file string) []vector {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []vector
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			t.Fatalf("%s:%d: no key", file, n)
		}
		value = strings.TrimSpace(value)
		if key == "case" {
			list = append(list, vector{value, make(map[string][]string)})
			continue
		}
		v := list[len(list)-1].values
		v[key] = append(v[key], value)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		t.Fatalf("%s: no cases", file)
	}
	return list
}

// unquoted joins quoted strings: of one line for a record's strings, of all
// lines for a body.
func unquoted(t testing.TB, lines ...string) string {
	t.Helper()
	var b strings.Builder
	for _, line := range lines {
		for line != "" {
			quoted, err := strconv.QuotedPrefix(line)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			s, _ := strconv.Unquote(quoted)
			b.WriteString(s)
			line = strings.TrimSpace(line[len(quoted):])
		}
	}
	return b.String()
}

func records(t testing.TB, v vector) []string {
	var rrs []string
	for _, line := range v.values["rr"] {
		rrs = append(rrs, unquoted(t, line))
	}
	return rrs
}

func recordOutcome(r Record, err error) string {
	switch {
	case err == nil:
		return r.ID
	case errors.Is(err, ErrNoRecord):
		return "no-record"
	case errors.Is(err, ErrMultipleRecords):
		return "multiple-records"
	case errors.Is(err, ErrRecordSyntax):
		return "record-syntax"
	}
	return "unexpected error: " + err.Error()
}

func policyOutcome(p Policy, err error) string {
	if err != nil {
		return "error " + strings.TrimPrefix(err.Error(), "mtasts: policy syntax: ")
	}
	s := fmt.Sprintf("%s %s %d", p.Mode, p.MX, int64(p.MaxAge/time.Second))
	if p.Clamped {
		s += " clamped"
	}
	for _, e := range p.Extensions {
		s += fmt.Sprintf(" %s=%q", e.Name, e.Value)
	}
	return s
}

func TestRecordVectors(t *testing.T) {
	for _, v := range readVectors(t, "testdata/record.txt") {
		t.Run(v.name, func(t *testing.T) {
			r, err := ParseRecord(records(t, v))
			if got, want := recordOutcome(r, err), v.values["want"][0]; got != want {
				t.Errorf("got %s (%v), want %s", got, err, want)
			}
			if err == nil {
				again, err := ParseRecord([]string{r.String()})
				if err != nil || again.String() != r.String() {
					t.Errorf("%s reads back as %s, %v", r, again, err)
				}
			}
		})
	}
}

func TestRecordExtensions(t *testing.T) {
	r, err := ParseRecord([]string{"v=STSv1; b=1; id=x; a=2; b=3;"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(r.Extensions), "[{b 1} {a 2}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := r.String(), "v=STSv1; id=x; b=1; a=2;"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPolicyVectors(t *testing.T) {
	for _, v := range readVectors(t, "testdata/policy.txt") {
		t.Run(v.name, func(t *testing.T) {
			checkPolicy(t, unquoted(t, v.values["body"]...), v.values["want"][0])
		})
	}
}

func checkPolicy(t *testing.T, body, want string) {
	t.Helper()
	p, err := ParsePolicy([]byte(body))
	got := policyOutcome(p, err)
	if part, ok := strings.CutPrefix(want, "error "); ok {
		if err == nil || !strings.Contains(got, part) {
			t.Errorf("got %s, want an error with %q", got, part)
		}
		if err != nil && !errors.Is(err, ErrPolicySyntax) {
			t.Errorf("got %v, which is not ErrPolicySyntax", err)
		}
		return
	}
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	p.Clamped = false // it is written as what it was cut to
	again, err := ParsePolicy(p.Text())
	if err != nil || policyOutcome(again, nil) != policyOutcome(p, nil) {
		t.Errorf("%q reads back as %s, %v", p.Text(), policyOutcome(again, err), err)
	}
}

// TestPolicySize: 64 KiB are read, one byte more is an error and not cut.
func TestPolicySize(t *testing.T) {
	body := "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 1\nx: "
	body += strings.Repeat("a", MaxPolicySize-len(body))
	if _, err := ParsePolicy([]byte(body)); err != nil {
		t.Errorf("a policy of %d bytes: got %v, want nil", len(body), err)
	}
	if _, err := ParsePolicy([]byte(body + "a")); !errors.Is(err, ErrPolicySyntax) {
		t.Errorf("a policy of %d bytes: got %v, want ErrPolicySyntax", len(body)+1, err)
	}
}

// TestSyntaxErrorBounded: the message holds little of a stranger's text, and
// nothing that could act on a terminal.
func TestSyntaxErrorBounded(t *testing.T) {
	_, err := ParsePolicy([]byte("version: STSv1\nmode: \x1b[31m" + strings.Repeat("a", 10000)))
	if err == nil || len(err.Error()) > 300 || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("got %.400q", err)
	}
}

func TestMatchVectors(t *testing.T) {
	for _, v := range readVectors(t, "testdata/match.txt") {
		t.Run(v.name, func(t *testing.T) {
			checkMatch(t, Policy{MX: v.values["pattern"]}, v)
		})
	}
}

func checkMatch(t *testing.T, p Policy, v vector) {
	t.Helper()
	for _, host := range strings.Fields(strings.Join(v.values["match"], " ")) {
		if !p.Match(host) {
			t.Errorf("%s does not match %q, it should", host, p.MX)
		}
	}
	for _, host := range strings.Fields(strings.Join(v.values["none"], " ")) {
		if p.Match(host) {
			t.Errorf("%s matches %q, it should not", host, p.MX)
		}
	}
}

func TestMatchPattern(t *testing.T) {
	if ok, err := MatchPattern("*.example.com", "mx.example.com"); !ok || err != nil {
		t.Errorf("got %v, %v, want true", ok, err)
	}
	long := strings.Repeat("a.", 126) + "aa"
	for _, pattern := range []string{"", "*", "*.*.a", "a b", "ü.example", "*." + long + "a", long + "a", long + "aaaaa"} {
		if _, err := MatchPattern(pattern, "mx.example.com"); !errors.Is(err, ErrPattern) {
			t.Errorf("%.20q: got %v, want ErrPattern", pattern, err)
		}
	}
	if (Policy{MX: []string{"*.example"}}).Match("") {
		t.Error("the empty host matches")
	}
}

// TestInterop: records and policies shaped like those of large providers, with
// right and wrong MX hosts.
func TestInterop(t *testing.T) {
	files, err := filepath.Glob("testdata/interop/*.txt")
	if err != nil || len(files) < 8 {
		t.Fatalf("got %d files, %v", len(files), err)
	}
	for _, file := range files {
		for _, v := range readVectors(t, file) {
			t.Run(v.name, func(t *testing.T) {
				if _, err := ParseRecord(records(t, v)); err != nil {
					t.Error(err)
				}
				body := unquoted(t, v.values["body"]...)
				checkPolicy(t, body, v.values["want"][0])
				p, _ := ParsePolicy([]byte(body))
				checkMatch(t, p, v)
				for _, host := range strings.Fields(v.values["none"][0]) {
					if got, want := JudgeMX(p, host).Deliver, p.Mode != Enforce; got != want {
						t.Errorf("mail to %s may go: got %v, want %v", host, got, want)
					}
				}
			})
		}
	}
}

func TestPolicyDomain(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"example.com", "example.com"},
		{"Example.COM.", "example.com"},
		{"bücher.example", "xn--bcher-kva.example"},
		{"BÜCHER.example", "xn--bcher-kva.example"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"mail.example.com", "mail.example.com"}, // never the parent
		{"a_b.example", "a_b.example"},
		{strings.Repeat("a.", 121) + "aa", strings.Repeat("a.", 121) + "aa"},
		{strings.Repeat("a.", 122) + "aa", ""},
		{"", ""},
		{".", ""},
		{"a..b", ""},
		{".a", ""},
		{"-a.example", ""},
		{"a/b", ""},
		{"a b", ""},
		{"192.0.2.1", ""},
		{"[192.0.2.1]", ""},
		{"[IPv6:2001:db8::1]", ""},
		{"a\x00b", ""},
		{"..", ""},
		{"\xff.example", ""},
		{strings.Repeat("a", 64) + ".example", ""},
	} {
		got, err := PolicyDomain(test.in)
		if got != test.want || (err == nil) != (test.want != "") || err != nil && !errors.Is(err, ErrDomain) {
			t.Errorf("PolicyDomain(%.30q): got %q, %v, want %q", test.in, got, err, test.want)
		}
	}
}
