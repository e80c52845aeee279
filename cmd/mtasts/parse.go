package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"gatepost/mtasts"
)

// failure is the JSON object of a command that failed.
type failure struct {
	Error  string `json:"error"`
	Detail string `json:"detail"`
}

func (e env) print(v any) {
	enc := json.NewEncoder(e.stdout)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		fmt.Fprintln(e.stderr, "mtasts:", err)
	}
}

// complain is for what is not the input's fault but the command line's.
func (e env) complain(err error) int {
	fmt.Fprintln(e.stderr, "mtasts:", strings.TrimPrefix(err.Error(), "mtasts: "))
	return 2
}

// newFlags gives the flags of a command. It writes nothing itself: a wrong flag
// is told once, by badFlags.
func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet("mtasts "+name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return flags
}

// badFlags ends a command whose flags could not be parsed; who asked for help
// gets it.
func (e env) badFlags(flags *flag.FlagSet, err error) int {
	if !errors.Is(err, flag.ErrHelp) {
		return e.complain(err)
	}
	fmt.Fprintf(e.stdout, "%s\nflags of %s:\n", usage, flags.Name())
	flags.SetOutput(e.stdout)
	flags.PrintDefaults()
	return 0
}

// recordFailure names why there is no record.
func recordFailure(err error) *failure {
	for _, f := range []struct {
		id   string
		kind error
	}{
		{"no-record", mtasts.ErrNoRecord},
		{"multiple-records", mtasts.ErrMultipleRecords},
		{"record-syntax", mtasts.ErrRecordSyntax},
	} {
		if errors.Is(err, f.kind) {
			return &failure{f.id, strings.TrimPrefix(err.Error(), f.kind.Error()+": ")}
		}
	}
	return &failure{mtasts.ReasonDNS, strings.TrimPrefix(err.Error(), "mtasts: ")}
}

func record(e env, args []string) int {
	r, err := mtasts.ParseRecord(args)
	if err != nil {
		e.print(recordFailure(err))
		return 1
	}
	e.print(struct {
		ID         string            `json:"id"`
		Extensions map[string]string `json:"extensions,omitempty"`
	}{r.ID, extensions(r.Extensions)})
	return 0
}

func policy(e env, args []string) int {
	if len(args) != 1 {
		return e.complain(errors.New("policy takes one FILE, or - for the standard input"))
	}
	body, err := readPolicy(e, args[0])
	if err != nil {
		return e.complain(err)
	}
	p, err := mtasts.ParsePolicy(body)
	if err != nil {
		detail := err.Error()
		if syntax := (*mtasts.SyntaxError)(nil); errors.As(err, &syntax) {
			detail = syntax.Where()
		}
		e.print(failure{"policy-syntax", detail})
		return 1
	}
	e.print(showPolicy(p))
	return 0
}

// readPolicy reads one byte more than a policy may have, so that the parser
// sees that it is too long.
func readPolicy(e env, name string) ([]byte, error) {
	in := e.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	return io.ReadAll(io.LimitReader(in, mtasts.MaxPolicySize+1))
}

type policyView struct {
	Version    string            `json:"version"`
	Mode       mtasts.Mode       `json:"mode"`
	MX         []string          `json:"mx"`
	MaxAge     int64             `json:"max_age"`
	Clamped    bool              `json:"max_age_clamped,omitempty"`
	Extensions map[string]string `json:"extensions,omitempty"`
}

func showPolicy(p mtasts.Policy) policyView {
	mx := p.MX
	if mx == nil {
		mx = []string{}
	}
	return policyView{"STSv1", p.Mode, mx, int64(p.MaxAge.Seconds()), p.Clamped, extensions(p.Extensions)}
}

func extensions(list []mtasts.Extension) map[string]string {
	if len(list) == 0 {
		return nil
	}
	m := make(map[string]string)
	for _, e := range list {
		m[e.Name] = e.Value
	}
	return m
}

func match(e env, args []string) int {
	if len(args) < 2 {
		return e.complain(errors.New("match takes a HOST and one PATTERN or more"))
	}
	found := ""
	for _, pattern := range args[1:] {
		ok, err := mtasts.MatchPattern(pattern, args[0])
		if err != nil {
			e.print(failure{"invalid-pattern", strings.TrimPrefix(err.Error(), "mtasts: ")})
			return 2
		}
		if ok && found == "" {
			found = pattern
		}
	}
	e.print(struct {
		Match   bool   `json:"match"`
		Pattern string `json:"pattern,omitempty"`
	}{found != "", found})
	if found == "" {
		return 1
	}
	return 0
}
