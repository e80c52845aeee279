package qemu

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is far longer than any of this takes on a quiet machine.
const patience = 60 * time.Second

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// boot starts a guest that the test's end kills.
func boot(t *testing.T, c Config) *Machine {
	t.Helper()
	m, err := Start(patient(t), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Kill)
	return m
}

func alive(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && !strings.Contains(string(status), "\nState:\tZ")
}

func TestPowerKeyLightsAndConsole(t *testing.T) {
	c := guest(t, lamp)
	var mu sync.Mutex
	var heard []string
	c.OnLine = func(l Line) {
		mu.Lock()
		heard = append(heard, l.Text)
		mu.Unlock()
	}
	m := boot(t, c)
	ctx := patient(t)
	if _, err := m.AwaitText(ctx, "ready"); err != nil {
		t.Fatal(err)
	}
	gpio, err := m.GPIO(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !gpio.Lit(0) || gpio.Lit(4) || gpio.Lit(1) || gpio.Outputs != 0b10001 {
		t.Errorf("got lines %s, want line 0 driven high, line 4 driven low, the rest inputs", gpio)
	}
	if got := gpio.String(); got != "1lll0lll" {
		t.Errorf("got lines %s, want 1lll0lll", got)
	}
	// A question that is given up does not spoil the next one's answer.
	late, cancel := context.WithCancel(ctx)
	cancel()
	for range 3 {
		if _, err := m.qtest.execute(late, "readl 0x9010000"); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("a question that is given up: got %v, want %v", err, context.Canceled)
		}
	}
	if again, err := m.GPIO(ctx); err != nil || again != gpio {
		t.Errorf("after questions that were given up: got %s, %v, want %s", again, err, gpio)
	}
	mem, err := m.Memory()
	if err != nil || mem.Now <= 0 || mem.Peak < mem.Now {
		t.Errorf("memory: got %+v, %v", mem, err)
	}
	if err := m.PowerButton(ctx); err != nil {
		t.Fatal(err)
	}
	end, err := m.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !end.PoweredOff() {
		t.Errorf("got end %q, want a clean power-off", end)
	}
	if alive(m.PID()) {
		t.Error("the process is still there")
	}
	// The colour's escape character is dropped.
	want := []string{"guest: ready", "guest: [31mbye"}
	mu.Lock()
	defer mu.Unlock()
	if fmt.Sprint(heard) != fmt.Sprint(want) || len(m.Lines()) != 2 {
		t.Errorf("got lines %q and %v, want %q", heard, m.Lines(), want)
	}
	if _, err := m.GPIO(ctx); !errors.Is(err, errEnded) {
		t.Errorf("a dead machine's lights: got %v, want %v", err, errEnded)
	}
	_, err = m.AwaitText(ctx, "never said")
	if !errors.Is(err, ErrConsoleEnded) || !strings.Contains(err.Error(), "bye") {
		t.Errorf("a line that never comes: got %v, want %v with the last lines", err, ErrConsoleEnded)
	}
	m.Kill() // does nothing
}

func TestAResetIsNoPowerOff(t *testing.T) {
	m := boot(t, guest(t, func(a *asm) { a.firmware(reset); a.hang() }))
	end, err := m.Wait(patient(t))
	if err != nil || end.PoweredOff() || end.Reason != "guest-reset" {
		t.Errorf("got end %q, %v, want guest-reset", end, err)
	}
}

