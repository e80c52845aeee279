package main

import (
	"fmt"
	"io"
	"strings"

	"gatepost/relay/lab"
)

const listWidth = 100

// list prints the domains, what each is meant to show and what is expected.
func list(w io.Writer, world lab.World) error {
	var b strings.Builder
	const names, outcomes = 19, 46
	fmt.Fprintf(&b, "%-*s%-*s%s\n", names, "DOMAIN", outcomes, "EXPECTED", "WHEN")
	for _, d := range world.Domains {
		for i, e := range d.Expect {
			name := d.Name
			if i > 0 {
				name = ""
			}
			line := fmt.Sprintf("%-*s%-*s%s", names, name, outcomes, expected(e), e.When)
			b.WriteString(strings.TrimRight(line, " ") + "\n")
		}
		for _, line := range wrap(d.Shows, listWidth-names) {
			fmt.Fprintf(&b, "%*s%s\n", names, "", line)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// expected puts a verdict into one phrase.
func expected(e lab.Expect) string {
	s := string(e.Outcome)
	if e.Reason != "" {
		s += ", " + string(e.Reason)
	}
	if e.Protection != "" {
		s += ", " + string(e.Protection)
	}
	return s
}

// wrap breaks a text into lines of at most width bytes at spaces.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
