package smtpc

import (
	"context"
	"errors"
	"io"
	"strings"

	"gatepost/relay/smtpc/address"
)

// Send makes one mail transaction and reports what became of each recipient;
// the results stand in the order of tx.Rcpts and are always complete.
//
// body must hold CRLF line ends only. It is read once, and only when the
// server has said 354. Where the server's LIMITS allow fewer recipients, or
// recipients of fewer domains, the surplus results are ErrRcptLimit; where they
// allow no further transaction, all are ErrMailLimit.
//
// The returned error is not nil when a recipient has no answer because the
// connection is finished (a 421, a network failure, a protocol error, a body
// that could not be read, LIMITS): the results that it touches carry it, the
// others keep the answer that they got. After nil the connection may take
// another transaction if [Conn.Alive] says so. A connection that is lost after
// the final dot leaves the outcome unknown: the server may have the message,
// and trying again may deliver it twice, which RFC 5321, Section 4.5.3.2.6
// prefers to losing it.
func (c *Conn) Send(ctx context.Context, tx Transaction, body io.Reader) ([]RcptResult, error) {
	s := &sending{c: c, tx: tx, results: make([]RcptResult, len(tx.Rcpts)), data: true}
	if !s.begin() {
		return s.end(s.refusal)
	}
	defer c.watch(ctx)()
	goAhead, err := s.envelope(ctx)
	if goAhead {
		err = s.message(ctx, body)
	}
	return s.end(err)
}

// Probe asks whether the server would take a message from the sender, "" being
// the null path, for one recipient: MAIL and RCPT, and no DATA. Nothing is
// delivered. The result and the error are those of [Conn.Send]; the transaction
// is ended by the next one, or by Quit.
func (c *Conn) Probe(ctx context.Context, from string, rcpt Rcpt) (RcptResult, error) {
	s := &sending{c: c, tx: Transaction{From: from, Rcpts: []Rcpt{rcpt}}, results: make([]RcptResult, 1)}
	if !s.begin() {
		results, err := s.end(s.refusal)
		return results[0], err
	}
	defer c.watch(ctx)()
	_, err := s.envelope(ctx)
	results, err := s.end(err)
	return results[0], err
}

// sending is the state of one transaction.
type sending struct {
	c        *Conn
	tx       Transaction
	data     bool // DATA is to follow
	results  []RcptResult
	open     []int // recipients to be tried, not answered yet
	accepted []int // recipients that the server took at RCPT
	refusal  error // why nothing may be tried on the connection
}

// begin checks everything that can be checked before a byte is sent, and
// reports whether there is something to send.
func (s *sending) begin() bool {
	switch {
	case !s.c.usable():
		s.refusal = ErrClosed
	case s.c.full():
		s.refusal = ErrMailLimit
	default:
		if err := s.prepare(); err != nil {
			s.settle(s.open, result(err))
			return false
		}
		return len(s.open) > 0
	}
	return false
}

// end gives err to the recipients that have no answer of their own. Where all
// have one it is dropped: nothing depends on it, and Alive tells.
func (s *sending) end(err error) ([]RcptResult, error) {
	if err == nil {
		return s.results, nil
	}
	touched := false
	for i, r := range s.results {
		if r.Err == nil && r.Code == 0 {
			s.results[i] = result(err)
		}
		touched = touched || s.results[i].Err == err
	}
	if !touched {
		return s.results, nil
	}
	return s.results, err
}

// settle gives the recipients of list their result.
func (s *sending) settle(list []int, r RcptResult) {
	for _, i := range list {
		s.results[i] = r
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

// prepare checks the addresses and compares the message with the server. open
// holds the recipients that its error touches.
func (s *sending) prepare() error {
	s.open = make([]int, 0, len(s.tx.Rcpts))
	s.accepted = make([]int, 0, len(s.tx.Rcpts))
	err := s.tx.supports(s.c.ext, s.c.state != nil)
	if err == nil && s.tx.From != "" {
		if bad := address.Check(s.tx.From, true); bad != nil {
			err = &AddressError{Sender: true, Err: bad}
		}
	}
	domains := domainLimit{max: s.c.ext.RcptDomains}
	for i, r := range s.tx.Rcpts {
		if err != nil {
			s.open = append(s.open, i)
			continue
		}
		if bad := address.Check(r.Addr, true); bad != nil {
			s.results[i] = result(&AddressError{Err: bad})
			continue
		}
		if limit := s.c.ext.RcptMax; limit > 0 && len(s.open) == limit || !domains.allow(r.Addr) {
			s.results[i] = result(ErrRcptLimit)
			continue
		}
		s.open = append(s.open, i)
	}
	return err
}

// domainLimit counts the domains of one transaction (RFC 9422, Section 4.3).
type domainLimit struct {
	max  int // 0 means no limit
	seen map[string]bool
}

func (d *domainLimit) allow(addr string) bool {
	if d.max == 0 {
		return true
	}
	_, domain, _ := address.Split(addr)
	domain = strings.ToLower(domain)
	if d.seen[domain] {
		return true
	}
	if len(d.seen) == d.max {
		return false
	}
	if d.seen == nil {
		d.seen = make(map[string]bool)
	}
	d.seen[domain] = true
	return true
}

// message sends the body for the accepted recipients and reads the answer to
// it. The error is fatal to the connection.
func (s *sending) message(ctx context.Context, body io.Reader) error {
	if err := s.body(ctx, body); err != nil {
		return err
	}
	rep, err := s.c.await(ctx, "end of body", s.c.t.DataDone)
	if err != nil {
		return err
	}
	s.c.unfinished = false // whatever the answer, the transaction is over
	if rep.class() == 2 {
		enhanced, text := rep.text()
		s.settle(s.accepted, RcptResult{Code: rep.code, Enhanced: enhanced, Text: text})
		return nil
	}
	err = s.c.refused(rep, "body")
	s.settle(s.accepted, result(err))
	if !s.c.usable() {
		return err
	}
	return nil
}

// body sends the body and the final dot.
func (s *sending) body(ctx context.Context, body io.Reader) error {
	if err := s.c.unasked("DATA"); err != nil {
		return err
	}
	err := copyBody(block{ctx, s.c}, body, s.c.bodyBuffer(s.tx.Size))
	switch {
	case err == nil:
		return nil
	case !isWrite(err):
		return s.c.kill(err) // without the dot, so that the server drops what it has
	}
	var we errWrite
	errors.As(err, &we)
	return s.lastWords(ctx, &NetError{Phase: "body", Err: ctxErr(ctx, we.err)})
}

// lastWords looks for a negative reply that the server sent before it closed
// on us in the middle of the body; it says more than the broken pipe.
func (s *sending) lastWords(ctx context.Context, lost *NetError) error {
	if ctx.Err() == nil && !lost.Timeout() {
		s.c.deadline(ctx, lastWordsTime)
		rep, err := readReply(s.c.br, "body")
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
	b.c.deadline(b.ctx, b.c.t.DataBlock)
	return b.c.nc.Write(p)
}
