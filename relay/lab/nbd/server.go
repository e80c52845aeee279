package nbd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
)

// Server serves one disk.
type Server struct {
	Disk *Disk
	// Seed decides which requests overtake which.
	Seed uint64
	// Log is told why a client was sent away; nil means nobody.
	Log *slog.Logger

	mu      sync.Mutex
	clients int
	idle    chan struct{} // closed when the last client has gone
}

// Run serves the disk to the clients of ln until ctx is done; then it closes
// ln and the connections, joins them and returns nil. A client that a sprung
// trap holds keeps Run waiting until [Disk.Cut].
func (s *Server) Run(ctx context.Context, ln net.Listener) error {
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for n := uint64(0); ; n++ {
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("nbd: %w", err)
		}
		s.enter()
		wg.Go(func() {
			defer s.leave()
			defer c.Close()
			cut := context.AfterFunc(ctx, func() { c.Close() })
			defer cut()
			in := bufio.NewReaderSize(c, 64<<10)
			session := session{disk: s.Disk, in: in, out: c, rng: rand.New(rand.NewPCG(s.Seed, n))}
			err := session.serve()
			if err != nil && ctx.Err() == nil && s.Log != nil && !errors.Is(err, io.EOF) && !errors.Is(err, ErrNoPower) {
				s.Log.Warn("nbd: client sent away", "error", err)
			}
		})
	}
}

func (s *Server) enter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients++; s.clients == 1 {
		s.idle = make(chan struct{})
	}
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients--; s.clients == 0 {
		close(s.idle)
	}
}

// Idle waits until no client is there: what a killed client had sent has come
// in by then. It returns early when ctx is done.
func (s *Server) Idle(ctx context.Context) error {
	s.mu.Lock()
	idle := s.idle
	none := s.clients == 0
	s.mu.Unlock()
	if none {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