func TestKillAndContextEndTheMachine(t *testing.T) {
	hang := func(a *asm) { a.print("up\n"); a.hang() }
	ends := map[string]func(*Machine, context.CancelFunc){
		"kill":    func(m *Machine, _ context.CancelFunc) { m.Kill() },
		"context": func(_ *Machine, cancel context.CancelFunc) { cancel() },
	}
	for name, finish := range ends {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(patient(t))
			defer cancel()
			m, err := Start(ctx, guest(t, hang))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.AwaitText(patient(t), "up"); err != nil {
				t.Fatal(err)
			}
			short, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer stop()
			if _, err := m.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Wait for a machine that goes on: got %v, want %v", err, context.DeadlineExceeded)
			}
			if _, err := m.AwaitText(short, "nothing"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Await of a line that does not come: got %v, want %v", err, context.DeadlineExceeded)
			}
			finish(m, cancel)
			end, err := m.Wait(patient(t))
			if err != nil || end.PoweredOff() || end.Err == nil {
				t.Errorf("got end %q, %v, want a killed process", end, err)
			}
			if alive(m.PID()) {
				t.Error("the process is still there")
			}
		})
	}
}

func TestClockButtonAndNetwork(t *testing.T) {
	c := guest(t, lamp)
	c.Time = time.Date(2011, 1, 2, 3, 4, 5, 0, time.UTC)
	c.Network = filepath.Join(t.TempDir(), "wire")
	listener, err := net.Listen("unix", c.Network)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c.Disk = filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(c.Disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	m := boot(t, c)
	ctx := patient(t)
	wire, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer wire.Close()
	if _, err := m.AwaitText(ctx, "ready"); err != nil {
		t.Fatal(err)
	}
	text, err := m.Monitor(ctx, "xp /1wd 0x9010000") // the clock's seconds
	if err != nil {
		t.Fatal(err)
	}
	_, seconds, _ := strings.Cut(strings.TrimSpace(text), ": ")
	n, err := strconv.ParseInt(strings.TrimSpace(seconds), 10, 64)
	if late := time.Unix(n, 0).Sub(c.Time); err != nil || late < 0 || late > patience {
		t.Errorf("the guest's clock shows %v, want %v", time.Unix(n, 0).UTC(), c.Time)
	}
	blocks, err := m.Monitor(ctx, "info block")
	if err != nil || !strings.Contains(blocks, c.Disk) {
		t.Errorf("got block devices %q, %v, want the disk", blocks, err)
	}
	for _, high := range []bool{true, false} {
		if err := m.SetLine(ctx, 6, high); err != nil {
			t.Fatal(err)
		}
		gpio, err := m.GPIO(ctx)
		if err != nil || gpio.Levels&(1<<6) != 0 != high || gpio.Lit(6) {
			t.Errorf("line 6 set %v: got %s, %v; an input is never lit", high, gpio, err)
		}
	}
	if err := m.SetLine(ctx, powerLine, true); err != nil {
		t.Fatal(err)
	}
	if end, err := m.Wait(ctx); err != nil || !end.PoweredOff() {
		t.Errorf("got end %q, %v, want a clean power-off", end, err)
	}
}

// Whoever watches the lights may do so until the very end.
func TestWatchingDoesNotDisturbTheEnd(t *testing.T) {
	watchers := map[string]func(context.Context, *Machine) error{
		"lights": func(ctx context.Context, m *Machine) error { _, err := m.GPIO(ctx); return err },
		"monitor": func(ctx context.Context, m *Machine) error {
			_, err := m.Monitor(ctx, "info status")
			return err
		},
	}
	for name, watch := range watchers {
		t.Run(name, func(t *testing.T) {
			c := guest(t, lamp)
			for range 5 {
				m := boot(t, c)
				ctx := patient(t)
				if _, err := m.AwaitText(ctx, "ready"); err != nil {
					t.Fatal(err)
				}
				done := make(chan error)
				go func() {
					var err error
					for err == nil {
						err = watch(ctx, m)
					}
					done <- err
				}()
				if err := m.PowerButton(ctx); err != nil {
					t.Fatal(err)
				}
				end, err := m.Wait(ctx)
				if err != nil || !end.PoweredOff() {
					t.Errorf("got end %q, %v, want a clean power-off", end, err)
				}
				if err := <-done; !errors.Is(err, errEnded) {
					t.Errorf("the watcher got %v, want %v", err, errEnded)
				}
			}
		})
	}
}

func TestMistakesAreToldBeforeTheStart(t *testing.T) {
	good := guest(t, lamp)
	tests := []struct {
		name string
		edit func(*Config)
		want string
	}{
		{"no kernel", func(c *Config) { c.Kernel = "" }, "no kernel given"},
		{"no initrd", func(c *Config) { c.Initrd = c.Initrd + ".gone" }, "initrd:"},
		{"no disk", func(c *Config) { c.Disk = "/nowhere/disk" }, "disk:"},
		{"a comma", func(c *Config) { c.Disk = "/tmp/a,b" }, "comma"},
		{"a deep socket", func(c *Config) { c.Network = "/" + strings.Repeat("x", 107) }, "at most 107 bytes"},
		{"no network", func(c *Config) { c.Network = "/nowhere/wire" }, "network:"},
		{"no NBD", func(c *Config) { c.NBD = "/nowhere/nbd" }, "nbd:"},
		{"two disks", func(c *Config) { c.Disk, c.NBD = c.Kernel, c.Kernel }, "one data disk"},
		{"no QEMU", func(c *Config) { c.Binary = "qemu-system-nothing" }, "qemu-system-nothing"},
		{"QEMU refuses", func(c *Config) { c.Extra = []string{"-device", "no-such-device"} }, "no-such-device"},
		{"memory", func(c *Config) { c.MemoryMB = -1 }, "-1 MB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good
			tt.edit(&c)
			m, err := Start(patient(t), c)
			if err == nil {
				m.Kill()
				t.Fatal("got no error")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, want it to contain %q", err, tt.want)
			}
		})
	}
	m := boot(t, good)
	if _, err := m.QMP(patient(t), "no-such-command", nil); err == nil || !strings.Contains(err.Error(), "no-such-command") {
		t.Errorf("an unknown command: got %v", err)
	}
}

