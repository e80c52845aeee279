// Command gatepost-image builds the appliance's image and looks after the
// lock file of its kernel. It is a door: the work is in package image.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "gatepost-image:", err)
		os.Exit(1)
	}
}
