// Package boardcmd is the command "gatepost board": it tells which board this
// machine is and what of it can be used, and shows on a terminal what the
// lights of any board show.
//
// It imports board and its sub-packages, and webui/words for the legend.
package boardcmd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"gatepost/appliance/cli"
	"gatepost/board"
	"gatepost/board/gpio"
	"gatepost/board/kled"
	"gatepost/board/panel"
)

// Env is where the command runs.
type Env struct {
	Out io.Writer
	// Root is the root of the file system, with /sys mounted.
	Root fs.FS
	// Sys is /sys for kernel LEDs, nil when it cannot be had.
	Sys kled.Files
	// Live says that Out is a terminal, on which a line can be written anew.
	Live bool
}

const help = `gatepost board: the front of the box

  gatepost board show [-profile P]
        which board this is, where its lights and its button are, and what of
        them can be opened; it takes the lines for a moment, so it needs root
        and must not run beside a Gatepost that drives them
  gatepost board simulate [-profile P] [-lights N] [-state S] [-for TIME]
        what the lights of a board show in a state: live on a terminal, else
        (and with -for) as a strip, in which a letter is a tenth of a second;
        without -state all of them, one after the other; -lights is 4, 2 or 1
        lights in place of those of the board

`

// Run does "board" with args. The error is for people; cli.ExitCode says how
// the program ends.
func Run(ctx context.Context, env Env, args []string) error {
	if len(args) == 0 {
		return cli.Usagef("board what? see gatepost board -h")
	}
	switch args[0] {
	case "-h", "-help", "--help", "help":
		fmt.Fprintf(env.Out, "%sBoards: %s\nStates: %s\n", help, strings.Join(board.Names(), ", "), strings.Join(stateNames(), ", "))
		return nil
	case "show":
		return show(env, args[1:])
	case "simulate":
		return simulate(ctx, env, args[1:])
	}
	return cli.Usagef("unknown command %q, see gatepost board -h", "board "+args[0])
}

// System is the Env of a program.
func System() Env {
	env := Env{Out: os.Stdout, Root: os.DirFS("/")}
	if root, err := os.OpenRoot("/sys"); err == nil {
		env.Sys = root
	}
	if info, err := os.Stdout.Stat(); err == nil {
		env.Live = info.Mode()&os.ModeCharDevice != 0
	}
	return env
}

// parse reads the options of a command that takes no words.
func parse(f *flag.FlagSet, args []string) error {
	f.SetOutput(io.Discard)
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			err = errors.New("help is under gatepost board -h")
		}
		return cli.Usagef("%v; see gatepost board -h", err)
	}
	if f.NArg() > 0 {
		return cli.Usagef("%q is not expected; see gatepost board -h", f.Arg(0))
	}
	return nil
}

// profile finds a board by its name; "" is the one that is detected.
func (e Env) profile(name string) (board.Profile, []string, error) {
	detected, said := board.Detect(e.Root)
	if name == "" {
		return detected, said, nil
	}
	p, ok := board.Lookup(name)
	if !ok {
		return p, said, cli.Usagef("no board is called %q: there are %s", name, strings.Join(board.Names(), ", "))
	}
	return p.On(e.Root), said, nil
}

// show tells what was found.
func show(env Env, args []string) error {
	f := flag.NewFlagSet("board show", flag.ContinueOnError)
	name := f.String("profile", "", "")
	if err := parse(f, args); err != nil {
		return err
	}
	p, said, err := env.profile(*name)
	if err != nil {
		return err
	}
	tree := strings.Join(said, ", ")
	if tree == "" {
		tree = "none, or it has no name"
	}
	fmt.Fprintf(env.Out, "device tree  %s\nboard        %s (%s)\n", tree, p.Name, p.Title)
	front := panel.Open(panel.Config{Profile: p, Sys: env.Sys})
	defer front.Close()
	for _, finding := range front.Findings() {
		fmt.Fprintln(env.Out, " ", finding)
	}
	if len(front.Findings()) == 0 {
		fmt.Fprintln(env.Out, "  it has neither lights nor a button")
	}
	list(env.Out, "GPIO chips", gpio.Chips(nil))
	var leds []string
	if entries, err := fs.ReadDir(env.Root, "sys/class/leds"); err == nil {
		for _, e := range entries {
			leds = append(leds, e.Name())
		}
	}
	list(env.Out, "kernel LEDs", leds)
	return nil
}

// maxListed bounds a list of what the machine has.
const maxListed = 50

func list(out io.Writer, what string, lines []string) {
	if len(lines) == 0 {
		fmt.Fprintf(out, "%-12s none\n", what)
		return
	}
	fmt.Fprintln(out, what)
	for _, line := range lines[:min(len(lines), maxListed)] {
		fmt.Fprintln(out, " ", line)
	}
}