// childEnv makes the test's program a child that starts a machine and waits.
const childEnv = "GATEPOST_QEMU_TEST_CHILD"

func TestMachineDiesWithItsProgram(t *testing.T) {
	if kernel := os.Getenv(childEnv); kernel != "" {
		m, err := Start(t.Context(), Config{Kernel: kernel, Initrd: kernel, MemoryMB: 32})
		if err != nil {
			fmt.Println("pid", err)
			return
		}
		fmt.Println("pid", m.PID())
		<-m.Done()
		return
	}
	c := guest(t, func(a *asm) { a.hang() })
	cmd := exec.CommandContext(patient(t), os.Args[0], "-test.run=^TestMachineDiesWithItsProgram$")
	cmd.Env = append(os.Environ(), childEnv+"="+c.Kernel)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	for sc := bufio.NewScanner(out); pid == 0 && sc.Scan(); {
		if rest, ok := strings.CutPrefix(sc.Text(), "pid "); ok {
			if pid, err = strconv.Atoi(rest); err != nil {
				t.Fatal(rest)
			}
		}
	}
	if pid == 0 || !alive(pid) {
		t.Fatalf("the child's machine %d does not run", pid)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() // it was killed: the error says nothing
	for start := time.Now(); alive(pid); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatal("the machine outlives the program that started it")
		}
	}
}

func TestConsoleForgetsAndCuts(t *testing.T) {
	c := newConsole(nil)
	m := &Machine{console: c}
	var in strings.Builder
	for i := range maxLines + 5 {
		fmt.Fprintln(&in, "line", i)
	}
	in.WriteString(strings.Repeat("x", maxLine+10) + "\nend")
	c.read(strings.NewReader(in.String()))
	lines := m.Lines()
	if len(lines) > maxLines {
		t.Errorf("got %d lines, want at most %d", len(lines), maxLines)
	}
	last := lines[len(lines)-3:]
	if len(last[0].Text) != maxLine || last[1].Text != strings.Repeat("x", 10) || last[2].Text != "end" {
		t.Errorf("a long line: got parts of %d, %d and %q", len(last[0].Text), len(last[1].Text), last[2].Text)
	}
}
