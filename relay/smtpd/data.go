package smtpd

import (
	"io"
	"strings"

	"github.com/emersion/go-smtp"
)

// Data implements smtp.Session: it hands the message to Accept. With DATA, r
// ends at the final dot only, and go-smtp drains what is left after an error.
func (s *session) Data(r io.Reader) error {
	pipe, chunked := r.(*io.PipeReader)
	s.mu.Lock()
	tx := s.tx
	if chunked {
		mine := &chunks{r: pipe, done: make(chan struct{})}
		defer close(mine.done)
		s.chunks = mine
	}
	s.mu.Unlock()
	if tx == nil {
		return replyLost.smtpError() // RSET came before the first chunk was taken up
	}
	if !s.srv.beginTransfer() {
		return s.refuse(replyShutdown)
	}
	defer s.srv.transfers.Done()
	if !s.conn.beginTransfer() {
		return s.refuse(replyShutdown)
	}
	defer s.conn.endTransfer()

	env := tx.env
	body := &Body{head: []byte(receivedField(s.srv.cfg.Hostname, env)), src: r, max: s.srv.cfg.MaxSize}
	if chunked {
		body.lost = func() bool { return s.conn.hasEnded(s.lib.Conn()) }
	}
	id, err := s.srv.cfg.Accept(s.srv.hard, env, body)
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
