package relay

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"strings"
	"unicode/utf8"

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
	env := spool.Envelope{
		From: in.From, Received: in.Received, Client: in.Client.String(), HelloName: in.Hello,
		TLS: in.TLSVersion, EightBit: in.EightBit, SMTPUTF8: in.SMTPUTF8, RequireTLS: in.RequireTLS,
		EnvelopeID: in.EnvelopeID, Ret: in.Ret, Subject: subject(head),
		ClockUnknown: !m.cfg.ClockTrusted(),
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

const (
	maxHeader  = 16 << 10 // bytes of a message in which the subject is looked for
	maxSubject = 200      // bytes kept of it
)

// subject finds the first Subject field of a message and decodes it (RFC
// 2047). It returns "" when there is none.
func subject(head []byte) string {
	var raw []byte
	found := false
	for line := range bytes.Lines(head) {
		l := bytes.TrimRight(line, "\r\n")
		if len(l) == 0 {
			break
		}
		folded := l[0] == ' ' || l[0] == '\t'
		if found {
			if !folded || len(raw) > 4*maxSubject {
				break
			}
			raw = append(raw, l...)
			continue
		}
		if name, value, ok := bytes.Cut(l, []byte(":")); ok && !folded && strings.EqualFold(string(bytes.TrimSpace(name)), "subject") {
			raw, found = bytes.TrimSpace(value), true
			raw = bytes.Clone(raw)
		}
	}
	s := string(raw)
	if d, err := new(mime.WordDecoder).DecodeHeader(s); err == nil {
		s = d
	}
	s = strings.ToValidUTF8(s, "�")
	for len(s) > maxSubject {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}
