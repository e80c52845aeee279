// Package kled drives the LEDs that the kernel has drivers for, through
// /sys/class/leds.
//
// Where the kernel has the pattern trigger, the kernel plays the rhythm. It is
// given ten seconds of it at a time, once, and ends dark: a program that has
// died leaves no light that goes on telling of it. Without the trigger the
// program switches the light at every change, and a light that was lit when the
// program died stays lit.
//
// The sysfs package of periph has LEDs, too. It writes nothing but brightness,
// its files cannot be handed in, and it brings drivers that this program must
// not have; so this package has the few lines itself.
package kled

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"gatepost/board"
	"gatepost/board/led"
)

// Files are the files below /sys. *os.Root is one.
type Files interface {
	ReadFile(name string) ([]byte, error)
	WriteFile(name string, data []byte, perm fs.FileMode) error
}

// folder holds the kernel's LEDs, below /sys.
const folder = "class/leds"

// Triggers of the kernel.
const (
	triggerNone    = "none"
	triggerPattern = "pattern"
	triggerPanic   = "panic"
)

// dimmest is the part of the full brightness with which a dim light shines.
const dimmest = 16

// A Light is one LED of the kernel that is switched by the program. It is for
// one goroutine at a time.
type Light struct {
	name, dir string
	files     Files
	own       *os.Root // the LED's folder; nil where files are no *os.Root
	max       int
	idle      string // trigger while it is dark
	trigger   string // in force; "" when not known
}

var _ led.Output = (*Light)(nil)

// A Played is a light of which the kernel plays the rhythm.
type Played struct{ *Light }

var _ led.Scheduler = Played{}

// An Opened is an open light: a *Light or a Played.
type Opened interface {
	led.Output
	// Close switches the light off and leaves it to nobody.
	Close() error
}

// Open opens the kernel LED of a light, dark. While a light for alarms is
// dark, the kernel may use it to tell that it has died itself. An error means
// that there is no such LED, or that it cannot be written; the caller goes on
// without it. The caller closes what it gets.
func Open(files Files, l board.Light) (Opened, error) {
	if l.LED == "" || l.LED == "." || l.LED == ".." || strings.ContainsAny(l.LED, "/\x00") {
		return nil, fmt.Errorf("kled: light %s: %q is no name of an LED", l.Name, l.LED)
	}
	o := &Light{name: l.LED, dir: path.Join(folder, l.LED), files: files, idle: triggerNone}
	if root, ok := files.(*os.Root); ok {
		// The way to an LED leads through links. It is gone once, and not for
		// each write.
		own, err := root.OpenRoot(o.dir)
		if err != nil {
			return nil, fmt.Errorf("kled: LED %s: %w", l.LED, err)
		}
		o.own, o.files, o.dir = own, own, "."
	}
	opened, err := o.open(l.Name == board.Alert)
	if err != nil {
		err = fmt.Errorf("kled: LED %s: %w", l.LED, err)
		if o.own != nil {
			err = errors.Join(err, o.own.Close())
		}
		return nil, err
	}
	return opened, nil
}

// open learns what the LED can do and darkens it.
func (l *Light) open(alarm bool) (Opened, error) {
	text, err := l.files.ReadFile(path.Join(l.dir, "max_brightness"))
	if err != nil {
		return nil, err
	}
	if l.max, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil || l.max < 1 {
		return nil, fmt.Errorf("max_brightness is %q", text)
	}
	has := l.triggers()
	if alarm && has[triggerPanic] {
		l.idle = triggerPanic
	}
	if err := l.Set(led.Level{}); err != nil {
		return nil, err
	}
	if has[triggerPattern] {
		return Played{l}, nil
	}
	return l, nil
}

// Panic lets the kernel blink an LED when it has died, and leaves it to the
// kernel. The error says that this kernel or this LED cannot.
func Panic(files Files, name string) error {
	if strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("kled: %q is no name of an LED", name)
	}
	o := &Light{name: name, dir: path.Join(folder, name), files: files}
	if !o.triggers()[triggerPanic] {
		return fmt.Errorf("kled: LED %s: there is none, or the kernel has no panic trigger", name)
	}
	return errors.Join(o.write("brightness", "0"), o.write("trigger", triggerPanic))
}

// triggers are the triggers that the LED can have.
func (l *Light) triggers() map[string]bool {
	text, err := l.files.ReadFile(path.Join(l.dir, "trigger"))
	has := map[string]bool{}
	if err == nil {
		for _, word := range strings.Fields(string(text)) {
			has[strings.Trim(word, "[]")] = true
		}
	}
	return has
}

// Set shows one level until the next Set or Schedule. Colours are left out.
func (l *Light) Set(level led.Level) error {
	if !level.Lit {
		// To write 0 also takes the trigger away.
		if err := l.write("brightness", "0"); err != nil {
			return err
		}
		l.trigger = triggerNone
		return l.become(l.idle)
	}
	if err := l.become(triggerNone); err != nil {
		return err
	}
	return l.write("brightness", strconv.Itoa(l.brightness(level)))
}

// Close switches the light off and leaves it to nobody.
func (l *Light) Close() error {
	l.idle = triggerNone
	err := l.Set(led.Level{})
	if l.own != nil {
		err = errors.Join(err, l.own.Close())
	}
	return err
}

// Schedule lets the kernel play steps once and be dark then.
func (p Played) Schedule(steps []led.Step) error {
	if p.trigger != triggerPattern {
		if err := p.become(triggerPattern); err != nil {
			return err
		}
		// A fresh trigger plays for ever. Before it has a pattern, it can be
		// told to play once without playing anything.
		if err := p.write("repeat", "1"); err != nil {
			return err
		}
	}
	if err := p.write("pattern", p.pattern(steps)); err != nil {
		return err
	}
	// The number counts down to zero: each pattern needs it anew.
	return p.write("repeat", "1")
}

// pattern writes steps as the kernel reads them: pairs of brightness and
// milliseconds, between which it fades unless the next pair has no length.
func (l *Light) pattern(steps []led.Step) string {
	var b strings.Builder
	var at time.Duration
	for _, s := range steps {
		from := at.Milliseconds()
		at += s.For
		if ms := at.Milliseconds() - from; ms > 0 {
			level := l.brightness(s.Level)
			fmt.Fprintf(&b, "%d %d %d 0 ", level, ms, level)
		}
	}
	b.WriteString("0 1 0 0")
	return b.String()
}

func (l *Light) brightness(level led.Level) int {
	switch {
	case !level.Lit:
		return 0
	case level.Dim:
		return max(l.max/dimmest, 1)
	}
	return l.max
}

// become changes the trigger, when it is another one.
func (l *Light) become(trigger string) error {
	if l.trigger == trigger {
		return nil
	}
	l.trigger = ""
	if err := l.write("trigger", trigger); err != nil {
		return err
	}
	l.trigger = trigger
	return nil
}

func (l *Light) write(file, text string) error {
	if err := l.files.WriteFile(path.Join(l.dir, file), []byte(text), 0); err != nil {
		l.trigger = ""
		return fmt.Errorf("kled: LED %s: %w", l.name, err)
	}
	return nil
}
