package mtasts

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func FuzzParseRecord(f *testing.F) {
	for _, v := range readVectors(f, "testdata/record.txt") {
		rrs := append(records(f, v), "", "")
		f.Add(rrs[0], rrs[1])
	}
	// The grammar of Section 3.1 as one expression; the first id counts.
	grammar := regexp.MustCompile(`\Av=STSv1([ \t]*;[ \t]*[^;= \t]+=([^;]*[^; \t])?)+([ \t]*;[ \t]*)?\z`)
	f.Fuzz(func(t *testing.T, a, b string) {
		r, err := ParseRecord([]string{a})
		if err == nil {
			if !grammar.MatchString(a) {
				t.Errorf("%q is accepted", a)
			}
			again, err := ParseRecord([]string{r.String()})
			if err != nil || again.String() != r.String() {
				t.Errorf("%q gives %s, which reads back as %s, %v", a, r, again, err)
			}
			if strings.HasPrefix(a, "v=STSv1;") && !strings.HasPrefix(b, "v=STSv1;") {
				if both, err := ParseRecord([]string{b, a}); err != nil || both.ID != r.ID {
					t.Errorf("%q beside %q: got %v, %v", b, a, both, err)
				}
			}
		}
		if strings.HasPrefix(a, "v=STSv1;") && strings.HasPrefix(b, "v=STSv1;") {
			if _, err := ParseRecord([]string{a, b}); recordOutcome(Record{}, err) != "multiple-records" {
				t.Errorf("%q and %q: got %v", a, b, err)
			}
		}
	})
}

// FuzzParsePolicy compares the parser with a second one that is written from
// the grammar, slow and plain.
func FuzzParsePolicy(f *testing.F) {
	for _, v := range readVectors(f, "testdata/policy.txt") {
		f.Add([]byte(unquoted(f, v.values["body"]...)))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := ParsePolicy(body)
		q, ok := naivePolicy(string(body))
		if ok != (err == nil) {
			t.Fatalf("%q: got %v, the plain parser says %v", body, err, ok)
		}
		if err != nil {
			return
		}
		if got, want := policyOutcome(p, nil), policyOutcome(q, nil); got != want {
			t.Errorf("%q: got %s, the plain parser says %s", body, got, want)
		}
		p.Clamped = false
		again, err := ParsePolicy(p.Text())
		if len(p.Text()) <= MaxPolicySize && (err != nil || policyOutcome(again, nil) != policyOutcome(p, nil)) {
			t.Errorf("%q reads back as %v, %v", p.Text(), again, err)
		}
	})
}

var (
	naiveField = regexp.MustCompile(`(?s)\A([^:\n]*):[ \t]*(.*?)[ \t]*\z`)
	naiveName  = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9_.-]{0,31}\z`)
	naiveMX    = regexp.MustCompile(`\A(\*\.)?[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*\z`)
	naiveAge   = regexp.MustCompile(`\A[0-9]{1,10}\z`)
)

func naivePolicy(body string) (p Policy, ok bool) {
	if len(body) > MaxPolicySize {
		return p, false
	}
	seen := make(map[string]bool)
	lines := strings.Split(body, "\n")
	if last := len(lines) - 1; last > 0 && lines[last] == "" {
		lines = lines[:last]
	} else {
		lines[last] += "\x00" // no line end: a CR here is no part of one
	}
	for _, line := range lines {
		if whole, ok := strings.CutSuffix(line, "\x00"); ok && line == lines[len(lines)-1] && !strings.HasSuffix(body, "\n") {
			line = whole
		} else {
			line = strings.TrimSuffix(line, "\r")
		}
		m := naiveField.FindStringSubmatch(line)
		if m == nil {
			return p, false
		}
		name, value := m[1], m[2]
		if name != "mx" && seen[name] {
			continue
		}
		seen[name] = true
		switch name {
		case "version":
			ok = value == "STSv1"
		case "mode":
			ok = value == "enforce" || value == "testing" || value == "none"
			p.Mode = Mode(value)
		case "max_age":
			ok = naiveAge.MatchString(value)
			n, _ := strconv.Atoi(value)
			if n > 31557600 {
				n, p.Clamped = 31557600, true
			}
			p.MaxAge = time.Duration(n) * time.Second
		case "mx":
			ok = naiveMX.MatchString(value) && len(strings.TrimPrefix(value, "*.")) <= 253
			p.MX = append(p.MX, value)
		default:
			ok = naiveName.MatchString(name) && value != "" && utf8.ValidString(value) &&
				!strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || r == 0x7f })
			p.Extensions = append(p.Extensions, Extension{name, value})
		}
		if !ok {
			return p, false
		}
	}
	return p, seen["version"] && seen["mode"] && seen["max_age"] && (seen["mx"] || p.Mode == None)
}

// FuzzMatch compares Match with the words of Section 4.1.
func FuzzMatch(f *testing.F) {
	for _, v := range readVectors(f, "testdata/match.txt") {
		for _, host := range strings.Fields(strings.Join(append(v.values["match"], v.values["none"]...), " ")) {
			f.Add(v.values["pattern"][0], host)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, host string) {
		got, err := MatchPattern(pattern, host)
		if valid := naiveMX.MatchString(pattern) && len(strings.TrimPrefix(pattern, "*.")) <= 253; valid != (err == nil) {
			t.Fatalf("pattern %q: got %v, want valid %v", pattern, err, valid)
		}
		name, ok := hostName(host)
		want := false
		if err == nil && ok {
			name, pattern := strings.ToLower(name), strings.ToLower(pattern)
			want = name == pattern
			if rest, wild := strings.CutPrefix(pattern, "*"); wild {
				label, below := strings.CutSuffix(name, rest)
				want = below && label != "" && !strings.Contains(label, ".")
			}
		}
		if got != want {
			t.Errorf("%q against %q: got %v, want %v", host, pattern, got, want)
		}
	})
}
