package smtpc

import (
	"bufio"
	"context"
	"errors"
	"io"
	"time"

	"gatepost/relay/smtpc/address"
)

// batch is how many RCPT commands are sent before their replies are read: few
// enough that neither side's TCP window fills while nobody reads (RFC 2920,
// Section 3.1).
const batch = 50

// Send makes one mail transaction and reports what became of each recipient;
// the results stand in the order of tx.Rcpts and are always complete.
//
// body must hold CRLF line ends only. It is read once, and only when the
// server has said 354. Where the server's LIMITS allow fewer recipients, the
// surplus results are ErrRcptLimit.
//
// The returned error is not nil when the connection is finished (a 421, a
// network failure, a protocol error, a body that could not be read): the
// results that it touches carry it too. When it is nil the connection is ready
// for another transaction. A connection that is lost after the final dot
// leaves the outcome unknown: the server may have the message, and trying
// again may deliver it twice, which RFC 5321, Section 4.5.3.2.6 prefers to
// losing it.
func (c *Conn) Send(ctx context.Context, tx Transaction, body io.Reader) ([]RcptResult, error) {
	s := &sending{c: c, tx: tx, results: make([]RcptResult, len(tx.Rcpts))}
	if !c.Alive() {
		s.all(ErrClosed)
		return s.results, ErrClosed
	}
	if err := s.prepare(); err != nil {
		s.all(err)
		return s.results, nil
	}
	if len(s.open) == 0 {
		return s.results, nil
	}
	if err := s.envelope(ctx); err != nil {
		s.fail(err)
		return s.results, err
	}
	if len(s.accepted) == 0 {
		return s.results, c.reset(ctx)
	}
	if err := s.data(ctx, body); err != nil {
		s.fail(err)
		return s.results, err
	}
	return s.results, nil
}

// sending is the state of one Send.
type sending struct {
	c        *Conn
	tx       Transaction
	results  []RcptResult
	open     []int // recipients to be tried, not answered yet
	accepted []int // recipients that the server took at RCPT
}

// all gives every recipient the same error.
func (s *sending) all(err error) {
	for i := range s.results {
		s.results[i] = result(err)
	}
}

// fail gives err to the recipients that have no answer of their own.
func (s *sending) fail(err error) {
	for _, i := range s.open {
		s.results[i] = result(err)
	}
	for _, i := range s.accepted {
		s.results[i] = result(err)
	}
}

func result(err error) RcptResult {
	r := RcptResult{Err: err}
	var re *ReplyError
	if errors.As(err, &re) {
		r.Code, r.Enhanced, r.Text = re.Code, re.Enhanced, re.Text
	}
	return r
}

// prepare checks everything that can be checked before a byte is sent.
func (s *sending) prepare() error {
	if err := s.tx.supports(s.c.ext, s.c.state != nil); err != nil {
		return err
	}
	if s.tx.From != "" {
		if err := address.Check(s.tx.From, true); err != nil {
			return &AddressError{Sender: true, Err: err}
		}
	}
	for i, r := range s.tx.Rcpts {
		if err := address.Check(r.Addr, true); err != nil {
			s.results[i] = result(&AddressError{Err: err})
			continue
		}
		if limit := s.c.ext.RcptMax; limit > 0 && len(s.open) == limit {
			s.results[i] = result(ErrRcptLimit)
			continue
		}
		s.open = append(s.open, i)
	}
	return nil
}

// envelope sends MAIL and every RCPT, in groups where PIPELINING is offered.
// The error is fatal to the connection.
func (s *sending) envelope(ctx context.Context) error {
	size := 1
	if s.c.ext.Pipelining {
		size = batch
	}
	if size == 1 {
		if err := s.c.write(ctx, "MAIL", s.c.t.Mail, s.tx.mailLine(s.c.ext)); err != nil {
			return err
		}
		if ok, err := s.mailReply(ctx); err != nil || !ok {
			return err
		}
	}
	for first := true; len(s.open) > 0; first = false {
		group := s.open[:min(size, len(s.open))]
		text := ""
		if first && size > 1 {
			text = s.tx.mailLine(s.c.ext)
		}
		for _, i := range group {
			text += s.tx.Rcpts[i].line(s.c.ext)
		}
		if err := s.c.write(ctx, "RCPT", s.c.t.Rcpt, text); err != nil {
			return err
		}
		if first && size > 1 {
			ok, err := s.mailReply(ctx)
			if err != nil {
				return err
			}
			if !ok { // the answers to the group are on their way all the same
				return s.discard(ctx, len(group))
			}
		}
		for range group {
			if err := s.rcptReply(ctx); err != nil {
				return err
			}
		}
	}
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
		return true, nil
	}
	err = s.c.refused(rep, "MAIL")
	if s.c.dead != nil {
		return false, err
	}
	for _, i := range s.open {
		s.results[i] = result(err)
	}
	s.open = nil
	return false, nil
}

