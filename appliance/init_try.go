package appliance

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"gatepost/appliance/config"
	"gatepost/appliance/control"
	"gatepost/appliance/health"
	"gatepost/appliance/statefile"
)

// pendingName holds settings that are in force and that nobody has confirmed.
// A box that finds it at its start has lost its power meanwhile: the settings
// before the change are in force again.
const pendingName = "config.pending.toml"

// How long a change of settings waits for its confirmation. The time is
// measured, not read from the clock, which may be set meanwhile.
const (
	longestTrial  = 3 * time.Minute
	shortestTrial = 30 * time.Second
)

// applyPause lets the answer reach the browser before the network changes
// under it.
const applyPause = time.Second

// trial is a change of settings that is in force until end, and for longer if
// somebody confirms it.
type trial struct {
	id      string
	before  inForce
	changes []config.Change
	page    string
	end     time.Time
	timer   *time.Timer
}

// shown is the trial as it is told.
func (t *trial) shown() *control.Trial {
	if t == nil {
		return nil
	}
	return &control.Trial{ID: t.id, Left: max(time.Until(t.end), 0).Round(time.Second), Changes: t.changes, Page: t.page}
}

// refusal is an error with a code for the one who asked.
func refusal(code, format string, args ...any) error {
	return &control.ActError{Code: code, Text: fmt.Sprintf(format, args...)}
}

// readSettings checks a whole text, in which passwords may be hidden as they
// were shown. It returns the settings with their text and what would change.
func (s *settings) readSettings(text string) (inForce, []config.Change, error) {
	now := s.inForce()
	text, err := config.Reveal(configName, text, now.config)
	var c config.Config
	if err == nil {
		c, err = config.Parse(configName, []byte(text))
	}
	if err != nil {
		return inForce{}, nil, &control.ActError{Code: control.CodeInvalid, Text: "the settings have faults; nothing was changed", Faults: config.Faults(err)}
	}
	return inForce{config: c, text: []byte(text), use: health.ConfigFile}, config.Changes(now.config, c), nil
}

// trySettings puts a text into force. When a wrong value in it could take the
// page away, the change comes back by itself after within unless confirmTrial
// is called; else it is kept at once, and the trial is nil. page is where the
// page will be, "" when it stays. On an error nothing was changed.
func (s *settings) trySettings(text string, within time.Duration, page func(config.Config) string) (*control.Trial, []config.Change, error) {
	next, changes, err := s.readSettings(text)
	if err != nil {
		return nil, nil, err
	}
	if s.data == nil {
		return nil, nil, refusal(control.CodeNoDisk, "settings cannot be kept without the data disk")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting != nil {
		return nil, nil, refusal(control.CodeTrial, "a change of settings waits for its confirmation: confirm it or go back first")
	}
	before := s.force
	proof := false
	for _, c := range changes {
		proof = proof || c.NeedsProof()
	}
	if !proof {
		if err := s.keepSettings(next); err != nil {
			return nil, nil, err
		}
		s.replace(before, next)
		return nil, changes, nil
	}
	if err := statefile.Write(s.system, pendingName, next.text, 0o600); err != nil {
		return nil, nil, err
	}
	if within == 0 {
		within = longestTrial
	}
	within = min(max(within, shortestTrial), longestTrial)
	t := &trial{id: rand.Text(), before: before, changes: changes, page: page(next.config), end: time.Now().Add(within)}
	t.timer = time.AfterFunc(within, func() {
		if err := s.revertTrial(t.id); err == nil {
			s.told("settings: nobody confirmed the change in %v: the settings before it are in force again", within)
		}
	})
	s.waiting = t
	s.replace(before, next)
	return t.shown(), changes, nil
}

// confirmTrial keeps the change that waits under this id.
func (s *settings) confirmTrial(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.waiting
	if t == nil || t.id != id {
		return refusal(control.CodeNoTrial, "this change does not wait any more: the settings before it are in force")
	}
	if err := s.keepSettings(s.force); err != nil {
		return err // it waits on, and comes back by itself
	}
	t.timer.Stop()
	s.waiting = nil
	return s.dropPending()
}

// revertTrial goes back to the settings before the change that waits under
// this id.
func (s *settings) revertTrial(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.waiting
	if t == nil || t.id != id {
		return refusal(control.CodeNoTrial, "this change does not wait any more")
	}
	t.timer.Stop()
	s.waiting = nil
	s.replace(s.force, t.before)
	return s.dropPending()
}

// keepSettings writes config.toml and its copy; s.mu is held. On an error the
// old file is still there.
func (s *settings) keepSettings(f inForce) error {
	if err := statefile.Write(s.data, configName, f.text, 0o600); err != nil {
		return err
	}
	return keepLastGood(s.system, f.text)
}

func (s *settings) dropPending() error {
	if err := s.system.Remove(pendingName); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// replace changes what is in force; s.mu is held.
func (s *settings) replace(before, next inForce) {
	s.force = next
	if s.apply != nil {
		s.apply(before, next)
	}
}

// told says a line where somebody listens.
func (s *settings) told(format string, args ...any) {
	if s.tell != nil {
		s.tell(format, args...)
	}
}

// forgetPending throws away a change that nobody confirmed before the box
// stopped, and reports whether there was one. A change that was confirmed in
// the last moment stands in config.toml already.
func forgetPending(data, system *os.Root) bool {
	if system == nil {
		return false
	}
	text, err := statefile.Read(system, pendingName, maxConfig)
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	kept, keptErr := statefile.Read(data, configName, maxConfig)
	confirmed := err == nil && keptErr == nil && bytes.Equal(text, kept)
	return system.Remove(pendingName) == nil && !confirmed
}
