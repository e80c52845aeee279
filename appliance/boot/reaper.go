package boot

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// Reaper is the one place that takes exit statuses, of our own children and of
// the orphans that the kernel gives to PID 1. While it runs, nothing else in
// the process may wait for a child: os/exec would wait for ever.
type Reaper struct {
	mu      sync.Mutex
	waiting map[int]chan syscall.WaitStatus
}

// NewReaper returns a Reaper; Run must be called for anything to be reaped.
func NewReaper() *Reaper {
	return &Reaper{waiting: map[int]chan syscall.WaitStatus{}}
}

// Start starts a program. Its exit status arrives on the channel once. The
// lock keeps a child that ends at once from being reaped before it is known.
func (r *Reaper) Start(path string, argv []string, attr *syscall.ProcAttr) (int, <-chan syscall.WaitStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return 0, nil, err
	}
	exit := make(chan syscall.WaitStatus, 1)
	r.waiting[pid] = exit
	return pid, exit, nil
}

// Signal sends a signal to a child that has not been reaped yet, and does
// nothing otherwise: the number may belong to another process by then.
func (r *Reaper) Signal(pid int, sig syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ours := r.waiting[pid]; ours {
		syscall.Kill(pid, sig)
	}
}

// Run reaps until ctx is done. It returns nil.
func (r *Reaper) Run(ctx context.Context) error {
	child := make(chan os.Signal, 1)
	signal.Notify(child, syscall.SIGCHLD)
	defer signal.Stop(child)
	// A signal that comes while one is pending is lost; the tick is for that.
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		r.reap()
		select {
		case <-ctx.Done():
			return nil
		case <-child:
		case <-tick.C:
		}
	}
}

// reap takes everything that has ended so far.
func (r *Reaper) reap() {
	for {
		r.mu.Lock()
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == nil && pid > 0 {
			if exit, ours := r.waiting[pid]; ours {
				delete(r.waiting, pid)
				exit <- status
			}
		}
		r.mu.Unlock()
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
	}
}