// discard reads n answers that no longer matter.
func (s *sending) discard(ctx context.Context, n int) error {
	for range n {
		rep, err := s.c.await(ctx, "RCPT", s.c.t.Rcpt)
		if err != nil {
			return err
		}
		if rep.code == 421 {
			return s.c.refused(rep, "RCPT")
		}
	}
	return nil
}

// rcptReply reads the answer to the first open RCPT.
func (s *sending) rcptReply(ctx context.Context) error {
	rep, err := s.c.await(ctx, "RCPT", s.c.t.Rcpt)
	if err != nil {
		return err
	}
	i := s.open[0]
	if rep.class() == 2 {
		s.open = s.open[1:]
		s.accepted = append(s.accepted, i)
		return nil
	}
	err = s.c.refused(rep, "RCPT")
	if s.c.dead != nil {
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

// data sends the body for the accepted recipients. The error is fatal to the
// connection.
func (s *sending) data(ctx context.Context, body io.Reader) error {
	rep, err := s.c.command(ctx, "DATA", s.c.t.DataInit, "DATA")
	if err != nil {
		return err
	}
	switch rep.class() {
	case 3:
	case 2:
		return s.c.kill(&ProtocolError{Phase: "DATA", Detail: "a final positive reply in place of 354"})
	default:
		err := s.c.refused(rep, "DATA")
		if s.c.dead != nil {
			return err
		}
		for _, i := range s.accepted {
			s.results[i] = result(err)
		}
		s.accepted = nil
		return s.c.reset(ctx)
	}
	if err := s.body(ctx, body); err != nil {
		return err
	}
	rep, err = s.c.await(ctx, "end of body", s.c.t.DataDone)
	if err != nil {
		return err
	}
	return s.finish(rep)
}

// finish gives the reply to the body to every accepted recipient.
func (s *sending) finish(rep reply) error {
	if rep.class() == 2 {
		enhanced, text := rep.text()
		for _, i := range s.accepted {
			s.results[i] = RcptResult{Code: rep.code, Enhanced: enhanced, Text: text}
		}
		s.accepted = nil
		return nil
	}
	err := s.c.refused(rep, "body")
	for _, i := range s.accepted {
		s.results[i] = result(err)
	}
	s.accepted = nil
	if s.c.dead != nil {
		return err
	}
	return nil
}

// body sends the body and the final dot.
func (s *sending) body(ctx context.Context, body io.Reader) error {
	if err := s.c.unasked(ctx, "DATA"); err != nil {
		return err
	}
	size := 32 << 10
	if s.tx.Size > 0 && s.tx.Size < int64(size) {
		size = int(s.tx.Size) + 1<<10
	}
	w := bufio.NewWriterSize(block{ctx, s.c}, size)
	err := copyBody(w, body, make([]byte, size))
	if err == nil {
		if err = w.Flush(); err != nil {
			err = errWrite{err}
		}
	}
	if err == nil {
		return nil
	}
	var we errWrite
	if !errors.As(err, &we) {
		return s.c.kill(err) // without the dot, so that the server drops what it has
	}
	return s.lastWords(ctx, &NetError{Phase: "body", Err: ctxErr(ctx, we.err)})
}

// lastWords looks for a negative reply that the server sent before it closed
// on us in the middle of the body; it says more than the broken pipe.
func (s *sending) lastWords(ctx context.Context, lost *NetError) error {
	if ctx.Err() == nil && !lost.Timeout() {
		release := s.c.deadline(ctx, 2*time.Second)
		rep, err := readReply(s.c.br, "body")
		release()
		if err == nil && rep.class() >= 4 {
			return s.c.kill(rep.failed("body"))
		}
	}
	return s.c.kill(lost)
}

// block writes to the connection with a time limit for each piece.
type block struct {
	ctx context.Context
	c   *Conn
}

// Write implements io.Writer.
func (b block) Write(p []byte) (int, error) {
	defer b.c.deadline(b.ctx, b.c.t.DataBlock)()
	return b.c.nc.Write(p)
}

// reset clears a transaction that came to nothing. The error is fatal to the
// connection.
func (c *Conn) reset(ctx context.Context) error {
	rep, err := c.command(ctx, "RSET", c.t.Mail, "RSET")
	if err != nil {
		return err
	}
	if rep.class() != 2 {
		return c.kill(c.refused(rep, "RSET"))
	}
	return nil
}
