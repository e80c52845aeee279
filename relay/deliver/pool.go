package deliver

import (
	"slices"
	"sync"
	"time"
)

// Limits of a pool. Connections that nobody uses cost a server as much as us.
const (
	maxIdle    = 50              // connections that wait, in all
	maxIdleKey = 8               // of them, for one key
	maxAge     = 5 * time.Minute // of a connection: a server's new certificate is soon seen
	maxLeaving = 100             // servers whose answer to QUIT is waited for
)

// pool keeps connections on which another message may follow. It decides
// nothing about TLS: who takes a connection judges it.
//
// It has no goroutine of its own: each connection that waits has a timer.
type pool struct {
	idle    time.Duration // how long one waits; not above 0: never
	perConn int           // transactions on one connection

	mu      sync.Mutex
	closed  bool
	byKey   map[key][]*waiting
	order   []*waiting // the longest waiting first
	leaving int
	left    sync.WaitGroup // for those
}

// waiting is a session in the pool.
type waiting struct {
	s     *session
	timer *time.Timer
}

func newPool(idle time.Duration, perConn int) *pool {
	return &pool{idle: idle, perConn: perConn, byKey: make(map[key][]*waiting)}
}

// take returns a session for k that looks alive, the one that waits for the
// shortest time, or nil. The caller owns it.
func (p *pool) take(k key) *session {
	for {
		s := p.pick(k)
		if s == nil {
			return nil
		}
		if time.Since(s.opened) < maxAge && s.conn.Alive() {
			return s
		}
		p.quit(s)
	}
}

func (p *pool) pick(k key) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.byKey[k]
	if len(list) == 0 {
		return nil
	}
	w := list[len(list)-1]
	p.remove(w)
	return w.s
}

// remove takes w out. The caller holds the lock.
func (p *pool) remove(w *waiting) {
	w.timer.Stop()
	k := w.s.key
	same := func(x *waiting) bool { return x == w }
	p.order = slices.DeleteFunc(p.order, same)
	if list := slices.DeleteFunc(p.byKey[k], same); len(list) > 0 {
		p.byKey[k] = list
	} else {
		delete(p.byKey, k)
	}
}

// put takes a session back: it waits for another message if one may follow,
// else the server is left.
func (p *pool) put(s *session) {
	if s.once || s.conn.Sent() >= p.perConn || !s.conn.Idle() || !p.keep(s) {
		p.quit(s)
	}
}

// keep makes s wait; false means that there is no room.
func (p *pool) keep(s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.idle <= 0 || len(p.byKey[s.key]) >= maxIdleKey {
		return false
	}
	if len(p.order) >= maxIdle {
		oldest := p.order[0]
		p.remove(oldest)
		p.dismiss(oldest.s)
	}
	w := &waiting{s: s}
	w.timer = time.AfterFunc(p.idle, func() { p.expire(w) })
	p.byKey[s.key] = append(p.byKey[s.key], w)
	p.order = append(p.order, w)
	return true
}

// expire is the end of w's wait.
func (p *pool) expire(w *waiting) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Contains(p.order, w) { // else it was taken, or close has seen to it
		p.remove(w)
		p.dismiss(w.s)
	}
}

// quit takes leave of a server. The caller does not wait for it: a server that
// does not answer takes seconds (smtpc.Timeouts.Quit).
func (p *pool) quit(s *session) {
	p.mu.Lock()
	if !p.closed {
		p.dismiss(s)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	s.conn.Quit() // nobody waits for the others any more
}

// dismiss is quit for a caller that holds the lock of a pool that is not closed.
func (p *pool) dismiss(s *session) {
	if p.leaving >= maxLeaving {
		_ = s.conn.Close()
		return
	}
	p.leaving++
	p.left.Go(func() {
		s.conn.Quit()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.leaving--
	})
}

// close takes leave of every server and waits until that is done.
func (p *pool) close() {
	p.mu.Lock()
	if !p.closed {
		for _, w := range p.order {
			w.timer.Stop()
			p.dismiss(w.s)
		}
	}
	p.closed = true
	p.order, p.byKey = nil, nil
	p.mu.Unlock()
	p.left.Wait()
}
