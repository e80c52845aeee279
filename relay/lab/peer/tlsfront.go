package peer

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// TLSFront gives a server that has no TLS a door with STARTTLS: it says EHLO's
// first answer and does the handshake itself, and joins what follows to a
// connection of the server's. smtp-sink behind one is a sink with TLS. Mail
// without STARTTLS is refused (530).
type TLSFront struct {
	Addr    string
	ln      net.Listener
	backend string
	config  *tls.Config
	wg      sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil when it is closed
}

// StartTLSFront opens the door on a free port. Close ends it.
func StartTLSFront(backend string, cert *tls.Certificate) (*TLSFront, error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &TLSFront{
		Addr: ln.Addr().String(), ln: ln, backend: backend,
		config: &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12},
		conns:  make(map[net.Conn]struct{}),
	}
	f.wg.Go(f.accept)
	return f, nil
}

// Close ends the front with all of its connections.
func (f *TLSFront) Close() error {
	err := f.ln.Close()
	f.mu.Lock()
	for c := range f.conns {
		_ = c.Close()
	}
	f.conns = nil
	f.mu.Unlock()
	f.wg.Wait()
	return err
}

func (f *TLSFront) accept() {
	for {
		c, err := f.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if !f.keep(c) {
			_ = c.Close()
			return
		}
		f.wg.Go(func() {
			defer f.drop(c)
			f.serve(c)
		})
	}
}

func (f *TLSFront) keep(c net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conns == nil {
		return false
	}
	f.conns[c] = struct{}{}
	return true
}

func (f *TLSFront) drop(c net.Conn) {
	_ = c.Close()
	f.mu.Lock()
	delete(f.conns, c)
	f.mu.Unlock()
}

// serve speaks to a client in clear until STARTTLS (RFC 3207).
func (f *TLSFront) serve(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReaderSize(c, 1024)
	say := func(s string) { _, _ = io.WriteString(c, s+"\r\n") } // the next read tells
	say("220 smtp-sink ESMTP behind TLS")
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			say("250-smtp-sink\r\n250 STARTTLS")
		case "STARTTLS":
			if r.Buffered() > 0 {
				return
			}
			say("220 go ahead")
			if conn := tls.Server(c, f.config); conn.Handshake() == nil {
				_ = c.SetDeadline(time.Time{})
				_ = f.join(conn) // either side went away, as in any session
			}
			return
		case "QUIT":
			say("221 bye")
			return
		default:
			say("530 5.7.0 STARTTLS first")
		}
	}
}

// join copies between the client and a new connection of the server's, whose
// greeting the client does not get to see.
func (f *TLSFront) join(client net.Conn) error {
	server, err := net.Dial("tcp4", f.backend)
	if err != nil {
		return err
	}
	if !f.keep(server) {
		return errors.Join(net.ErrClosed, server.Close())
	}
	defer f.drop(server)
	r := bufio.NewReaderSize(server, 32<<10)
	if line, err := r.ReadSlice('\n'); err != nil || !strings.HasPrefix(string(line), "220 ") {
		return fmt.Errorf("greeting %q: %w", line, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(client, r)
		_ = client.Close()
	}()
	_, err = io.Copy(server, client)
	_ = server.Close()
	<-done
	return err
}
