package appliance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gatepost/appliance/boot"
	"gatepost/appliance/config"
	"gatepost/appliance/control"
)

// endPause lets the answer reach the browser before the box stops.
const endPause = time.Second

// act fulfils one wish of the page, of root or of the button, and notes in the
// journal who had it. Others wait meanwhile.
func (p *initProcess) act(_ context.Context, r control.Request) (control.Answer, error) {
	p.acting.Lock()
	defer p.acting.Unlock()
	a, err := p.doAct(r)
	var no *control.ActError
	switch {
	case errors.As(err, &no) && no.Code == control.CodeInvalid:
		p.note("act: %s by %s: %d faults in the settings", r.Op, who(r), len(no.Faults))
	case err != nil:
		p.say("act: %s by %s: %v", r.Op, who(r), err)
	case r.Op != control.OpSettings && r.Op != control.OpSettingsCheck:
		p.say("act: %s by %s", r.Op, who(r))
	}
	return a, err
}

// who is who had a wish, for the journal.
func who(r control.Request) string {
	by := strings.TrimSpace(r.By)
	if by == "" {
		by = "root"
	}
	if r.From == "" {
		return by
	}
	return fmt.Sprintf("%s at %s", by, r.From)
}

func (p *initProcess) doAct(r control.Request) (control.Answer, error) {
	switch r.Op {
	case control.OpSettings:
		return p.tellSettings()
	case control.OpSettingsCheck:
		f, changes, err := p.readSettings(r.Settings)
		if err != nil {
			return control.Answer{}, err
		}
		return control.Answer{Changes: changes, Hash: config.Hash(f.config)}, nil
	case control.OpSettingsTry:
		t, changes, err := p.trySettings(r.Settings, r.Within, p.pageAfter)
		if err != nil {
			return control.Answer{}, err
		}
		for _, c := range changes {
			p.say("settings: %s: %s: %q in place of %q", who(r), c.Key, c.New, c.Old)
		}
		return control.Answer{Changes: changes, Trial: t, Hash: config.Hash(p.current())}, nil
	case control.OpSettingsConfirm:
		return control.Answer{}, p.confirmTrial(r.Trial)
	case control.OpSettingsRevert:
		return control.Answer{}, p.revertTrial(r.Trial)
	case control.OpRestart:
		p.endSoon(boot.Reboot, who(r)+" asked for it")
		return control.Answer{}, nil
	case control.OpPowerOff:
		p.endSoon(boot.PowerOff, who(r)+" asked for it")
		return control.Answer{}, nil
	case control.OpFindMe:
		p.lights.findMe(findFor)
		return control.Answer{}, nil
	case control.OpBackup:
		return p.makeBackup(r)
	case control.OpRestore:
		a, err := p.restore(r)
		if err == nil {
			p.endSoon(boot.Reboot, who(r)+" restores a backup")
		}
		return a, err
	case control.OpFactoryReset, control.OpRecoveryReset:
		return control.Answer{}, p.reset(r)
	case control.OpEraseData:
		if err := p.eraseData(); err != nil {
			return control.Answer{}, refusal(control.CodeFailed, "%v", err)
		}
		p.endSoon(boot.Reboot, who(r)+" asked for an empty data disk")
		return control.Answer{}, nil
	}
	return control.Answer{}, refusal(control.CodeUnknown, "this box cannot do %q", r.Op)
}

// finishJob does what was asked for before the last restart.
func (p *initProcess) finishJob() {
	line, err := estate{p.data, p.system, folderOwners()}.finishJob()
	if line != "" {
		p.say("%s", line)
	}
	p.warn("job", err)
}

// reset writes the job down and restarts; the next start does it.
func (p *initProcess) reset(r control.Request) error {
	if p.system == nil {
		return refusal(control.CodeNoDisk, "there is no data disk, so there is nothing to erase")
	}
	if err := writeJob(p.system, job{Op: r.Op, By: who(r)}); err != nil {
		return err
	}
	p.endSoon(boot.Reboot, who(r)+" asked for "+r.Op)
	return nil
}

// endSoon ends the box when the answer is out.
func (p *initProcess) endSoon(e boot.End, why string) {
	time.AfterFunc(endPause, func() { p.end(e, why) })
}

// tellSettings returns what is in force, without passwords.
func (p *initProcess) tellSettings() (control.Answer, error) {
	f := p.inForce()
	text := config.Starter
	if f.text != nil {
		var err error
		if text, err = config.Hide(string(f.text)); err != nil {
			return control.Answer{}, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return control.Answer{
		Settings: text, Hash: config.Hash(f.config), Use: string(f.use), Trial: p.waiting.shown(),
		Erasable: !p.storage.OK && p.storage.Erasable,
	}, nil
}

// pageAfter is where the page will be with these settings, "" when that cannot
// be said beforehand. It is called with the lock of the settings held.
func (p *initProcess) pageAfter(c config.Config) string {
	if c.Network.Mode != "static" {
		return ""
	}
	return fmt.Sprintf("https://%v/", c.Network.Address.Addr())
}

// applySettings puts new settings into effect a moment later, and only in the
// parts that they change: mail goes on while the address of the box changes.
// The page never restarts for them; it hears of its names from the box's state.
// It is called with the lock of the settings held.
func (p *initProcess) applySettings(life context.Context, before, after inForce) {
	p.state.setConfig(after.config.Hostname, after.shown())
	time.AfterFunc(applyPause, func() {
		_ = p.guard("settings", func() error {
			p.applying.Lock()
			defer p.applying.Unlock()
			touched := parts(before, after)
			if touched["hostname"] {
				p.warn("host name", unix.Sethostname([]byte(after.config.Hostname)))
			}
			if touched["network"] || touched["hostname"] { // which DHCP is told
				p.applyNetwork()
			}
			if touched["clock"] {
				p.state.kickClock()
			}
			if touched["lights"] {
				p.lights.choose(life, p, after.config.Lights)
			}
			if touched[RoleRelay] {
				p.super.Restart(RoleRelay)
			}
			return nil
		})
	})
}

// parts are the parts of the box that a change touches.
func parts(before, after inForce) map[string]bool {
	touched := map[string]bool{RoleRelay: before.use != after.use}
	for _, c := range config.Changes(before.config, after.config) {
		table, _, _ := strings.Cut(c.Key, ".")
		touched[table] = true
		switch table {
		case "network", "clock", "lights", "admin", "listen":
		default: // also a key that is new here: rather once too often
			touched[RoleRelay] = true
		}
	}
	return touched
}
