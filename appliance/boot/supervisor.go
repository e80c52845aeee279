package boot

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Role is a process that must always run.
type Role struct {
	Name string
	Args []string // of the program, from argv[0] on
	// User is who it runs as; nil means like this process. Its groups are
	// replaced too, and with a uid other than 0 all its capabilities are gone.
	User      *syscall.Credential
	Listeners []Handed
	// Group is the folder of the control group that it starts in (MakeGroup);
	// nil means that of this process.
	Group *os.File
	// Payload makes what Inherit returns, anew for every start.
	Payload func() ([]byte, error)
}

// Handed is an open descriptor that a role inherits. The role gets a
// duplicate: File stays open here, so that connections wait while the role
// restarts.
type Handed struct {
	Name string
	File *os.File
}

// RoleState is what a role does now.
type RoleState struct {
	Name     string
	Up       bool
	PID      int
	Since    time.Time // of the current run, or of its end, or when it was first to be started
	Restarts int
	LastExit string // "" before the first end
	// Next is when the role is started again after a crash; zero means at once.
	Next time.Time
}

// Supervisor keeps roles running.
type Supervisor struct {
	Reaper     *Reaper // running
	Executable string  // "/proc/self/exe"
	// Output takes the output of a role's process, both streams, until it ends.
	// It must read to the end or the role will block.
	Output func(role string, pid int, r io.Reader) error
	// Crashed is told of every end that nobody asked for, and of tooMany, five
	// in ten minutes. The role is started again after the pause either way.
	Crashed func(role, reason string, pause time.Duration, tooMany bool)
	// Changed is called after every change of States; it must not block.
	Changed func()
	// StopLimit is how long a role has between SIGTERM and SIGKILL.
	StopLimit time.Duration

	mu     sync.Mutex
	states map[string]RoleState
	again  map[string]chan struct{} // wishes of Restart
	killed map[int]string           // reasons of Kill, by pid
}

