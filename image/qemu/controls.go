package qemu

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// QMP sends one command of QEMU's machine protocol and gives its answer.
// args is anything that marshals to a JSON object, or nil.
func (m *Machine) QMP(ctx context.Context, command string, args any) (json.RawMessage, error) {
	return m.qmp.execute(ctx, command, args)
}

// Monitor sends a line to QEMU's monitor for people and gives what it prints.
// A command that is on its way while the guest switches itself off delays the
// machine's end by a few seconds.
func (m *Machine) Monitor(ctx context.Context, line string) (string, error) {
	answer, err := m.QMP(ctx, "human-monitor-command", map[string]string{"command-line": line})
	if err != nil {
		return "", err
	}
	var text string
	if err := json.Unmarshal(answer, &text); err != nil {
		return "", fmt.Errorf("qemu: %s: %w", line, err)
	}
	return text, nil
}

// PowerButton presses the power key, as a person would who wants the box to
// switch itself off. It does not wait for that.
func (m *Machine) PowerButton(ctx context.Context) error {
	_, err := m.QMP(ctx, "system_powerdown", nil)
	return err
}

// Cable pulls the network card's cable out, or puts it back in: the guest sees
// its signal go and come.
func (m *Machine) Cable(ctx context.Context, in bool) error {
	_, err := m.QMP(ctx, "set_link", map[string]any{"name": "n0", "up": in})
	return err
}

// GPIO is the state of the machine's GPIO lines, one bit each, line 0 lowest:
// eight of the virt machine, 54 of the Raspi3B.
type GPIO struct {
	// Levels has a bit set for a line that is high.
	Levels uint64
	// Outputs has a bit set for a line that the guest drives. A line that is
	// high and no output is floating: a light there shows nothing.
	Outputs uint64
}

// Lit tells whether a line is an output and high.
func (g GPIO) Lit(line int) bool { return g.Levels&g.Outputs&(1<<line) != 0 }

// Driven tells whether a line is an output.
func (g GPIO) Driven(line int) bool { return g.Outputs&(1<<line) != 0 }

// String shows the lines from 0 to 7: 1 driven high, 0 driven low, h and l
// for inputs.
func (g GPIO) String() string {
	var b strings.Builder
	for line := range 8 {
		c := "lh01"[g.Levels>>line&1+g.Outputs>>line&1*2]
		b.WriteByte(c)
	}
	return b.String()
}

// Registers of the PL061 GPIO chip of the virt machine, as physical
// addresses. The data register's address holds a mask of the lines to read.
const (
	gpioData      = 0x90303fc
	gpioDirection = 0x9030400
)

// GPIO reads the lines from outside, without the guest's help.
func (m *Machine) GPIO(ctx context.Context) (GPIO, error) {
	if m.board == Raspi3B {
		return m.raspiGPIO(ctx)
	}
	levels, err := m.register(ctx, gpioData)
	if err != nil {
		return GPIO{}, err
	}
	outputs, err := m.register(ctx, gpioDirection)
	return GPIO{Levels: levels & 0xff, Outputs: outputs & 0xff}, err
}

// Memory is what QEMU's process takes of the host, in bytes.
type Memory struct {
	Now  int64 // resident set
	Peak int64 // the largest it ever was
}

// Memory measures QEMU's process, in which the guest's memory is counted as
// far as the guest has touched it.
func (m *Machine) Memory() (Memory, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.PID()))
	if err != nil {
		return Memory{}, fmt.Errorf("qemu: %w", err)
	}
	var mem Memory
	for line := range strings.Lines(string(status)) {
		key, rest, _ := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if len(fields) == 0 || key != "VmRSS" && key != "VmHWM" {
			continue
		}
		kb, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil {
			return Memory{}, fmt.Errorf("qemu: %s: %w", key, err)
		}
		if key == "VmRSS" {
			mem.Now = kb << 10
		} else {
			mem.Peak = kb << 10
		}
	}
	return mem, nil
}
