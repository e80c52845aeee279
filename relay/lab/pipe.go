package lab

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// pipeBuffer is how many bytes one direction of a pipe holds before its
// writer waits, like a small socket buffer. net.Pipe has none, so two peers
// that pipeline would wait for each other for ever.
const pipeBuffer = 64 << 10

// newPipe returns the two ends of a connection in memory. Each end may be
// used like a *net.TCPConn; SetLinger(0) before Close resets the other end.
func newPipe(client, server netip.AddrPort) (c, s *pipeEnd) {
	up, down := newHalf(), newHalf()
	c = &pipeEnd{in: down, out: up, local: net.TCPAddrFromAddrPort(client), remote: net.TCPAddrFromAddrPort(server), closed: make(chan struct{})}
	s = &pipeEnd{in: up, out: down, local: net.TCPAddrFromAddrPort(server), remote: net.TCPAddrFromAddrPort(client), closed: make(chan struct{})}
	c.readBy.init()
	c.writeBy.init()
	s.readBy.init()
	s.writeBy.init()
	return c, s
}

type pipeEnd struct {
	in, out       *half
	local, remote net.Addr
	readBy        deadline
	writeBy       deadline
	once          sync.Once
	closed        chan struct{}
	mu            sync.Mutex
	abort         bool
}

func (p *pipeEnd) Read(b []byte) (int, error)  { return p.in.read(b, p.closed, &p.readBy) }
func (p *pipeEnd) Write(b []byte) (int, error) { return p.out.write(b, p.closed, &p.writeBy) }

func (p *pipeEnd) Close() error {
	p.once.Do(func() {
		close(p.closed)
		p.mu.Lock()
		abort := p.abort
		p.mu.Unlock()
		if abort {
			p.out.end(syscall.ECONNRESET)
		} else {
			p.out.end(io.EOF)
		}
		p.in.abandon()
	})
	return nil
}

// CloseWrite ends the outgoing direction, as a half close does.
func (p *pipeEnd) CloseWrite() error {
	p.out.end(io.EOF)
	return nil
}

// SetLinger makes Close reset the connection when sec is 0.
func (p *pipeEnd) SetLinger(sec int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.abort = sec == 0
	return nil
}

func (p *pipeEnd) LocalAddr() net.Addr  { return p.local }
func (p *pipeEnd) RemoteAddr() net.Addr { return p.remote }

func (p *pipeEnd) SetDeadline(t time.Time) error {
	p.readBy.set(t)
	p.writeBy.set(t)
	return nil
}

func (p *pipeEnd) SetReadDeadline(t time.Time) error {
	p.readBy.set(t)
	return nil
}

func (p *pipeEnd) SetWriteDeadline(t time.Time) error {
	p.writeBy.set(t)
	return nil
}

// half is one direction of a pipe.
type half struct {
	mu      sync.Mutex
	buf     []byte
	err     error         // what the reader gets behind the last byte
	gone    bool          // the reader has closed
	changed chan struct{} // closed and replaced on each change
}

func newHalf() *half { return &half{changed: make(chan struct{})} }

// signal wakes all who wait; h.mu is held.
func (h *half) signal() {
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *half) end(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		h.err = err
	}
	if err != io.EOF {
		h.buf = nil // a reset overtakes what was under way
	}
	h.signal()
}

func (h *half) abandon() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone = true
	h.buf = nil
	h.signal()
}

func (h *half) read(b []byte, closed <-chan struct{}, by *deadline) (int, error) {
	for {
		select {
		case <-closed:
			return 0, net.ErrClosed
		case <-by.passed():
			return 0, os.ErrDeadlineExceeded
		default:
		}
		h.mu.Lock()
		if len(h.buf) > 0 || len(b) == 0 {
			n := copy(b, h.buf)
			h.buf = h.buf[n:]
			h.signal()
			h.mu.Unlock()
			return n, nil
		}
		err, changed := h.err, h.changed
		h.mu.Unlock()
		if err != nil {
			return 0, err
		}
		select {
		case <-changed:
		case <-closed:
		case <-by.passed():
		}
	}
}

func (h *half) write(b []byte, closed <-chan struct{}, by *deadline) (int, error) {
	done := 0
	for {
		select {
		case <-closed:
			return done, net.ErrClosed
		case <-by.passed():
			return done, os.ErrDeadlineExceeded
		default:
		}
		h.mu.Lock()
		if h.gone || h.err != nil {
			h.mu.Unlock()
			return done, syscall.EPIPE
		}
		n := min(len(b)-done, pipeBuffer-len(h.buf))
		h.buf = append(h.buf, b[done:done+n]...)
		done += n
		changed := h.changed
		if n > 0 {
			h.signal()
			changed = h.changed
		}
		h.mu.Unlock()
		if done == len(b) {
			return done, nil
		}
		select {
		case <-changed:
		case <-closed:
		case <-by.passed():
		}
	}
}

// deadline is a point in time that can be moved while somebody waits for it.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	done  chan struct{} // closed when the deadline has passed
}

func (d *deadline) init() { d.done = make(chan struct{}) }

// passed returns a channel that is closed when the deadline is over. A waiter
// keeps the channel it got: set renews it only after it has been closed.
func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.done
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.done // the timer has fired: wait until it has closed the channel
	}
	d.timer = nil
	over := false
	select {
	case <-d.done:
		over = true
	default:
	}
	if t.IsZero() {
		if over {
			d.done = make(chan struct{})
		}
		return
	}
	if left := time.Until(t); left > 0 {
		if over {
			d.done = make(chan struct{})
		}
		done := d.done
		d.timer = time.AfterFunc(left, func() { close(done) })
		return
	}
	if !over {
		close(d.done)
	}
}
