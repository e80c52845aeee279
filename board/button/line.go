package button

import (
	"context"
	"time"

	"periph.io/x/conn/v3/gpio"
)

// lookEvery is how often a line is looked at when no edge comes: one may have
// been missed.
const lookEvery = time.Second

// Line reads the levels of a button on a line that was opened for both edges,
// and sends true for pressed into levels, until ctx is done. It closes levels.
// It does not close the line.
func Line(ctx context.Context, line gpio.PinIn, activeLow bool, levels chan<- bool) {
	defer close(levels)
	stop := context.AfterFunc(ctx, func() { _ = line.Halt() }) // ends a wait; the next second does, too
	defer stop()
	for ctx.Err() == nil {
		pressed := bool(line.Read()) != activeLow
		select {
		case levels <- pressed:
		case <-ctx.Done():
			return
		}
		line.WaitForEdge(lookEvery)
	}
}
