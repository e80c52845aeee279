package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Machine is a running virtual machine. Its methods may be called from
// several goroutines.
type Machine struct {
	board   string // Config.Board
	cmd     *exec.Cmd
	console *console
	qmp     *qmp
	qtest   *qtest
	cancel  context.CancelFunc
	done    chan struct{} // closed when the process has ended and all is joined

	mu     sync.Mutex
	reason string      // of the last SHUTDOWN event
	grace  *time.Timer // runs from that event on
	forced bool        // QEMU did not end after it and was killed
	end    End         // valid once done is closed
}

// endGrace is how long QEMU may take to end after it has said that it will.
// Its disk image is written then, but a monitor's command that is on its way
// at that moment can make QEMU 7.2 wait for itself for ever.
const endGrace = 3 * time.Second

// An End is how a machine came to its end.
type End struct {
	// Reason is QEMU's word for it: guest-shutdown when the guest switched
	// itself off, guest-reset when it panicked or rebooted, host-signal
	// when QEMU was told to go; "" when QEMU was killed.
	Reason string
	// Err is the process's failure: nil if QEMU ended with status 0, or was
	// helped to end after it had announced Reason.
	Err error
	// Stderr is what QEMU complained of, cut to a few KB.
	Stderr string
}

// PoweredOff tells whether the guest switched itself off, the one clean end.
func (e End) PoweredOff() bool { return e.Reason == "guest-shutdown" && e.Err == nil }

// String says it for people.
func (e End) String() string {
	s := e.Reason
	if s == "" {
		s = "killed"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Stderr != "" {
		s += ": " + strings.TrimSpace(e.Stderr)
	}
	return s
}

// maxStderr bounds what is kept of QEMU's complaints, in bytes.
const maxStderr = 8 << 10

// Start starts the machine. It lives until the guest switches itself off,
// until Kill, or until ctx is done, whichever comes first; in each case Done
// is closed after everything that Start began has ended. The caller makes
// sure of one of the three.
func Start(ctx context.Context, c Config) (*Machine, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	// The machine's own context ends with ctx and with Kill.
	ctx, cancel := context.WithCancel(ctx)
	m := &Machine{board: c.Board, cancel: cancel, console: newConsole(c.OnLine), done: make(chan struct{})}
	if err := m.start(ctx, c); err != nil {
		cancel()
		return nil, fmt.Errorf("qemu: %w", err)
	}
	if err := m.qmp.hello(ctx, m.done); err != nil {
		m.Kill()
		return nil, fmt.Errorf("qemu: %w (%s)", err, m.end)
	}
	return m, nil
}

// start wires the process up and starts it.
func (m *Machine) start(ctx context.Context, c Config) error {
	m.cmd = exec.CommandContext(ctx, c.Binary, c.args()...)
	// Ctrl-C at the terminal is for our program, which then presses the
	// power key. If we are killed, QEMU is, too.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var stderr bounded
	m.cmd.Stderr = &stderr
	stdout, err := m.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var ours []net.Conn
	defer func() {
		for _, f := range m.cmd.ExtraFiles {
			f.Close() // QEMU has its own copies
		}
	}()
	for range 2 { // in the order of qmpFD, qtestFD
		conn, file, err := socketPair()
		if err != nil {
			closeAll(ours)
			return err
		}
		ours = append(ours, conn)
		m.cmd.ExtraFiles = append(m.cmd.ExtraFiles, file)
	}
	m.qmp, m.qtest = newQMP(ours[0], m.event), newQTest(ours[1])
	started := make(chan error, 1)
	go m.run(started, ours, func() { m.console.read(stdout) }, &stderr)
	return <-started
}

// run starts the process, waits for its end, and joins its readers.
//
// Pdeathsig goes off when the thread that forked ends, not the process, so
// the forking thread is kept here until QEMU has ended.
func (m *Machine) run(started chan<- error, ours []net.Conn, readConsole func(), stderr *bounded) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := m.cmd.Start(); err != nil {
		closeAll(ours)
		started <- err
		return
	}
	var readers sync.WaitGroup
	readers.Go(readConsole)
	readers.Go(m.qmp.read)
	readers.Go(m.qtest.read)
	started <- nil
	// The readers see the end of their streams when the process has ended;
	// Wait would close the console's pipe under its reader if it came first.
	readers.Wait()
	err := m.cmd.Wait()
	closeAll(ours)
	m.mu.Lock()
	if m.grace != nil {
		m.grace.Stop()
	}
	if m.forced {
		err = nil
	}
	m.end = End{Reason: m.reason, Err: err, Stderr: stderr.String()}
	m.mu.Unlock()
	m.cancel()
	close(m.done)
}

// event notes why QEMU is about to end.
func (m *Machine) event(name string, data json.RawMessage) {
	if name != "SHUTDOWN" {
		return
	}
	var why struct {
		Reason string `json:"reason"`
	}
	if json.Unmarshal(data, &why) == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.reason = why.Reason
		if m.grace == nil {
			m.grace = time.AfterFunc(endGrace, m.force)
		}
	}
}

// force ends a QEMU that has said that it ends and does not.
func (m *Machine) force() {
	m.mu.Lock()
	m.forced = true
	m.mu.Unlock()
	m.cancel()
}

// Done is closed when the machine has ended.
func (m *Machine) Done() <-chan struct{} { return m.done }

// Wait waits for the end of the machine, or of ctx. It ends nothing.
func (m *Machine) Wait(ctx context.Context) (End, error) {
	select {
	case <-m.done:
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.end, nil
	case <-ctx.Done():
		return End{}, fmt.Errorf("qemu: the machine goes on: %w", ctx.Err())
	}
}

// Kill cuts the power: the guest gets no chance to write anything. It
// returns when the machine has ended, and does nothing to one that has.
func (m *Machine) Kill() {
	m.cancel()
	<-m.done
}

// PID is the number of QEMU's process.
func (m *Machine) PID() int { return m.cmd.Process.Pid }

// socketPair makes two ends of a connection, one for us and one for a child.
func socketPair() (net.Conn, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	our, child := os.NewFile(uintptr(fds[0]), "qemu"), os.NewFile(uintptr(fds[1]), "qemu-child")
	conn, err := net.FileConn(our)
	if err != nil {
		return nil, nil, errors.Join(err, our.Close(), child.Close())
	}
	return conn, child, our.Close()
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		c.Close()
	}
}

// bounded keeps the beginning of what is written to it.
type bounded struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b.Write(p[:min(len(p), maxStderr-b.b.Len())])
	return len(p), nil
}

func (b *bounded) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
