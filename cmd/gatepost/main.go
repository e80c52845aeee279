// Command gatepost is the one program of the box. As the first process of a
// machine it is its init; init starts it again as the roles relay and web. On
// any other machine it checks a settings file or tells its version.
package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"time"

	"gatepost/appliance"
)

// Stamped by the linker: -X main.version=0.1.0 -X main.buildTime=1767225600.
var (
	version   = "dev"
	buildTime = "0" // seconds since 1970
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
		"relay":    func([]string) error { return appliance.RunRole(appliance.RunRelay) },
		"web":      func([]string) error { return appliance.RunRole(appliance.RunWeb) },
		"check":    func(args []string) error { return appliance.CheckFile(os.Stdout, args) },
		"password": func(args []string) error { return appliance.PasswordHash(os.Stdin, os.Stdout, args) },
		"version":  func([]string) error { fmt.Println("gatepost", version); return nil },
		"help":     func([]string) error { fmt.Print(usage); return nil },
	}
	run, ok := commands[name]
	if !ok {
		run = func([]string) error {
			return errors.New("unknown command " + strconv.Quote(name) + ", see gatepost help")
		}
	}
	if err := run(args); err != nil {
		fmt.Fprintln(os.Stderr, "gatepost:", err)
		if os.Getpid() == 1 {
			time.Sleep(math.MaxInt64) // the first process must never end
		}
		os.Exit(1)
	}
}

func stamped() appliance.InitOptions {
	seconds, _ := strconv.ParseInt(buildTime, 10, 64)
	return appliance.InitOptions{Version: version, Built: time.Unix(seconds, 0)}
}
