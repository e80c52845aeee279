package smtpd

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"gatepost/relay/smtpc/address"
)

// session is what go-smtp calls for one connection. With BDAT, Data runs in a
// goroutine of its own while Reset and Mail may be called: the transaction is an
// object that each Mail makes anew and nobody changes once Data has taken it.
type session struct {
	srv  *Server
	lib  *smtp.Conn
	conn *conn

	mu        sync.Mutex
	tx        *transaction
	chunks    *chunks // the latest transfer by BDAT
	user      string
	errs      int
	authFails int
}

// transaction is one message from MAIL on.
type transaction struct{ env Envelope }

// chunks is a transfer by BDAT, which runs in a goroutine of go-smtp.
type chunks struct {
	r    *io.PipeReader
	done chan struct{} // closed when Data has returned
}

// settle waits until the goroutine of a transfer that RSET broke off has come
// to its end. go-smtp does not wait for it, and would take its late result for
// that of the next message.
func (c *chunks) settle() {
	<-c.done
	var b [1]byte
	for range 1000 {
		// The goroutine closes the reader as its last act.
		if _, err := c.r.Read(b[:]); errors.Is(err, io.ErrClosedPipe) {
			return
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// newSession is called at the first EHLO or HELO, and again after STARTTLS.
func (s *Server) newSession(lib *smtp.Conn) (smtp.Session, error) {
	c, err := armour(lib)
	if err != nil {
		s.cfg.Log.Error("smtp session refused", "err", err)
		return nil, replyLocal.smtpError()
	}
	if c.isEnding() {
		return nil, replyShutdown.smtpError()
	}
	// On a port with implicit TLS this is the first chance to say so.
	if s.cfg.Ready != nil {
		if err := s.cfg.Ready(); err != nil {
			if r, bye := goodbye(err); bye {
				c.end()
				return nil, r.smtpError()
			}
		}
	}
	return &session{srv: s, lib: lib, conn: c}, nil
}

// refuse is the answer to a command that failed. Permanent refusals count; after
// too many the session ends.
func (s *session) refuse(err error) error {
	r, ours := replyFor(err)
	if !ours {
		s.srv.cfg.Log.Error("smtp: local error", "client", s.conn.peer.String(), "err", err)
	}
	if r.Code/100 == 5 {
		s.mu.Lock()
		s.errs++
		tooMany := s.errs >= s.srv.cfg.Limits.Errors
		s.mu.Unlock()
		if tooMany {
			r = replyErrors
		}
	}
	if r.Code == 421 {
		s.conn.end() // RFC 5321, Section 3.8: we close after 421
	}
	s.srv.refused(s.conn.peer, r)
	return r.smtpError()
}

// Mail implements smtp.Session.
func (s *session) Mail(from string, opts *smtp.MailOptions) error {
	s.mu.Lock()
	old := s.chunks
	s.chunks = nil
	s.mu.Unlock()
	if old != nil {
		old.settle()
	}
	state, secure := s.lib.TLSConnectionState()
	if err := s.mayBegin(opts, secure); err != nil {
		return s.refuse(err)
	}
	if from != "" {
		if err := checkAddress(from, opts.UTF8, [3]int{5, 1, 7}); err != nil {
			return s.refuse(err)
		}
	}
	if s.conn.role == Submission && s.srv.cfg.MaySend != nil && !s.srv.cfg.MaySend(s.user, from) {
		return s.refuse(Reply{550, [3]int{5, 7, 1}, "Your login may not use this sender address"})
	}
	if err := s.hasRoom(opts.Size); err != nil {
		return s.refuse(err)
	}
	env := Envelope{
		From:       from,
		Received:   s.srv.cfg.Now(),
		TraceID:    strings.ToLower(rand.Text()[:16]),
		Client:     s.conn.peer,
		Hello:      cleanHello(s.lib.Hostname()),
		User:       s.user,
		Declared:   opts.Size,
		EightBit:   opts.Body == smtp.Body8BitMIME,
		SMTPUTF8:   opts.UTF8,
		RequireTLS: opts.RequireTLS,
		EnvelopeID: opts.EnvelopeID,
		Ret:        string(opts.Return),
	}
	if secure {
		env.TLSVersion = tls.VersionName(state.Version)
		env.TLSCipher = tls.CipherSuiteName(state.CipherSuite)
		env.TLSGroup = groupName(state.CurveID)
	}
	s.mu.Lock()
	s.tx = &transaction{env: env}
	s.mu.Unlock()
	return nil
}

// mayBegin checks what does not depend on the addresses.
func (s *session) mayBegin(opts *smtp.MailOptions, secure bool) error {
	s.mu.Lock()
	open := s.tx != nil
	s.mu.Unlock()
	switch {
	case s.conn.isEnding():
		return replyShutdown
	case open:
		return Reply{503, [3]int{5, 5, 1}, "A transaction is open already, send RSET first"}
	case s.conn.role == Submission && !secure:
		return Reply{530, [3]int{5, 7, 0}, "Send STARTTLS first"}
	case s.conn.role == Submission && s.user == "":
		return Reply{530, [3]int{5, 7, 0}, "Log in first"} // RFC 6409, Section 4.3
	case opts.RequireTLS && !secure:
		return Reply{530, [3]int{5, 7, 10}, "REQUIRETLS needs TLS, send STARTTLS first"} // RFC 8689, Section 2
	case opts.Size > s.srv.cfg.MaxSize:
		return tooBig(s.srv.cfg.MaxSize)
	}
	return nil
}

// hasRoom asks the rest of the machine whether a message may come.
func (s *session) hasRoom(size int64) error {
	if err := s.srv.limits.message(s.conn.peer, time.Now()); err != nil {
		return err
	}
	if s.srv.cfg.Ready != nil {
		if err := s.srv.cfg.Ready(); err != nil {
			return err
		}
	}
	if s.srv.cfg.Room != nil {
		return s.srv.cfg.Room(size)
	}
	return nil
}

// Rcpt implements smtp.Session.
func (s *session) Rcpt(to string, opts *smtp.RcptOptions) error {
	s.mu.Lock()
	tx := s.tx
	s.mu.Unlock()
	if tx == nil {
		return s.refuse(Reply{503, [3]int{5, 5, 1}, "Send MAIL first"})
	}
	if !s.mayRelay() {
		return s.refuse(Reply{550, [3]int{5, 7, 1}, "Relaying denied"})
	}
	if err := checkAddress(to, tx.env.SMTPUTF8, [3]int{5, 1, 3}); err != nil {
		return s.refuse(err)
	}
	r := Rcpt{Addr: to}
	for _, n := range opts.Notify {
		r.Notify = append(r.Notify, string(n))
	}
	if opts.OriginalRecipient != "" {
		if strings.ContainsFunc(opts.OriginalRecipient, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return s.refuse(Reply{501, [3]int{5, 5, 4}, "ORCPT holds a control character"})
		}
		r.ORcpt = strings.ToLower(string(opts.OriginalRecipientType)) + ";" + opts.OriginalRecipient
	}
	tx.env.Rcpts = append(tx.env.Rcpts, r)
	return nil
}

// mayRelay is the one rule about who may send to anywhere (RFC 5321, Section
// 7.9). The gate has turned strangers away before; this is the second wall.
func (s *session) mayRelay() bool {
	if s.conn.role == Submission {
		return s.user != ""
	}
	return s.srv.trusted(s.conn.peer)
}

// Reset implements smtp.Session. It runs under a lock of the library: nothing
// here may call it back.
func (s *session) Reset() {
	s.mu.Lock()
	s.tx = nil
	s.mu.Unlock()
}

// Logout implements smtp.Session.
func (s *session) Logout() error { return nil }

// checkAddress lets only addresses through that can be written to the next
// server as they are. go-smtp has taken quotes and backslashes off already, so
// what needed them is not an address any more.
func checkAddress(addr string, utf8OK bool, enhanced [3]int) error {
	err := address.Check(addr, utf8OK)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, address.ErrNeedsUTF8):
		return Reply{553, [3]int{5, 6, 7}, "The address needs SMTPUTF8"} // RFC 6531, Section 3.5
	}
	return Reply{553, enhanced, "Bad address: " + err.Error()}
}

func tooBig(limit int64) Reply {
	return Reply{552, [3]int{5, 3, 4}, "The message is larger than " + bytesText(limit)}
}
