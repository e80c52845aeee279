package config

import (
	"errors"
	"fmt"
	"strings"
)

// ErrCannotHide means that a text holds a password in a form in which it is not
// found, such as a table in one line. The text must not be shown.
var ErrCannotHide = errors.New("a password stands in the settings in a form that cannot be hidden: write it as password = \"...\" on a line of its own")

// Hide returns a right configuration as it may be shown: each password reads
// "(hidden)". Comments that hold one are hidden too.
func Hide(text string) (string, error) {
	var out []string
	closing := ""
	for line := range strings.SplitSeq(text, "\n") {
		if closing != "" { // the rest of a password over several lines
			if strings.Contains(line, closing) {
				closing = ""
			}
			continue
		}
		key, val, ok := strings.Cut(line, "=")
		if ok && isPassword(key) {
			closing = openString(val)
			line = key + "= \"" + hidden + "\""
		}
		out = append(out, line)
	}
	shown := strings.Join(out, "\n")
	c, err := Parse("", []byte(shown))
	if err != nil {
		return "", ErrCannotHide
	}
	for _, v := range flat(c) {
		if v.secret && v.text != "" && v.text != hidden {
			return "", ErrCannotHide
		}
	}
	return shown, nil
}

// isPassword reports whether the left side of a line names a password, also in
// a comment or as the end of a dotted key.
func isPassword(left string) bool {
	parts := strings.Split(strings.TrimLeft(strings.TrimSpace(left), "# \t"), ".")
	return strings.Trim(strings.TrimSpace(parts[len(parts)-1]), `"'`) == "password"
}

// Reveal puts the passwords of the settings in force in the place of those
// that Hide has hidden. A password is used again only for exactly the server
// that it belongs to: whoever edits a hidden text must not learn the password
// by sending it elsewhere. The error is as that of Parse.
func Reveal(name, text string, now Config) (string, error) {
	if !strings.Contains(text, hidden) {
		return text, nil
	}
	c, err := Parse(name, []byte(text))
	if err != nil {
		return "", err
	}
	r := revealer{name: name, lines: strings.Split(text, "\n"), index: indexLines(text)}
	if c.SmartHost != nil {
		r.one("smart_host", *c.SmartHost, now.SmartHost)
	}
	for i, in := range c.Inbound {
		var before *Server
		for _, have := range now.Inbound {
			if have.Domain == in.Domain {
				before = &have.Server
			}
		}
		r.one(arrayPath("inbound", i), in.Server, before)
	}
	return strings.Join(r.lines, "\n"), errors.Join(r.faults...)
}

type revealer struct {
	name   string
	lines  []string
	index  lineIndex
	faults []error
}

// one puts the password of one server back.
func (r *revealer) one(table string, s Server, before *Server) {
	if s.Password != hidden {
		return
	}
	n := r.index[join(table, "password")]
	same := s
	if before != nil {
		same.Password, same.Final = before.Password, before.Final
	}
	if n == 0 || before == nil || *before != same {
		r.faults = append(r.faults, &Error{
			File: r.name, Line: n,
			Text: "the password is hidden, and this is not the server that it was for: type it again",
		})
		return
	}
	r.lines[n-1] = strings.Replace(r.lines[n-1], `"`+hidden+`"`, quote(string(before.Password)), 1)
}

// quote writes a text as a basic string of TOML.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// Starter is what a person begins with on a box without settings. It means the
// same as Default.
const Starter = `# The settings of this box. docs/config.md has every key.
version = 1
hostname = "gatepost.local"   # the full name of this box, as other mail servers see it

[relay]
trusted_networks = []   # who may send through this box: ["192.168.1.0/24"]
`
