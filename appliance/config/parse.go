package config

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// maxFile bounds config.toml. A real one has a few kilobytes, and a bundle of
// certificates some more.
const maxFile = 1 << 20

// Error is one fault of a configuration file.
type Error struct {
	File string
	Line int // 1-based; 0 when no line can be named
	Text string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Text
	}
	return fmt.Sprintf("%s: line %d: %s", e.File, e.Line, e.Text)
}

// Parse reads a whole configuration. name is used in errors only. On failure
// the error joins one *Error for each fault (errors.Join), in the order of the
// file's lines; the Config is then of no use and the caller must keep the one
// it has. Keys that are not set get the values of Default.
// A text of an earlier version is read as Upgrade rewrites it.
func Parse(name string, data []byte) (Config, error) {
	if len(data) > maxFile {
		return Config{}, &Error{File: name, Text: fmt.Sprintf("the file has %d bytes; at most %d are read", len(data), maxFile)}
	}
	text, _, err := Upgrade(name, string(data))
	if err != nil {
		return Config{}, err
	}
	var f file
	md, err := toml.Decode(text, &f)
	if err != nil {
		return Config{}, syntaxError(name, err)
	}
	v := &validator{file: name, lines: indexLines(text), defined: md.IsDefined}
	for _, k := range md.Undecoded() {
		v.unknown(k)
	}
	c := v.config(f)
	if err := v.err(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// syntaxError turns an error of the TOML reader into ours.
func syntaxError(name string, err error) error {
	var pe toml.ParseError
	if errors.As(err, &pe) {
		text := pe.Message
		if text == "" {
			text = strings.TrimPrefix(pe.Error(), "toml: ")
		}
		return &Error{File: name, Line: pe.Position.Line, Text: text}
	}
	text := strings.TrimPrefix(err.Error(), "toml: ")
	if m := wrongType.FindStringSubmatch(text); m != nil {
		line, _ := strconv.Atoi(m[1])
		return &Error{File: name, Line: line, Text: fmt.Sprintf("%s is %s; %s is expected", m[2], kind(m[3]), kind(m[4]))}
	}
	return &Error{File: name, Text: text}
}

// wrongType is how the TOML reader says that a value has another type.
var wrongType = regexp.MustCompile(`^line (\d+) \(last key "([^"]*)"\): incompatible types: TOML value has type (\S+); destination has type (\S+)$`)

// kind names a type for a person.
func kind(goType string) string {
	switch goType {
	case "string":
		return "a text in quotes"
	case "int64", "integer", "float64":
		return "a number"
	case "bool", "boolean":
		return "true or false"
	case "slice", "[]interface", "[]interface{}", "[]any":
		return "a list in [ ]"
	case "struct", "map[string]interface", "map[string]any":
		return "a table"
	}
	return "another kind of value (" + goType + ")"
}

// Faults lists the faults of an error from Parse, in the order of the lines.
// Another error is one fault without a line.
func Faults(err error) []Error {
	var one *Error
	var many interface{ Unwrap() []error }
	switch {
	case err == nil:
		return nil
	case errors.As(err, &many):
		var out []Error
		for _, e := range many.Unwrap() {
			out = append(out, Faults(e)...)
		}
		return out
	case errors.As(err, &one):
		return []Error{*one}
	}
	return []Error{{Text: err.Error()}}
}

// FirstLine is the first fault of an error from Parse, for places that have
// room for one.
func FirstLine(err error) string {
	if err == nil {
		return ""
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