// States returns the state of every role, by name.
func (s *Supervisor) States() []RoleState {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]RoleState, 0, len(s.states))
	for _, st := range s.states {
		out = append(out, st)
	}
	slices.SortFunc(out, func(a, b RoleState) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (s *Supervisor) update(name string, change func(*RoleState)) {
	s.mu.Lock()
	if s.states == nil {
		s.states = map[string]RoleState{}
	}
	st := s.states[name]
	st.Name = name
	change(&st)
	s.states[name] = st
	s.mu.Unlock()
	if s.Changed != nil {
		s.Changed()
	}
}

// Restart ends the role gracefully and starts it again at once, with what its
// Payload makes then. It does not wait for that, and the end is no crash. A
// role that waits after a crash is started at once.
func (s *Supervisor) Restart(role string) {
	select {
	case s.wish(role) <- struct{}{}:
	default: // it is about to be restarted already
	}
}

// Kill ends a run of a role that hangs, at once; the reason is told as that of its
// end, which counts as a crash. It does nothing when that run has ended.
func (s *Supervisor) Kill(pid int, reason string) {
	s.mu.Lock()
	running := false
	for _, st := range s.states {
		running = running || st.Up && st.PID == pid
	}
	if running {
		if s.killed == nil {
			s.killed = map[int]string{}
		}
		s.killed[pid] = reason
	}
	s.mu.Unlock()
	if running {
		s.Reaper.Signal(pid, syscall.SIGKILL)
	}
}

// killedFor takes the reason of Kill for a run, "" when there was none.
func (s *Supervisor) killedFor(pid int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	reason := s.killed[pid]
	delete(s.killed, pid)
	return reason
}

func (s *Supervisor) wish(role string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.again == nil {
		s.again = map[string]chan struct{}{}
	}
	if s.again[role] == nil {
		s.again[role] = make(chan struct{}, 1)
	}
	return s.again[role]
}

// Run starts the role and starts it again whenever it ends, until ctx is done;
// then it stops it and returns nil.
func (s *Supervisor) Run(ctx context.Context, role Role) error {
	var ladder Ladder
	s.update(role.Name, func(st *RoleState) { st.Since = time.Now() })
	for ctx.Err() == nil {
		started := time.Now()
		reason, asked := s.once(ctx, role)
		ended := time.Now()
		s.update(role.Name, func(st *RoleState) {
			st.Up, st.PID, st.Since, st.Next = false, 0, ended, time.Time{}
			if !asked {
				st.LastExit = reason
			}
		})
		if ctx.Err() != nil {
			return nil
		}
		if asked {
			continue
		}
		pause, tooMany := ladder.Crash(started, ended)
		s.update(role.Name, func(st *RoleState) { st.Next = ended.Add(pause) })
		if s.Crashed != nil {
			s.Crashed(role.Name, reason, pause, tooMany)
		}
		select {
		case <-ctx.Done():
		case <-s.wish(role.Name):
		case <-time.After(pause):
			s.update(role.Name, func(st *RoleState) { st.Restarts++ })
		}
	}
	return nil
}

// once is one run of the role, from start to end; reason says how it ended,
// asked that Restart did it.
func (s *Supervisor) once(ctx context.Context, role Role) (reason string, asked bool) {
	pid, exit, output, err := s.start(role)
	if err != nil {
		return "could not be started: " + err.Error(), false
	}
	s.update(role.Name, func(st *RoleState) {
		st.Up, st.PID, st.Since, st.Next = true, pid, time.Now(), time.Time{}
	})
	defer s.killedFor(pid)
	select {
	case status := <-exit:
		if reason = s.killedFor(pid); reason == "" {
			reason = exitText(status)
		}
	case <-s.wish(role.Name):
		reason, asked = s.stop(pid, exit), true
	case <-ctx.Done():
		reason = s.stop(pid, exit)
	}
	select {
	case <-output:
	case <-time.After(time.Second): // something else holds the pipe
	}
	return reason, asked
}

// stop asks the process to end and makes it end; the result says how it did.
func (s *Supervisor) stop(pid int, exit <-chan syscall.WaitStatus) string {
	s.Reaper.Signal(pid, syscall.SIGTERM)
	select {
	case status := <-exit:
		return exitText(status)
	case <-time.After(s.StopLimit):
	}
	s.Reaper.Signal(pid, syscall.SIGKILL)
	<-exit
	return fmt.Sprintf("did not stop within %v and was killed", s.StopLimit)
}

// start starts the process; output is closed when it has said all it will.
func (s *Supervisor) start(role Role) (pid int, exit <-chan syscall.WaitStatus, output <-chan struct{}, err error) {
	payload, err := role.Payload()
	if err != nil {
		return 0, nil, nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, nil, nil, err
	}
	defer null.Close()
	outR, outW, err := os.Pipe()
	if err != nil {
		return 0, nil, nil, err
	}
	defer outW.Close()
	payR, payW, err := os.Pipe()
	if err != nil {
		outR.Close()
		return 0, nil, nil, err
	}
	defer payR.Close()

	names := []string{payloadName}
	files := []uintptr{null.Fd(), outW.Fd(), outW.Fd(), payR.Fd()}
	for _, h := range role.Listeners {
		names = append(names, h.Name)
		files = append(files, h.File.Fd())
	}
	attr := &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{inheritEnv + "=" + strings.Join(names, ",")},
		Files: files,
		// A session of its own: no signal of a terminal reaches it.
		Sys: &syscall.SysProcAttr{Setsid: true, Credential: role.User},
	}
	if role.Group != nil {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(role.Group.Fd())
	}
	pid, exit, err = s.Reaper.Start(s.Executable, role.Args, attr)
	if err != nil {
		outR.Close()
		payW.Close()
		return 0, nil, nil, err
	}
	go func() {
		defer payW.Close()
		payW.Write(payload) // EPIPE: the role has ended, which is told elsewhere
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer outR.Close()
		s.Output(role.Name, pid, outR)
	}()
	return pid, exit, done, nil
}

func exitText(status syscall.WaitStatus) string {
	switch {
	case status.Exited():
		return fmt.Sprintf("ended with status %d", status.ExitStatus())
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		return "was killed, probably because memory ran out"
	case status.Signaled():
		return "was ended by the signal " + status.Signal().String()
	}
	return fmt.Sprintf("ended in a way that is not known (%#x)", uint32(status))
}
