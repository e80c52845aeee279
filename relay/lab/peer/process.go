package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Missing tells that programs are not installed. Tests skip with it, except in
// CI, where a skip would hide the check.
type Missing struct{ Programs []string }

func (e *Missing) Error() string {
	return "not installed: " + strings.Join(e.Programs, ", ")
}

// Need returns a [*Missing] naming those programs that are not on the PATH.
func Need(programs ...string) error {
	var missing []string
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing = append(missing, p)
		}
	}
	if len(missing) > 0 {
		return &Missing{missing}
	}
	return nil
}

// Process is a running program with the processes that it starts, which are a
// group of their own.
type Process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when the program has ended
	err  error         // of Wait; read it after done
	out  *tail
}

// Start starts the program. Its output goes to out (nil: it is kept for error
// messages, up to 64 KiB). The caller must call Stop or Kill.
func Start(out io.Writer, env []string, name string, args ...string) (*Process, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, &Missing{[]string{name}}
	}
	p := &Process{name: name, cmd: exec.Command(path, args...), done: make(chan struct{}), out: &tail{}}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Env = env
	p.cmd.Stderr = p.out
	if p.cmd.Stdout = out; out == nil {
		p.cmd.Stdout = p.out
	}
	// A child that holds the output open must not keep Stop waiting.
	p.cmd.WaitDelay = 2 * time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is the process id of the program, which is also that of its group.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Output is what the program said last.
func (p *Process) Output() string { return p.out.String() }

// Kill ends the program and its group at once (SIGKILL) and waits for it.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL) // gone already is fine
	<-p.done
}

// Stop asks the program to end (SIGTERM), kills what is left of its group
// after grace, and waits. The error tells that it had ended before, or had to
// be killed.
func (p *Process) Stop(grace time.Duration) error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended by itself: %v: %s", p.name, p.err, p.Output())
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-p.done:
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
		return nil
	case <-t.C:
		p.Kill()
		return fmt.Errorf("%s did not stop within %v", p.name, grace)
	}
}

// Answers waits until the program takes connections at the address, ends, or
// ctx is done.
func (p *Process) Answers(ctx context.Context, addr string) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %v: %s", p.name, p.err, p.Output())
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer at %s: %w: %s", p.name, addr, err, p.Output())
		case <-tick.C:
		}
	}
}

// FreePort returns a TCP address of 127.0.0.1 on which nobody listened a
// moment ago.
func FreePort() (string, error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// run runs a program to its end and returns what it said.
func run(ctx context.Context, env []string, name string, args ...string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", &Missing{[]string{name}}
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = env
	out := &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = 2 * time.Second
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", name, errors.Join(err, ctx.Err()), out)
	}
	return out.String(), nil
}

// tail keeps the last 64 KiB of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const maxTail = 64 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if over := len(t.b) - maxTail; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b))
}
