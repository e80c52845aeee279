package smtpd

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"gatepost/relay/smtpc/address"
)

// session is what go-smtp calls for one connection, always from the goroutine
// that serves it: BDAT, for which the library would start another, never
// reaches it.
type session struct {
	srv *Server
	d   *dialog

	tx        *transaction
	user      string
	authFails int
}

// transaction is one message from MAIL on.
type transaction struct {
	Envelope
	watched []watched // own domains whose rule is TLSWatch, in clear
}

type watched struct{ domain, rcpt string }

// newSession is called at the first EHLO or HELO.
func (s *Server) newSession(lib *smtp.Conn) (smtp.Session, error) {
	d, ok := lib.Conn().(*dialog)
	if !ok {
		s.cfg.Log.Error("smtp session refused: a connection without armour")
		return nil, replyLocal.smtpError()
	}
	d.ses = &session{srv: s, d: d}
	return d.ses, nil
}

// forget is for STARTTLS (RFC 3207, Section 4.2).
func (s *session) forget() { s.tx, s.user = nil, "" }

// refuse is the answer to a command that failed.
func (s *session) refuse(err error) error {
	r, ours := replyFor(err)
	if !ours {
		s.srv.cfg.Log.Error("smtp: local error", "client", s.d.peer.String(), "err", err)
	}
	s.srv.refused(s.d.peer, r)
	return r.smtpError()
}

// Mail implements smtp.Session.
func (s *session) Mail(from string, opts *smtp.MailOptions) error {
	if err := s.mayBegin(opts); err != nil {
		return s.refuse(err)
	}
	if from != "" {
		if err := checkAddress(from, opts.UTF8, [3]int{5, 1, 7}); err != nil {
			return s.refuse(err)
		}
	}
	if s.d.role == Submission && s.srv.cfg.MaySend != nil && !s.srv.cfg.MaySend(s.user, from) {
		return s.refuse(Reply{550, [3]int{5, 7, 1}, "Your login may not use this sender address"})
	}
	if err := s.hasRoom(s.d.size); err != nil {
		return s.refuse(err)
	}
	tx := &transaction{Envelope: Envelope{
		From:       from,
		Received:   s.srv.cfg.Now(),
		TraceID:    strings.ToLower(rand.Text()[:16]),
		Client:     s.d.peer,
		Role:       s.d.role,
		Hello:      s.d.hello,
		Plain:      s.d.plain,
		User:       s.user,
		Declared:   s.d.size,
		EightBit:   opts.Body == smtp.Body8BitMIME,
		SMTPUTF8:   opts.UTF8,
		RequireTLS: opts.RequireTLS,
		EnvelopeID: opts.EnvelopeID,
		Ret:        string(opts.Return),
	}}
	if s.d.tls != nil {
		state := s.d.tls.ConnectionState()
		tx.TLSVersion = tls.VersionName(state.Version)
		tx.TLSCipher = tls.CipherSuiteName(state.CipherSuite)
		tx.TLSGroup = groupName(state.CurveID)
	}
	s.tx = tx
	return nil
}

// mayBegin checks what does not depend on the addresses.
func (s *session) mayBegin(opts *smtp.MailOptions) error {
	secure := s.d.tls != nil
	switch {
	case s.tx != nil:
		return Reply{503, [3]int{5, 5, 1}, "A transaction is open already, send RSET first"}
	case s.d.role == Submission && !secure:
		return Reply{530, [3]int{5, 7, 0}, "Send STARTTLS first"}
	case s.d.role == Submission && s.user == "":
		return Reply{530, [3]int{5, 7, 0}, "Log in first"} // RFC 6409, Section 4.3
	case opts.RequireTLS && !secure:
		return Reply{530, [3]int{5, 7, 10}, "REQUIRETLS needs TLS, send STARTTLS first"} // RFC 8689, Section 2
	case s.d.size > s.srv.cfg.MaxSize:
		return tooBig(s.srv.cfg.MaxSize)
	}
	return nil
}

// hasRoom asks the rest of the machine whether a message may come.
func (s *session) hasRoom(size int64) error {
	if err := s.srv.limits.message(s.d.peer, s.d.class != office && s.user == "", time.Now()); err != nil {
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
	if s.tx == nil {
		return s.refuse(replyNoMail)
	}
	if err := checkAddress(to, s.tx.SMTPUTF8, [3]int{5, 1, 3}); err != nil {
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
	addr, err := s.admit(to)
	if err != nil {
		return s.refuse(err)
	}
	r.Addr = addr
	s.tx.Rcpts = append(s.tx.Rcpts, r)
	return nil
}

// Reset implements smtp.Session. It runs under a lock of the library: nothing
// here may call it back.
func (s *session) Reset() { s.tx = nil }

// Logout implements smtp.Session.
func (s *session) Logout() error { return nil }

// checkAddress lets only addresses through that can be written to the next
// server as they are.
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
