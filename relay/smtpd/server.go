// Package smtpd takes mail in: from the office's trusted networks, from people
// and devices that log in, and from the internet for the office's own domains.
// It is go-smtp in armour.
//
// go-smtp parses parameters and keeps the order of a transaction; this package
// guards what that library leaves open: time-outs and caps (conn, gate,
// limiter), the framing of commands and messages, STARTTLS and order (dialog),
// addresses (path), who may send to whom (access), line ends and sizes (Body),
// errors (Reply), login (auth) and the Received field. It does not store mail
// (Config.Accept does), knows no queue, asks no other server (Config.Verify may)
// and looks nothing up. docs/smtp.md lists what it answers.
//
// One choice for line ends: a message with a bare CR, a bare LF or a NUL is
// refused whole with 550 5.5.2, whoever sends it (RFC 5321, Section 2.3.8).
//
// RFC 5321, 3207, 1870, 2034, 2920, 3030, 3461, 4954, 6152, 6409, 6531, 8314,
// 8689, 9422.
package smtpd

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"gatepost/relay/event"
)

// Server is an SMTP server. Make it with New, start it with Run once.
type Server struct {
	cfg        Config
	tls        *tls.Config
	smtp       *smtp.Server
	limits     *limiter
	pool       sync.Pool     // of *buffers
	auths      chan struct{} // slots for logins being checked
	postmaster string        // what <postmaster> stands for
	quit       chan struct{} // closed when Run begins to stop

	hard      context.Context // ends when messages in transfer are given up
	endHard   context.CancelFunc
	mu        sync.Mutex
	stopping  bool
	conns     map[*conn]struct{}
	transfers sync.WaitGroup
}

// New returns a Server. It starts nothing.
func New(cfg Config) *Server {
	s := &Server{
		cfg:   cfg.withDefaults(),
		auths: make(chan struct{}, 2),
		quit:  make(chan struct{}),
		conns: map[*conn]struct{}{},
	}
	s.limits = newLimiter(s.cfg.Limits)
	s.pool.New = func() any { return new(buffers) }
	s.postmaster = s.postmasterOf()
	s.hard, s.endHard = context.WithCancel(context.Background())
	if cfg.TLS != nil {
		s.tls = cfg.TLS.Clone()
		s.tls.MinVersion = max(s.tls.MinVersion, tls.VersionTLS12)
	}
	srv := smtp.NewServer(smtp.BackendFunc(s.newSession))
	srv.Domain = cfg.Hostname
	srv.MaxRecipients = s.cfg.MaxRcpts
	// The dialog does TLS, frames lines and messages, and limits both: no limit of
	// the library is set. It takes AUTH for allowed, session.Auth decides.
	srv.MaxLineLength = 0
	srv.AllowInsecureAuth = true
	srv.EnableSMTPUTF8 = true
	srv.EnableREQUIRETLS = true
	srv.EnableDSN = true
	srv.ErrorLog = libraryLog{s.cfg.Log}
	// ReadTimeout and WriteTimeout stay zero: conn and dialog keep the time. Debug
	// stays nil: it would log passwords.
	s.smtp = srv
	return s
}

// Run serves until ctx ends, then stops: no new connections, messages in
// transfer may finish within Limits.Stop, every other session is told 421 and
// closed. It returns nil after such a stop, and an error when a listener fails.
// It closes the listeners and has joined every goroutine when it returns.
func (s *Server) Run(ctx context.Context) error {
	defer s.endHard()
	failed := make(chan error, len(s.cfg.Listeners))
	var serving sync.WaitGroup
	for _, l := range s.cfg.Listeners {
		if s.tls == nil && (l.ImplicitTLS || l.Role == Submission) {
			failed <- fmt.Errorf("smtpd: %v: a %v listener needs TLS", l.Addr(), l.Role)
			continue
		}
		serving.Go(func() {
			if err := s.smtp.Serve(&gate{Listener: l, srv: s}); err != nil {
				failed <- fmt.Errorf("smtpd: %v: %w", l.Addr(), err)
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.stop()
	serving.Wait()
	s.finish()
	return err
}

// stop closes the listeners and tells every session to end.
func (s *Server) stop() {
	close(s.quit)
	for _, l := range s.cfg.Listeners {
		_ = l.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	for c := range s.conns {
		c.stop()
	}
}

// finish waits for the sessions, and after Limits.Stop makes them end.
func (s *Server) finish() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The listeners are closed, so this waits for the sessions only.
		_ = s.smtp.Shutdown(context.Background())
		s.transfers.Wait()
	}()
	limit := time.NewTimer(s.cfg.Limits.Stop)
	defer limit.Stop()
	select {
	case <-done:
		return
	case <-limit.C:
	}
	s.endHard()
	s.mu.Lock()
	for c := range s.conns {
		c.kill()
	}
	s.mu.Unlock()
	<-done
}

// keep notes c for stop. It is false when the Server is stopping.
func (s *Server) keep(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) release(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.limits.disconnect(c.peer, c.class)
}

// refused reports an answer that turned a client down.
func (s *Server) refused(client netip.Addr, r Reply) {
	s.cfg.Events(event.Refused{Time: s.cfg.Now(), Client: client.String(), Code: r.Code, Text: r.Text})
}

// libraryLog takes the library's own log lines. Only a panic is worth waking
// anybody for: the rest are strangers' broken connections.
type libraryLog struct{ log *slog.Logger }

func (l libraryLog) Printf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	if strings.HasPrefix(text, "panic") {
		l.log.Error("smtp session failed", "detail", text)
		return
	}
	l.log.Debug("smtp session", "detail", text)
}

func (l libraryLog) Println(v ...any) { l.Printf("%s", fmt.Sprintln(v...)) }

var _ net.Listener = (*gate)(nil)
