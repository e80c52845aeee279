// Package cli is the command line on the admin API: gatepost queue, trace,
// policy and status. It asks the relay through its unix socket, says what it is
// told in the words of the page, and gives the same as JSON to programs.
//
// What a stranger chose (addresses, subjects, server names, replies) is shown
// through webui/foreign, so that it cannot move the cursor, colour a terminal
// or forge a line. It knows no mail machine and reads no file but what it is
// told to write. It imports appliance/api, appliance/speech, relay/verdict and
// webui/foreign.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gatepost/appliance/api"
	"gatepost/appliance/speech"
)

// DefaultSocket is where the relay of a box answers.
const DefaultSocket = "/run/gatepost/relay/api.sock"

// Env is where a command runs.
type Env struct {
	Out  io.Writer
	Now  func() time.Time
	Zone *time.Location // times are told in it
	By   string         // who asks: "root on the console"
}

// usageError is a command that was written wrongly.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// Usagef is an error that ends the program with status 2.
func Usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// ExitCode is the status with which a program ends: 0 when it did what it was
// told, 2 when the command was written wrongly, 1 for every other failure.
func ExitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		return 2
	}
	return 1
}

// command is one command with its own help.
type command struct {
	name  string // "queue list"
	args  string // after the name, for the help
	about string // one line
	more  string // the rest of the help
	// flags adds the command's own options, nil for none.
	flags func(*flag.FlagSet, *options)
	run   func(context.Context, call) error
}

// options are the values of every option; each command knows some of them.
type options struct {
	socket, data string
	json         bool

	domain, state, from, to, text, output string
	newest, all, trouble, way             bool
	limit, days                           int
}

// call is one command with its options read.
type call struct {
	Env
	options
	command command
	args    []string
	client  *api.Client
	say     speech.Speaker
}

// Commands are the first words of all commands.
func Commands() []string { return []string{"queue", "trace", "policy", "status"} }

func commands() []command {
	return slices.Concat(queueCommands(), actCommands(), traceCommands(), policyCommands(), statusCommands())
}

// Run does one command: args begins with its first word. The error is for
// people; ExitCode says how the program ends.
func Run(ctx context.Context, env Env, args []string) error {
	c, rest, ok := find(args)
	if !ok {
		return help(env.Out, args)
	}
	o := options{}
	f := flag.NewFlagSet(c.name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.socket, "socket", "", "`PATH` of the relay's socket")
	f.StringVar(&o.data, "data", "", "`DIR` of a gatepost serve, in place of -socket")
	f.BoolVar(&o.json, "json", false, "JSON for programs")
	if c.flags != nil {
		c.flags(f, &o)
	}
	words, err := parse(f, rest)
	if errors.Is(err, flag.ErrHelp) {
		return describe(env.Out, c, f)
	}
	if err != nil {
		return Usagef("%v; see gatepost %s -h", err, c.name)
	}
	k := call{
		Env: env, options: o, command: c, args: words,
		client: api.NewClient(o.path()), say: speech.Speaker{Now: env.Now(), Zone: env.Zone},
	}
	err = c.run(ctx, k)
	if errors.Is(err, api.ErrUnreachable) && !answers(ctx, k.client) {
		return fmt.Errorf("no relay answers at %s (is it running?)", o.path())
	}
	return err
}

// answers reports whether a relay is there at all.
func answers(ctx context.Context, c *api.Client) bool {
	_, err := c.Status(ctx)
	return !errors.Is(err, api.ErrUnreachable)
}

// path is the socket to ask.
func (o options) path() string {
	switch {
	case o.socket != "":
		return o.socket
	case o.data != "":
		return filepath.Join(o.data, "relay", filepath.Base(DefaultSocket))
	}
	return DefaultSocket
}

// find takes the command off the front of args.
func find(args []string) (command, []string, bool) {
	for _, c := range commands() {
		name := strings.Fields(c.name)
		if len(args) >= len(name) && slices.Equal(args[:len(name)], name) {
			return c, args[len(name):], true
		}
	}
	return command{}, nil, false
}

// help lists the commands under a word, or says that there is no such command.
func help(out io.Writer, args []string) error {
	var lines [][]string
	for _, c := range commands() {
		if len(args) > 0 && strings.HasPrefix(c.name+" ", args[0]+" ") {
			lines = append(lines, []string{"  gatepost " + c.name, c.about})
		}
	}
	if len(args) > 1 && !slices.Contains([]string{"-h", "-help", "--help", "help"}, args[1]) {
		return Usagef("unknown command %q, see gatepost %s -h", args[0]+" "+args[1], args[0])
	}
	if len(args) == 1 {
		return Usagef("%s what? see gatepost %s -h", args[0], args[0])
	}
	writeTable(out, lines)
	fmt.Fprintln(out, "\nEach of them tells more with -h.")
	return nil
}

// describe writes the help of one command.
func describe(out io.Writer, c command, f *flag.FlagSet) error {
	fmt.Fprintf(out, "gatepost %s\n\n%s\n", strings.TrimSpace(c.name+" [options] "+c.args), c.about)
	if c.more != "" {
		fmt.Fprintf(out, "\n%s\n", c.more)
	}
	var lines [][]string
	f.VisitAll(func(o *flag.Flag) {
		value, usage := flag.UnquoteUsage(o)
		lines = append(lines, []string{strings.TrimRight("  -"+o.Name+" "+value, " "), usage})
	})
	fmt.Fprintln(out)
	writeTable(out, lines)
	fmt.Fprintln(out, "\nStatus: 0 done, 1 failed, 2 the command was written wrongly.")
	return nil
}

// parse reads options before, between and after the words of a command.
func parse(f *flag.FlagSet, args []string) (words []string, err error) {
	for {
		if err := f.Parse(args); err != nil {
			return nil, err
		}
		if f.NArg() == 0 {
			return words, nil
		}
		words = append(words, f.Arg(0))
		args = f.Args()[1:]
	}
}

// Who names the person at this keyboard, for what the relay writes down.
func Who(getenv func(string) string, uid int) string {
	name := getenv("USER")
	if uid == 0 {
		name = "root"
	}
	if name == "" {
		name = fmt.Sprintf("user %d", uid)
	}
	if real := getenv("SUDO_USER"); real != "" && uid == 0 {
		name = real + " as root"
	}
	return strings.ToValidUTF8(name, "?") + " on the console"
}

// System is the Env of a program.
func System() Env {
	return Env{Out: os.Stdout, Now: time.Now, Zone: time.Local, By: Who(os.Getenv, os.Getuid())}
}
