// Command gatepost-lab runs the simulated internet of relay/lab: with the
// appliance in QEMU plugged into it ("gatepost-lab run", which is "make run"),
// on ports of 127.0.0.1 for trying things out by hand, or as a wire into which
// any QEMU is plugged. "gatepost-lab bench" measures Gatepost beside Postfix. It
// is a tool for development and is not on the appliance.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"gatepost/relay/lab"
)

func main() {
	if command := subcommand(os.Args); command != nil {
		end(command())
		return
	}
	var o options
	flag.BoolVar(&o.list, "list", false, "print the domains and what each is meant to show")
	flag.BoolVar(&o.loopback, "loopback", false, "run the world on ports of 127.0.0.1 and print them")
	flag.StringVar(&o.wire, "wire", "", "run the world on a wire: the `path` of a unix socket for QEMU's -netdev stream")
	flag.StringVar(&o.ca, "ca", "", "`file` with the world's certificate authority; made when it is missing")
	flag.StringVar(&o.guest, "guest", "", "with -loopback: `address` of a relay on the host to which the office sends")
	flag.StringVar(&o.pcap, "pcap", "", "with -wire: `file` to which every packet is written, up to 256 MiB")
	flag.Var(&o.forward, "forward", "with -wire: `host=port`, e.g. 127.0.0.1:2525=25, may be given again")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	end(run(ctx, o))
}

// end reports an error and exits.
func end(err error) {
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "gatepost-lab:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	world := lab.Office()
	switch {
	case o.list:
		return list(os.Stdout, world)
	case o.loopback:
		return onLoopback(ctx, os.Stdout, world, o)
	case o.wire != "":
		return onWire(ctx, os.Stdout, world, o)
	}
	return fmt.Errorf("nothing to do: give run, -list, -loopback or -wire (see -help)")
}
