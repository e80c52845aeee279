package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"gatepost/webui/foreign"
)

// writeTable writes rows with their columns aligned, two spaces apart. A row of
// one cell is a line of its own and does not widen the columns.
func writeTable(out io.Writer, rows [][]string) {
	var widths []int
	for _, r := range rows {
		if len(r) == 1 {
			continue
		}
		for i, cell := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, r := range rows {
		var b strings.Builder
		for i, cell := range r {
			b.WriteString(cell)
			if i < len(r)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		fmt.Fprintln(out, strings.TrimRight(b.String(), " "))
	}
}

// cut is a stranger's text in at most n characters.
func cut(s string, n int) string { return foreign.Text(s).Cut(n) }

// quoted is a stranger's text in quotes.
func quoted(s string, n int) string { return `"` + cut(s, n) + `"` }

// writeJSON writes a value as one line of JSON, in which a terminal finds
// nothing to obey: all that is not plainly visible is escaped.
func writeJSON(out io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, r := range string(text) {
		switch {
		case r == '\n' || r >= ' ' && r < 0x7f, unicode.IsGraphic(r) && !unicode.Is(unicode.Zs, r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	_, err = fmt.Fprintln(out, b.String())
	return err
}

// plural is "1 message" or "3 messages".
func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
