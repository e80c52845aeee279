package watchdog

import (
	"context"
	"log/slog"
	"time"
)

// Fed is a watchdog that can be fed: a *Device.
type Fed interface{ Feed() error }

// Feeder feeds a watchdog for as long as the rule allows.
type Feeder struct {
	Device Fed
	Every  time.Duration // well below the timeout
	// May is the rule, asked before every meal. why says for people what is
	// wrong. It must return at once: as long as it does not, nothing is fed,
	// which is as it should be.
	May func(now time.Time) (ok bool, why string)
	// Changed is told when feeding stops, with the reason, and when it goes on,
	// with "". It must not block. nil means nobody.
	Changed func(why string)
	Log     *slog.Logger // nil means discard
}

// Run feeds until ctx is done, then returns nil; the watchdog stays armed.
func (f Feeder) Run(ctx context.Context) error {
	if f.Log == nil {
		f.Log = slog.New(slog.DiscardHandler)
	}
	tick := time.NewTicker(f.Every)
	defer tick.Stop()
	fed, failed := true, false
	for {
		ok, why := f.May(time.Now())
		if ok {
			err := f.Device.Feed()
			if err != nil && !failed {
				f.Log.Error("the watchdog cannot be fed", "error", err)
			}
			failed = err != nil
		}
		if ok != fed && f.Changed != nil {
			f.Changed(why)
		}
		fed = ok
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
