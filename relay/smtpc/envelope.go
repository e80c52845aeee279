package smtpc

import (
	"context"
	"errors"
	"time"
)

// batch is how many RCPT commands are sent before their replies are read: few
// enough that neither side's TCP window fills while nobody reads (RFC 2920,
// Section 3.1).
const batch = 50

// lastWordsTime is how long a server that has closed in the middle of a message
// may take to say why.
const lastWordsTime = 2 * time.Second

// envelope sends MAIL, every RCPT and, where a message is to follow, DATA: one
// command at a time, or in groups where PIPELINING is offered. goAhead says
// that the server waits for the message. The error is fatal to the connection.
func (s *sending) envelope(ctx context.Context) (goAhead bool, err error) {
	if s.c.ext.Pipelining {
		return s.groups(ctx)
	}
	if s.c.unfinished {
		if err := s.c.write(ctx, "RSET", s.c.t.Mail, []byte("RSET\r\n")); err != nil {
			return false, err
		}
		if err := s.resetReply(ctx); err != nil {
			return false, err
		}
	}
	s.c.sent++
	s.c.text = s.tx.appendMail(s.c.text[:0], s.c.ext)
	if err := s.c.write(ctx, "MAIL", s.c.t.Mail, s.c.text); err != nil {
		return false, err
	}
	if ok, err := s.mailReply(ctx); err != nil || !ok {
		return false, err
	}
	for len(s.open) > 0 {
		s.c.text = s.tx.Rcpts[s.open[0]].appendLine(s.c.text[:0], s.c.ext)
		if err := s.c.write(ctx, "RCPT", s.c.t.Rcpt, s.c.text); err != nil {
			return false, err
		}
		if err := s.rcptReply(ctx); err != nil {
			return false, err
		}
	}
	if !s.data || len(s.accepted) == 0 {
		return false, nil
	}
	if err := s.c.write(ctx, "DATA", s.c.t.DataInit, []byte("DATA\r\n")); err != nil {
		return false, err
	}
	return s.dataReply(ctx)
}

// groups sends the envelope in groups of commands (RFC 2920, Section 3.1). The
// last one ends in DATA, before the answers to it are known.
func (s *sending) groups(ctx context.Context) (goAhead bool, err error) {
	text := s.c.text[:0]
	reset := s.c.unfinished
	if reset {
		text = append(text, "RSET\r\n"...)
	}
	s.c.sent++
	text = s.tx.appendMail(text, s.c.ext)
	phase := "MAIL"
	for first := true; len(s.open) > 0; first = false {
		group := s.open[:min(batch, len(s.open))]
		for _, i := range group {
			text = s.tx.Rcpts[i].appendLine(text, s.c.ext)
		}
		data := s.data && len(group) == len(s.open)
		if data {
			text = append(text, "DATA\r\n"...)
		}
		s.c.text = text
		if err := s.c.write(ctx, phase, s.c.t.Mail, text); err != nil {
			return false, err
		}
		if first && reset {
			if err := s.resetReply(ctx); err != nil {
				return false, err
			}
		}
		if first {
			ok, err := s.mailReply(ctx)
			if err != nil {
				return false, err
			}
			if !ok { // the answers to the group are on their way all the same
				return false, s.discard(ctx, len(group), data)
			}
		}
		for range group {
			if err := s.rcptReply(ctx); err != nil {
				return false, err
			}
		}
		if data {
			return s.dataReply(ctx)
		}
		text, phase = text[:0], "RCPT"
	}
	return false, nil
}

// resetReply reads the answer to the RSET that ends the transaction before.
func (s *sending) resetReply(ctx context.Context) error {
	rep, err := s.c.await(ctx, "RSET", s.c.t.Mail)
	if err != nil {
		return err
	}
	if rep.class() != 2 {
		return s.c.kill(s.c.refused(rep, "RSET"))
	}
	s.c.unfinished = false
	return nil
}

// mailReply reads the answer to MAIL. When it is negative every recipient gets
// it, and ok is false.
func (s *sending) mailReply(ctx context.Context) (ok bool, err error) {
	rep, err := s.c.await(ctx, "MAIL", s.c.t.Mail)
	if err != nil {
		return false, err
	}
	if rep.class() == 2 {
		s.c.unfinished = true
		return true, nil
	}
	err = s.c.refused(rep, "MAIL")
	if !s.c.usable() {
		return false, err
	}
	s.settle(s.open, result(err))
	s.open = nil
	return false, nil
}

// discard reads the answers to n RCPT commands, and to DATA, that no longer
// matter, because MAIL was refused.
func (s *sending) discard(ctx context.Context, n int, data bool) error {
	for range n {
		rep, err := s.c.await(ctx, "RCPT", s.c.t.Rcpt)
		if err != nil {
			return err
		}
		if rep.code == 421 {
			return s.c.refused(rep, "RCPT")
		}
		// It should be 503. Whoever says yes has a transaction open after all.
		s.c.unfinished = s.c.unfinished || rep.class() == 2
	}
	if !data {
		return nil
	}
	_, err := s.dataReply(ctx)
	return err
}

// rcptReply reads the answer to the first open RCPT.
func (s *sending) rcptReply(ctx context.Context) error {
	rep, err := s.c.await(ctx, "RCPT", s.c.t.Rcpt)
	if err != nil {
		return err
	}
	i := s.open[0]
	if rep.class() == 2 { // 251 and 252 too (RFC 5321, Section 3.4, 3.5.3)
		s.open = s.open[1:]
		s.accepted = append(s.accepted, i)
		if !s.data {
			enhanced, text := rep.text()
			s.results[i] = RcptResult{Code: rep.code, Enhanced: enhanced, Text: text}
		}
		return nil
	}
	err = s.c.refused(rep, "RCPT")
	if !s.c.usable() {
		return err
	}
	s.open = s.open[1:]
	var re *ReplyError
	if errors.As(err, &re) && re.Code == 552 {
		// Old servers mean "too many recipients" (RFC 5321, Section 4.5.3.1.10).
		re.Code = 452
		if re.Enhanced != "" {
			re.Enhanced = "4" + re.Enhanced[1:]
		}
	}
	s.results[i] = result(err)
	return nil
}

// dataReply reads the answer to DATA.
func (s *sending) dataReply(ctx context.Context) (goAhead bool, err error) {
	rep, err := s.c.await(ctx, "DATA", s.c.t.DataInit)
	if err != nil {
		return false, err
	}
	switch {
	case rep.class() == 3 && len(s.accepted) == 0:
		return false, s.nothing(ctx)
	case rep.class() == 3:
		return true, nil
	case rep.class() == 2:
		return false, s.c.kill(&ProtocolError{Phase: "DATA", Detail: "a final positive reply in place of 354"})
	}
	err = s.c.refused(rep, "DATA")
	if !s.c.usable() {
		return false, err
	}
	s.settle(s.accepted, result(err))
	return false, nil
}

// nothing answers a 354 although nobody is to get the message: a single dot
// (RFC 2920, Section 3.1). The reply to it does not matter.
func (s *sending) nothing(ctx context.Context) error {
	if err := s.c.write(ctx, "body", s.c.t.DataBlock, []byte(".\r\n")); err != nil {
		return err
	}
	rep, err := s.c.await(ctx, "end of body", s.c.t.DataDone)
	if err != nil {
		return err
	}
	if rep.class() == 3 || rep.code == 421 {
		return s.c.refused(rep, "body")
	}
	s.c.unfinished = false
	return nil
}
