// Package foreign holds text that a stranger chose: addresses, subjects,
// server names, replies, certificate names. Text of that kind is shown, never
// trusted: control, bidirectional and invisible characters become visible
// escapes such as ‹U+202E›, bytes that are not UTF-8 become ‹0xFF›, and the
// length is bounded.
//
// It does not escape HTML: html/template does, and every page goes through it.
// It imports nothing of Gatepost.
package foreign

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Text is a string chosen by a stranger. Conversion from string costs nothing;
// printing it by a formatting verb or a template goes through String. Code that
// needs the exact bytes, for a comparison, converts it back.
type Text string

// MaxRunes bounds what String returns.
const MaxRunes = 300

// maxMarks is how many combining marks in a row are shown as they are. Real
// text needs at most three.
const maxMarks = 4

// String returns the safe form of t, at most MaxRunes runes long.
func (t Text) String() string { return t.Cut(MaxRunes) }

// Cut returns the safe form of t with at most n runes; a longer text ends in
// "…". An n below 1 counts as 1. The work done is bounded by n, not by len(t).
func (t Text) Cut(n int) string {
	n = max(n, 1)
	var b strings.Builder
	used, marks := 0, 0
	// last is where the output can be cut so that "…" still fits.
	last := 0
	for s := string(t); s != ""; {
		r, size := utf8.DecodeRuneInString(s)
		piece := visible(r, size, s[0])
		if unicode.Is(unicode.M, r) {
			if marks++; marks > maxMarks {
				piece = escape(r)
			}
		} else {
			marks = 0
		}
		width := utf8.RuneCountInString(piece)
		if used+width > n {
			return b.String()[:last] + "…"
		}
		b.WriteString(piece)
		used += width
		if used < n {
			last = b.Len()
		}
		s = s[size:]
	}
	return b.String()
}

// visible returns how the rune r, read from size bytes of which first is the
// first, is shown.
func visible(r rune, size int, first byte) string {
	switch {
	case r == utf8.RuneError && size == 1:
		return fmt.Sprintf("‹0x%02X›", first)
	case unicode.Is(unicode.Zs, r):
		return " "
	case unicode.In(r, unicode.C, unicode.Zl, unicode.Zp), blank(r), !unicode.IsGraphic(r):
		return escape(r)
	}
	return string(r)
}

// blank reports whether r is a letter or symbol that shows nothing: Hangul
// fillers, the empty Braille cell, the combining grapheme joiner and the
// variation selectors.
func blank(r rune) bool {
	switch {
	case r == 0x034F, r == 0x115F, r == 0x1160, r == 0x17B4, r == 0x17B5, r == 0x2800, r == 0x3164, r == 0xFFA0:
		return true
	case r >= 0xFE00 && r <= 0xFE0F, r >= 0xE0100 && r <= 0xE01EF, r >= 0x180B && r <= 0x180F:
		return true
	}
	return false
}

func escape(r rune) string { return fmt.Sprintf("‹U+%04X›", r) }

// Domain returns a domain or host name for showing, at most n runes long. An
// internationalised name is shown in both forms, "bücher.example
// (xn--bcher-kva.example)", because the readable one alone can imitate another
// name.
func Domain(t Text, n int) string {
	plain := t.Cut(n)
	if !strings.Contains(strings.ToLower(string(t)), "xn--") || len(t) > 255 {
		return plain
	}
	readable, err := idna.Display.ToUnicode(string(t))
	if err != nil || readable == string(t) {
		return plain
	}
	return Text(readable + " (" + string(t) + ")").Cut(n)
}
