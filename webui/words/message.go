package words

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"gatepost/webui/foreign"
)

// message is a parsed text: literal pieces, parameters, and plurals of the
// form {count, plural, one {# message} other {# messages}}.
type message []node

type node struct {
	literal    string // when name is ""
	name       string
	one, other message // when the parameter is a plural
}

var paramName = regexp.MustCompile(`^[a-z][a-z_]*$`)

func parseMessage(s string) (message, error) {
	m, rest, err := parseUntil(s, false)
	if err == nil && rest != "" {
		err = errors.New("a } without its {")
	}
	if err != nil {
		return nil, fmt.Errorf("%q: %w", s, err)
	}
	return m, nil
}

// parseUntil reads nodes up to the end of s, or up to the closing brace of a
// plural branch when nested.
func parseUntil(s string, nested bool) (m message, rest string, err error) {
	for s != "" {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			i = len(s)
		}
		if i > 0 {
			m = append(m, node{literal: s[:i]})
			s = s[i:]
			continue
		}
		if s[0] == '}' {
			return m, s, nil
		}
		end := strings.IndexAny(s, ",}")
		if end < 0 {
			return nil, "", errors.New("a { without its }")
		}
		n := node{name: s[1:end]}
		if !paramName.MatchString(n.name) {
			return nil, "", fmt.Errorf("bad parameter name %q", n.name)
		}
		if s[end] == '}' {
			m = append(m, n)
			s = s[end+1:]
			continue
		}
		if nested {
			return nil, "", errors.New("a plural inside a plural")
		}
		s = s[end+1:]
		for _, step := range []struct {
			keyword string
			into    *message
		}{{"plural, one {", &n.one}, {"other {", &n.other}} {
			var ok bool
			if s, ok = strings.CutPrefix(strings.TrimLeft(s, " "), step.keyword); !ok {
				return nil, "", fmt.Errorf("want %q", step.keyword)
			}
			if *step.into, s, err = parseUntil(s, true); err != nil {
				return nil, "", err
			}
			if s, ok = strings.CutPrefix(s, "}"); !ok {
				return nil, "", errors.New("a plural branch does not end")
			}
		}
		if s, _ = strings.CutPrefix(s, "}"); len(n.other) == 0 {
			return nil, "", errors.New("an empty plural branch")
		}
		m = append(m, n)
	}
	if nested {
		return nil, "", errors.New("a plural branch does not end")
	}
	return m, "", nil
}

// Piece is a part of a Text.
type Piece struct {
	Text    string
	Time    time.Time // set when the piece stands for a time
	Foreign bool      // the piece was chosen by a stranger; already cleaned
}

// Text is what a message became. A page shows each piece by its kind: a time
// in <time>, a stranger's words in <bdi>.
type Text []Piece

// String joins the pieces.
func (t Text) String() string {
	var b strings.Builder
	for _, p := range t {
		b.WriteString(p.Text)
	}
	return b.String()
}

// values are the parameters of a message. Strings, foreign.Text, host, ints,
// bytes, time.Time and day are understood; an absent key or a zero text or time
// is "not given".
type values map[string]any

type (
	host  foreign.Text // shown in both forms when internationalised
	bytes int64        // shown as kB or MB
	day   time.Time    // shown without the hour
)

// given reports whether v holds something to show.
func given(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case string:
		return v != ""
	case foreign.Text:
		return v != ""
	case host:
		return v != ""
	case time.Time:
		return !v.IsZero()
	case day:
		return !time.Time(v).IsZero()
	case bytes:
		return v > 0
	}
	return true
}

// complete reports whether every parameter of m is given.
func (m message) complete(vals values) bool {
	for _, n := range m {
		if n.name != "" && !given(vals[n.name]) {
			return false
		}
		if !n.one.complete(vals) || !n.other.complete(vals) {
			return false
		}
	}
	return true
}

// names lists the parameters of m.
func (m message) names() []string {
	var out []string
	for _, n := range m {
		if n.name != "" {
			out = append(out, n.name)
		}
		out = append(out, n.one.names()...)
		out = append(out, n.other.names()...)
	}
	return out
}

// plain is a message without parameters.
func (m message) plain() string {
	var b strings.Builder
	for _, n := range m {
		b.WriteString(n.literal)
	}
	return b.String()
}
