package appliance

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"

	"gatepost/appliance/config"
	"gatepost/appliance/control"
	"gatepost/appliance/health"
	"gatepost/appliance/statefile"
)

// Files of the settings. They belong to root; the roles get what is in them
// from PID 1.
const (
	configName   = "config.toml"
	lastGoodName = "config.last-good.toml"
	oldFormName  = "config.old-form.toml" // as it was before it was rewritten for a new version
	maxConfig    = 1 << 20                // bytes
)

// settings are the settings in force and the folders they came from.
type settings struct {
	data   *os.Root // the data disk, nil when there is none
	system *os.Root // our own folder on it, nil when there is none

	// apply puts new settings into effect. It is called with the lock held and
	// must not block or ask for settings; nil does nothing.
	apply func(before, after inForce)
	// tell says a line on the console; nil says nothing.
	tell func(format string, args ...any)

	acting   sync.Mutex // held while a wish is fulfilled
	applying sync.Mutex // held while new settings take effect

	mu      sync.Mutex
	force   inForce
	waiting *trial // nil: no change waits for its confirmation
}

// inForce is one set of settings and where it came from. It is a value that
// nobody changes.
type inForce struct {
	config config.Config
	text   []byte // as a person wrote it; nil for the built-in ones
	use    health.ConfigUse
	fault  string // what is wrong with config.toml, every fault on a line
}

// shown is what the box tells of its settings.
func (f inForce) shown() control.Config {
	return control.Config{
		State: string(f.use), Error: f.fault, Hash: config.Hash(f.config),
		PageNames: append([]string{f.config.Hostname}, f.config.Admin.Hosts...),
	}
}

// current returns the settings in force. What runs for long asks again: they
// change without a restart of the box.
func (s *settings) current() config.Config { return s.inForce().config }

func (s *settings) inForce() inForce {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.force
}

func (s *settings) setInForce(f inForce) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.force = f
}

// ownSettings makes the settings file readable for root alone, whoever put it
// on the disk: there are password hashes in it.
func ownSettings(data *os.Root) error {
	err := errors.Join(data.Lchown(configName, rootUID, rootUID), data.Chmod(configName, 0o600))
	if errors.Is(err, os.ErrNotExist) {
		return nil // is said when it is read
	}
	return err
}

// loadSettings reads the settings and says what is wrong with them.
func (p *initProcess) loadSettings() {
	if forgetPending(p.data, p.system) {
		p.say("settings: a change was not confirmed before the box stopped; the settings before it are in force")
	}
	f, err := chooseSettings(p.data, p.system)
	if err != nil {
		f.fault = err.Error()
		for line := range bytes.Lines([]byte(f.fault)) {
			p.say("settings: %s", bytes.TrimSpace(line))
		}
	}
	p.setInForce(f)
	switch f.use {
	case health.ConfigLastGood:
		p.say("settings: THE LAST SETTINGS THAT WERE RIGHT ARE IN FORCE, not those of the file")
	case health.ConfigDefault:
		p.say("settings: THE BUILT-IN SETTINGS ARE IN FORCE: the page works, no mail is relayed")
	default:
		p.say("settings: %s is in force, this box is %s", configName, f.config.Hostname)
	}
	p.say("settings: check sum %s", config.Hash(f.config))
	p.state.setConfig(f.config.Hostname, f.shown())
}

// chooseSettings returns config.toml from data when it is right, and keeps a
// copy of it in system; else the last copy; else the built-in settings. The
// error says what is wrong with the file, also when a copy is used. It never
// returns settings that are not valid as a whole.
func chooseSettings(data, system *os.Root) (inForce, error) {
	builtIn := inForce{config: config.Default(), use: health.ConfigDefault}
	if data == nil {
		return builtIn, errors.New("the data disk, which holds the settings, is not in use")
	}
	text, err := statefile.Read(data, configName, maxConfig)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("there is no %s on the data disk", configName)
	}
	if err == nil {
		var c config.Config
		if c, err = config.Parse(configName, text); err == nil {
			if now, changed, _ := config.Upgrade(configName, string(text)); changed {
				return upgradeSettings(data, system, inForce{config: c, text: []byte(now), use: health.ConfigFile}, text)
			}
			return inForce{config: c, text: text, use: health.ConfigFile}, keepLastGood(system, text)
		}
	}
	if old, oldErr := statefile.Read(system, lastGoodName, maxConfig); oldErr == nil {
		if c, oldErr := config.Parse(lastGoodName, old); oldErr == nil {
			return inForce{config: c, text: old, use: health.ConfigLastGood}, err
		}
	}
	return builtIn, err
}

// upgradeSettings writes the file anew in the form of today and keeps the one
// that a person wrote beside it, since an older version of the box reads that.
func upgradeSettings(data, system *os.Root, f inForce, old []byte) (inForce, error) {
	if err := statefile.Write(system, oldFormName, old, 0o600); err != nil {
		return f, fmt.Errorf("the settings are of an earlier version and could not be rewritten: %w", err)
	}
	if err := statefile.Write(data, configName, f.text, 0o600); err != nil {
		return f, fmt.Errorf("the settings are of an earlier version and could not be rewritten: %w", err)
	}
	return f, keepLastGood(system, f.text)
}

// keepLastGood copies settings that are right, when they are new.
func keepLastGood(system *os.Root, text []byte) error {
	if old, err := statefile.Read(system, lastGoodName, maxConfig); err == nil && bytes.Equal(old, text) {
		return nil
	}
	if err := statefile.Write(system, lastGoodName, text, 0o600); err != nil {
		return fmt.Errorf("the settings are right, but no copy could be kept: %w", err)
	}
	return nil
}
