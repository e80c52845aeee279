// Command gatepost is the one program of the box. As the first process of a
// machine it is its init; init starts it again as the roles relay and web. On
// any other machine it is a relay without the box (serve), or asks a running one.
package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"time"

	"gatepost/appliance"
	"gatepost/appliance/boardcmd"
	"gatepost/appliance/cli"
)

func main() {
	name, args := "help", []string(nil)
	if os.Getpid() == 1 {
		name = "init"
	} else if len(os.Args) > 1 {
		name, args = os.Args[1], os.Args[2:]
	}
	commands := map[string]func([]string) error{
		"init":     func([]string) error { return appliance.RunInit(context.Background(), stamped()) },
		"relay":    func([]string) error { return appliance.RunRole(appliance.RoleRelay) },
		"web":      func([]string) error { return appliance.RunRole(appliance.RoleWeb) },
		"serve":    func(args []string) error { return appliance.ServeCommand(stamped(), args) },
		"check":    func(args []string) error { return appliance.CheckFile(os.Stdout, args) },
		"password": func(args []string) error { return appliance.PasswordHash(os.Stdin, os.Stdout, args) },
		"board":    func(args []string) error { return boardcmd.Run(context.Background(), boardcmd.System(), args) },
		"version":  func([]string) error { fmt.Println("gatepost", version); return nil },
		"help":     func([]string) error { fmt.Print(usage); return nil },
	}
	for _, word := range cli.Commands() {
		commands[word] = func(args []string) error {
			return cli.Run(context.Background(), cli.System(), append([]string{word}, args...))
		}
	}
	switch name {
	case "-h", "--help":
		name = "help"
	case "check", "password", "version", "init", "relay", "web": // the others have help of their own
		if len(args) == 1 && (args[0] == "-h" || args[0] == "--help") {
			name = "help"
		}
	}
	run, ok := commands[name]
	if !ok {
		run = func([]string) error { return cli.Usagef("unknown command %q, see gatepost help", name) }
	}
	if err := run(args); err != nil {
		fmt.Fprintln(os.Stderr, "gatepost:", err)
		if os.Getpid() == 1 {
			time.Sleep(math.MaxInt64) // the first process must never end
		}
		os.Exit(cli.ExitCode(err))
	}
}
