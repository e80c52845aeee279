package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// SinkConfig says what smtp-sink is to do besides taking mail.
type SinkConfig struct {
	// Dump keeps each message as a file in [Sink.Folder]; see smtp-sink(1) for
	// what stands before it.
	Dump bool
	// Args are further options, e.g. "-f", "RCPT".
	Args []string
	// Addr is where it listens; "" means a free port.
	Addr string
}

// Sink is Postfix's smtp-sink: it takes every message and counts.
type Sink struct {
	Addr    string
	Folder  string // of the dumped messages; Stop removes it
	process *Process

	mu      sync.Mutex
	rest    []byte
	count   int
	changed chan struct{} // closed and replaced when count grows
}

// StartSink starts smtp-sink and waits until it answers.
func StartSink(ctx context.Context, cfg SinkConfig) (*Sink, error) {
	s := &Sink{Addr: cfg.Addr, changed: make(chan struct{})}
	if s.Addr == "" {
		var err error
		if s.Addr, err = FreePort(); err != nil {
			return nil, err
		}
	}
	args := []string{"-c", "-4"}
	if os.Geteuid() == 0 {
		args = append(args, "-u", "nobody")
	}
	if cfg.Dump {
		if err := s.makeFolder(); err != nil {
			return nil, err
		}
		args = append(args, "-d", filepath.Join(s.Folder, "mail."))
	}
	args = append(args, cfg.Args...)
	var err error
	if s.process, err = Start(s, nil, "smtp-sink", append(args, s.Addr, "1000")...); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.Folder))
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := s.process.Answers(ctx, s.Addr); err != nil {
		s.process.Kill()
		return nil, errors.Join(err, os.RemoveAll(s.Folder))
	}
	return s, nil
}

// makeFolder makes a folder into which smtp-sink can write when it has left
// root behind.
func (s *Sink) makeFolder() error {
	dir, err := os.MkdirTemp("", "gatepost-sink-")
	if err != nil {
		return err
	}
	s.Folder = dir
	if os.Geteuid() == 0 {
		err = os.Chown(dir, mailUser, -1)
	}
	return err
}

// sinkCounters is what -c shows, again and again, with a carriage return.
var sinkCounters = regexp.MustCompile(`mesg=(\d+)`)

// Write takes the running counters from smtp-sink; it is for its output alone.
func (s *Sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest = append(s.rest, b...)
	// Only the last complete line counts.
	end := bytes.LastIndexByte(s.rest, '\r')
	if end < 0 {
		return len(b), nil
	}
	last := s.rest[bytes.LastIndexByte(s.rest[:end], '\r')+1 : end]
	if m := sinkCounters.FindSubmatch(last); m != nil {
		if n, err := strconv.Atoi(string(m[1])); err == nil && n != s.count {
			s.count = n
			close(s.changed)
			s.changed = make(chan struct{})
		}
	}
	s.rest = append(s.rest[:0], s.rest[end+1:]...)
	return len(b), nil
}

// Count is how many messages it has taken since its start.
func (s *Sink) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// Wait waits until it has taken n messages since its start.
func (s *Sink) Wait(ctx context.Context, n int) error {
	for {
		s.mu.Lock()
		count, changed := s.count, s.changed
		s.mu.Unlock()
		if count >= n {
			return nil
		}
		select {
		case <-changed:
		case <-s.process.Done():
			return fmt.Errorf("smtp-sink ended: %s", s.process.Output())
		case <-ctx.Done():
			return fmt.Errorf("smtp-sink has %d of %d messages: %w", count, n, ctx.Err())
		}
	}
}

// PID is its process id.
func (s *Sink) PID() int { return s.process.PID() }

// Stop ends it and removes what it kept.
func (s *Sink) Stop() error {
	return errors.Join(s.process.Stop(5*time.Second), os.RemoveAll(s.Folder))
}
