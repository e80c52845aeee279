package relay

import (
	"bufio"
	"context"
	"errors"
	"io"

	"gatepost/relay/event"
	"gatepost/relay/smtpd"
	"gatepost/relay/spool"
)

// Answers to senders when a message cannot be kept. All are temporary: the
// sender still has the message and will come again.
var (
	replyNoStorage = smtpd.Reply{Code: 421, Enhanced: [3]int{4, 3, 2}, Text: "This mail gateway has no usable storage; please try again later"}
	replyFull      = smtpd.Reply{Code: 452, Enhanced: [3]int{4, 3, 1}, Text: "Insufficient system storage; please try again later"}
)

// ready answers whether mail can be taken in at all.
func (m *Machine) ready() error {
	if m.cfg.Closed != "" {
		return smtpd.Reply{Code: 421, Enhanced: [3]int{4, 3, 2}, Text: m.cfg.Closed}
	}
	if m.spool == nil {
		return replyNoStorage
	}
	return nil
}

// room answers whether a message of that size fits.
func (m *Machine) room(size int64) error {
	if err := m.spool.CanAccept(size); err != nil {
		return spoolReply(err)
	}
	return nil
}

func spoolReply(err error) error {
	if errors.Is(err, spool.ErrFull) {
		return replyFull
	}
	return err // 451 4.3.0
}

// accept makes a message durable and hands it to the queue. 250 is said when it
// returns without an error.
func (m *Machine) accept(ctx context.Context, in smtpd.Envelope, body io.Reader) (string, error) {
	if err := m.ready(); err != nil {
		return "", err
	}
	br := bufio.NewReaderSize(body, maxHeader)
	head, _ := br.Peek(maxHeader)
	fields := readHeader(head)
	env := spool.Envelope{
		From: in.From, Received: in.Received, Client: in.Client.String(), HelloName: in.Hello,
		TLS: in.TLSVersion, EightBit: in.EightBit, SMTPUTF8: in.SMTPUTF8, RequireTLS: in.RequireTLS,
		EnvelopeID: in.EnvelopeID, Ret: in.Ret, Subject: fields.subject, User: in.User, TraceID: in.TraceID,
		ClockUnknown: !m.cfg.ClockTrusted(),
		// RFC 8689, Section 4.1: the field says nothing beside the option.
		TLSOptional: fields.tlsOptional && !in.RequireTLS,
	}
	for _, r := range in.Rcpts {
		env.Rcpts = append(env.Rcpts, spool.Rcpt(r))
	}
	size := &counter{r: br}
	id, err := m.spool.Append(ctx, env, size)
	if err != nil {
		m.cfg.Log.Warn("a message was not taken in", "from", in.From, "err", err)
		return "", spoolReply(err)
	}
	env.Size = size.n
	m.queue.Add(id, env)
	rcpts := make([]string, len(env.Rcpts))
	for i, r := range env.Rcpts {
		rcpts[i] = r.Addr
	}
	m.emit(event.Accepted{
		Time: in.Received, ID: id, From: in.From, Rcpts: rcpts, Size: env.Size,
		Client: env.Client, TLS: in.TLSVersion,
	})
	return id, nil
}

// counter counts the bytes read through it.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
