package appliance

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"gatepost/appliance/boot"
	"gatepost/appliance/config"
	"gatepost/appliance/control"
	"gatepost/appliance/statefile"
	"gatepost/image/layout"
)

const (
	bootDir      = runDir + "/boot"
	replacedName = "config.replaced.toml" // settings of before ProvisionReplace
)

// offer is a file of settings on the boot partition, and what became of it.
type offer struct {
	name  string // "" when there is none
	taken bool   // its settings are on the data disk
	fault error  // why they are not
}

// provision takes settings over that somebody has put on the boot partition. It
// returns what is wrong with them, nil when nothing is.
func (p *initProcess) provision() error {
	device := boot.FindBoot("/sys/class/block", "/dev")
	if device == "" || p.data == nil {
		return nil
	}
	var o offer
	if err := boot.WithBoot(device, bootDir, false, func(esp *os.Root) error {
		o = takeOffer(esp, p.data, p.system)
		return nil
	}); err != nil {
		p.warn("settings", err)
		return nil
	}
	switch {
	case o.name == "":
		return nil
	case o.taken:
		p.say("settings: %s of the boot partition is taken over and renamed to %s%s. Delete that file: it may hold passwords.", o.name, o.name, layout.ProvisionUsed)
	case o.fault == nil:
		p.say("settings: %s of the boot partition is not used, since this box has settings. To replace them, name it %s.", o.name, layout.ProvisionReplace)
		return nil
	default:
		for line := range bytes.Lines([]byte(o.fault.Error())) {
			p.say("settings: %s", bytes.TrimSpace(line))
		}
		p.say("settings: %s of the boot partition is not taken over; the reasons are also in %s beside it", o.name, layout.ProvisionErrors)
	}
	p.warn("settings", boot.WithBoot(device, bootDir, true, func(esp *os.Root) error { return o.mark(esp) }))
	return o.fault
}

// takeOffer takes the settings of the boot partition over when they may be and
// are right as a whole. What was in force before is kept.
func takeOffer(esp, data, system *os.Root) offer {
	for _, name := range []string{layout.ProvisionReplace, layout.Provision} {
		text, err := statefile.Read(esp, name, maxConfig)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		o := offer{name: name}
		old, oldErr := statefile.Read(data, configName, maxConfig)
		_, copyErr := system.Stat(lastGoodName)
		fresh := errors.Is(oldErr, os.ErrNotExist) && errors.Is(copyErr, os.ErrNotExist)
		switch {
		case err != nil:
		case oldErr == nil && bytes.Equal(old, text): // a power cut before it was renamed
			o.taken = true
			return o
		case !fresh && name != layout.ProvisionReplace:
			return o
		default:
			_, err = config.Parse(name, text)
		}
		if err == nil && oldErr == nil {
			err = statefile.Write(system, replacedName, old, 0o600)
		}
		if err == nil {
			err = statefile.Write(data, configName, text, 0o600)
		}
		o.taken, o.fault = err == nil, err
		return o
	}
	return offer{}
}

// mark tells the person who put the file there what became of it. The file is
// renamed after its settings are on the data disk, so that a power cut between
// the two only makes the next start look again.
func (o offer) mark(esp *os.Root) error {
	if o.taken {
		used := o.name + layout.ProvisionUsed
		if err := errors.Join(remove(esp, used), esp.Rename(o.name, used), remove(esp, layout.ProvisionErrors)); err != nil {
			return fmt.Errorf("boot partition: %w", err)
		}
		return nil
	}
	// Lines end as Windows' oldest editor wants them.
	text := bytes.ReplaceAll([]byte(o.fault.Error()+"\n"), []byte("\n"), []byte("\r\n"))
	if old, err := statefile.Read(esp, layout.ProvisionErrors, maxConfig); err == nil && bytes.Equal(old, text) {
		return nil
	}
	return statefile.Write(esp, layout.ProvisionErrors, text, 0o600)
}

func remove(root *os.Root, name string) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// showProvision puts the faults of settings that were not taken over before
// those of the settings in force, for the page.
func (p *initProcess) showProvision(fault error) {
	if fault == nil {
		return
	}
	p.state.update(func(b *control.Box) {
		b.Config.Error = joinLines(fault.Error(), b.Config.Error)
	})
}

func joinLines(a, b string) string {
	if b == "" {
		return a
	}
	return a + "\n" + b
}
