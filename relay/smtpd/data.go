package smtpd

import (
	"io"
	"strings"

	"github.com/emersion/go-smtp"
)

// Data implements smtp.Session: it hands the message to Accept. The reader of
// the library is not used: the message is read from the dialog, and what is left
// of it after an error is drained there.
func (s *session) Data(io.Reader) error {
	tx := s.tx
	if tx == nil {
		return s.refuse(replyNoMail)
	}
	if !s.srv.beginTransfer() {
		return s.refuse(replyShutdown)
	}
	defer s.srv.transfers.Done()
	if !s.d.beginTransfer() {
		return s.refuse(replyShutdown)
	}
	defer s.d.endTransfer()

	body := &Body{head: []byte(receivedField(s.srv.cfg.Hostname, tx.Envelope)), src: messageReader{s.d}, max: s.srv.cfg.MaxSize}
	id, err := s.srv.cfg.Accept(s.srv.hard, tx.Envelope, body)
	switch {
	case body.err == replyLost:
		return replyLost.smtpError() // nobody was refused: the client went away, or said RSET
	case body.err != nil && body.err != io.EOF:
		// Whatever Accept made of it, a message that did not arrive whole is not taken.
		return s.refuse(body.err)
	case err != nil:
		return s.refuse(err)
	case body.err == nil:
		s.srv.cfg.Log.Error("smtp: a message was accepted before it was read to its end", "id", id)
		return s.refuse(replyLocal)
	}
	s.d.junk = 0
	s.srv.tellWatched(tx)
	// This is a success: go-smtp knows no other way to choose the text.
	return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: oneLine(strings.TrimSpace("Queued as " + id))}
}

// beginTransfer counts a message that is being taken in, so that Run can wait
// for it. It is false once the sessions have been told to end; transfers that
// began before go on.
func (s *Server) beginTransfer() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.transfers.Add(1)
	return true
}
