package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// The marks in the document between which the result stands.
const (
	docBegin = "<!-- make bench begins -->\n"
	docEnd   = "<!-- make bench ends -->\n"
)

// writeInto replaces what stands between the marks of the document.
func (c *comparison) writeInto(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(text), docBegin)
	_, tail, ok2 := strings.Cut(rest, docEnd)
	if !ok || !ok2 {
		return errors.New(file + " does not have the two marks of make bench")
	}
	return os.WriteFile(file, []byte(head+docBegin+c.markdown()+docEnd+tail), 0o644)
}

// markdown is the result as a list of conditions and a table.
func (c *comparison) markdown() string {
	var b strings.Builder
	for _, line := range c.conditions {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	b.WriteString("\n| figure | clients | size | TLS out | ours | Postfix | ratio |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, f := range c.figures {
		secure := "off"
		if f.load.secure {
			secure = "on"
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %s | %s | %s | %.1f |\n", f.name, f.load.clients, f.load.size, secure, f.ours, f.theirs, f.ratio)
	}
	return b.String()
}
