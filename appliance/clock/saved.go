package clock

import (
	"errors"
	"os"
	"strings"
	"time"

	"gatepost/appliance/statefile"
)

const savedName = "time"

// freshQuorum is for how long after an agreement of three servers the time is
// good enough to be saved.
const freshQuorum = 24 * time.Hour

// startFromFloor moves a clock that is before the floor up to it: certificates
// of the box itself then make sense, and log lines come in order. That is no
// trust.
func (c *Clock) startFromFloor() {
	if saved, err := c.readSaved(); err == nil && saved.After(c.floor) {
		c.floor = saved
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		c.Log.Warn("saved time is of no use", "error", err)
	}
	if now := c.Now(); now.Before(c.floor) {
		c.Log.Info("the clock starts at the last time that is known", "clock", now.UTC(), "floor", c.floor.UTC())
		if err := c.Step(c.floor); err != nil {
			c.Log.Error("clock cannot be set", "error", err)
		}
	}
}

// save keeps the time for the next start. Only a time that three servers have
// confirmed of late is worth it: it becomes the floor, and one in the future
// would keep the box from ever believing the right one.
func (c *Clock) save() {
	if c.Folder == nil || !c.State().Trusted || c.strong.IsZero() || time.Since(c.strong) > freshQuorum {
		return
	}
	now := c.Now().UTC()
	if now.Before(c.floor) {
		return
	}
	if err := statefile.Write(c.Folder, savedName, []byte(now.Format(time.RFC3339)+"\n"), 0o600); err != nil {
		c.Log.Warn("time cannot be saved", "error", err)
	}
}

func (c *Clock) readSaved() (time.Time, error) {
	if c.Folder == nil {
		return time.Time{}, os.ErrNotExist
	}
	text, err := statefile.Read(c.Folder, savedName, 100)
	if err != nil {
		return time.Time{}, err
	}
	return time.Parse(time.RFC3339, strings.TrimSpace(string(text)))
}
