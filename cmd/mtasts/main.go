// Command mtasts asks and answers the questions of RFC 8461 (SMTP MTA-STS) on
// the command line: is this TXT record one, what does this policy say, does
// this MX host match, is this domain protected. It also serves a policy for
// trying out. It shows that the library in gatepost/mtasts stands alone, and
// imports nothing else of Gatepost.
//
// It sends no mail. Each command writes one JSON object to its standard output
// (check without -json, and help: text), and what is wrong with the command line
// to its standard error; see "mtasts help".
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// env is what a command gets from the process.
type env struct {
	ctx            context.Context
	stdin          io.Reader
	stdout, stderr io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(env{ctx, os.Stdin, os.Stdout, os.Stderr}, os.Args[1:])
	stop()
	os.Exit(code)
}

// run executes one command and returns its exit code; 2 is a wrong usage.
func run(e env, args []string) int {
	commands := map[string]func(env, []string) int{
		"record": record, "policy": policy, "match": match, "check": check, "serve": serve,
		"help": help, "-h": help, "-help": help, "--help": help,
	}
	if len(args) > 0 {
		if command := commands[args[0]]; command != nil {
			return command(e, args[1:])
		}
		fmt.Fprintf(e.stderr, "mtasts: unknown command %.60q\n", args[0])
	}
	fmt.Fprint(e.stderr, usage)
	return 2
}
