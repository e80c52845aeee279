package sbom

import (
	"bytes"
	"cmp"
	"debug/buildinfo"
	"fmt"
	"slices"
	"strings"
)

// Modules lists what is linked into a Go program, by path, with the licences
// that notice (the text of NOTICE) gives. A program that does not name its
// modules has none. A module that was replaced by a folder is an error: nobody
// else has that folder.
func Modules(program []byte, notice string) ([]Module, error) {
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil {
		return nil, nil // not built by Go: it has no modules
	}
	licenses := Licenses(notice)
	var all []Module
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		if m.Sum == "" {
			return nil, fmt.Errorf("sbom: %s %s has no hash: it is replaced by a folder", m.Path, m.Version)
		}
		all = append(all, Module{Path: m.Path, Version: m.Version, Sum: m.Sum, License: licenses[m.Path]})
	}
	slices.SortFunc(all, func(a, b Module) int { return cmp.Compare(a.Path, b.Path) })
	return all, nil
}

// Licenses reads NOTICE's list: a line indented by four blanks has a module, two
// blanks or more, and its licence, with those of its parts in parentheses. The
// result has SPDX expressions.
func Licenses(notice string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(notice) {
		name, license, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok || !strings.HasPrefix(line, "    ") {
			continue
		}
		main, parts, _ := strings.Cut(strings.TrimSpace(license), " (parts ")
		terms := []string{main}
		for p := range strings.SplitSeq(strings.TrimSuffix(parts, ")"), ",") {
			if p = strings.TrimSpace(p); p != "" {
				terms = append(terms, p)
			}
		}
		all[name] = strings.Join(terms, " AND ")
	}
	return all
}
