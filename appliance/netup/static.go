package netup

import (
	"context"
	"fmt"
	"time"
)

// quietAfter is how long another machine with our fixed address must not be
// heard until it counts as gone.
const quietAfter = time.Minute

// static gives the interface its fixed address. Another machine that has it
// too is told of in the state; a fixed address is never given up.
func (r *Runner) static(ctx context.Context) {
	for wait := firstRetry; ctx.Err() == nil; wait = min(2*wait, longestRetry) {
		err := r.Kernel.Configure(r.link.Index, IPv4{Address: r.Static, Gateway: r.Gateway})
		if err == nil {
			r.holdStatic(ctx)
			return
		}
		r.tellFour(State{Kind: NoLease, Note: err.Error()})
		sleep(ctx, wait)
	}
}

func (r *Runner) holdStatic(ctx context.Context) {
	note := ""
	for ctx.Err() == nil {
		r.tellFour(State{Kind: Up, Address: r.Static, Gateway: r.Gateway, Note: note})
		if r.Neighbours == nil {
			<-ctx.Done()
			return
		}
		watch, cancel := ctx, context.CancelFunc(func() {})
		if note != "" {
			watch, cancel = context.WithTimeout(ctx, quietAfter)
		}
		by, err := r.Neighbours.Guard(watch, r.link, r.Static.Addr(), true)
		cancel()
		switch {
		case by != nil:
			note = fmt.Sprintf("the machine %v uses the address %v too", by, r.Static.Addr())
			sleep(ctx, declineWait)
		case err != nil && watch.Err() == nil:
			r.Log.Warn("nobody watches over the address", "error", err)
			sleep(ctx, longestRetry)
		default:
			note = ""
		}
	}
}
