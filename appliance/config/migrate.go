package config

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/BurntSushi/toml"
)

// A migration rewrites the text of one version into that of the next. It works
// on lines and leaves comments, order and every other key as they are, so that
// a person finds their file again. It adds and removes no line: faults are told
// with the lines of the file that the person has.
//
// When the schema changes, Version goes up by one and a migration from the
// version before joins the list, with a file of that version in
// testdata/migrate and beside it what must come of it.
type migration struct {
	from    int64
	rewrite func(*rewriter)
}

// migrations lead from every earlier version to Version. There is none yet:
// version 1 is the first.
var migrations []migration

// Upgrade rewrites the text of an earlier version into one of Version; changed
// is false when there is nothing to do, also for a text that is no TOML. The
// error is the one that Parse gives for a version that is not known.
func Upgrade(name, text string) (upgraded string, changed bool, err error) {
	return upgrade(name, text, migrations, Version)
}

func upgrade(name, text string, list []migration, target int64) (string, bool, error) {
	var f struct {
		Version *int64 `toml:"version"`
	}
	if _, err := toml.Decode(text, &f); err != nil || f.Version == nil || *f.Version == target {
		return text, false, nil
	}
	v := *f.Version
	fault := func(format string, args ...any) error {
		return &Error{File: name, Line: indexLines(text)["version"], Text: fmt.Sprintf(format, args...)}
	}
	if v > target {
		return text, false, fault("version %d is newer than this Gatepost, which knows versions up to %d: update the box, or use the settings from before", v, target)
	}
	r := &rewriter{lines: strings.Split(text, "\n")}
	for ; v < target; v++ {
		step := find(list, v)
		if step == nil {
			return text, false, fault("version %d is not known to this Gatepost; it knows version %d", v, target)
		}
		step.rewrite(r)
		r.setValue("version", fmt.Sprint(v+1))
	}
	return strings.Join(r.lines, "\n"), true, nil
}

func find(list []migration, from int64) *migration {
	for i := range list {
		if list[i].from == from {
			return &list[i]
		}
	}
	return nil
}

// rewriter changes keys where they stand.
type rewriter struct{ lines []string }

// assignment is a line with a key: indent, key, the rest from the space before
// the equals sign on.
var assignment = regexp.MustCompile(`^(\s*)([A-Za-z0-9_.'"-]+)(\s*=\s*)(.*)$`)

// each calls change with every assignment whose full key is path, as "relay.x"
// or "inbound.x" for each of a list, and puts what it returns into its place.
func (r *rewriter) each(path string, change func(indent, key, equals, value string) string) {
	index := indexLines(strings.Join(r.lines, "\n"))
	for have, n := range index {
		if numbered.ReplaceAllString(have, "") != path || n == 0 {
			continue
		}
		if m := assignment.FindStringSubmatch(r.lines[n-1]); m != nil {
			r.lines[n-1] = change(m[1], m[2], m[3], m[4])
		}
	}
}

// numbered is the number of a table in a list of tables.
var numbered = regexp.MustCompile(`#\d+`)

// rename gives a key another name in the same table.
func (r *rewriter) rename(path, name string) {
	r.each(path, func(indent, key, equals, value string) string {
		prefix := ""
		if dot := strings.LastIndexByte(key, '.'); dot >= 0 {
			prefix = key[:dot+1]
		}
		return indent + prefix + name + equals + value
	})
}

// setValue replaces a value that stands on one line and keeps the comment
// behind it.
func (r *rewriter) setValue(path, value string) {
	r.each(path, func(indent, key, equals, old string) string {
		comment := ""
		if i := strings.IndexByte(old, '#'); i >= 0 && !strings.ContainsAny(old, `"'`) {
			comment = " " + old[i:]
		}
		return indent + key + equals + value + comment
	})
}

// comment makes a comment of a key and of all lines of its value, and says why.
func (r *rewriter) comment(path, why string) {
	index := indexLines(strings.Join(r.lines, "\n"))
	for have, n := range index {
		if numbered.ReplaceAllString(have, "") != path || n == 0 {
			continue
		}
		for i, last := n-1, r.end(n-1); i <= last; i++ {
			r.lines[i] = "# " + why + ": " + r.lines[i]
		}
	}
}

// end is the index of the last line of the value that begins on line i: the
// first with which the lines from there are TOML.
func (r *rewriter) end(i int) int {
	for last := i; last < len(r.lines); last++ {
		var any map[string]any
		if _, err := toml.Decode(strings.Join(r.lines[i:last+1], "\n"), &any); err == nil {
			return last
		}
	}
	return i
}
