package relay

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"gatepost/relay/dsn"
	"gatepost/relay/queue"
	"gatepost/relay/smtpc/address"
	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// bounce puts a notice to the sender into the queue for recipients that are
// given up (RFC 5321, Section 6.1). It returns "" without an error when none is
// due: the message itself has a null return path, or the sender asked for no
// notice (RFC 3461, Section 4.1).
func (m *Machine) bounce(ctx context.Context, msg queue.Message, failed []queue.Result) (spool.ID, error) {
	env := msg.Envelope
	var rcpts []dsn.Recipient
	for _, f := range failed {
		r := env.Rcpts[f.Rcpt]
		if slices.Contains(r.Notify, "NEVER") || len(r.Notify) > 0 && !slices.Contains(r.Notify, "FAILURE") {
			continue
		}
		rcpts = append(rcpts, m.failedRecipient(r, f.Verdict, msg))
	}
	if env.From == "" || len(rcpts) == 0 {
		return "", nil
	}
	// RFC 8689, Section 5: what was to go protected only is told without its
	// header, so that the notice itself needs no protection and is not lost.
	var head []byte
	var err error
	if !env.RequireTLS {
		head, err = header(msg)
	}
	if err != nil {
		// A notice without the header says more than none at all.
		m.cfg.Log.Warn("the header of a returned message cannot be read", "id", msg.ID, "err", err)
	}
	notice, err := dsn.Failure(dsn.Params{
		ReportingMTA: m.cfg.Hostname, From: "mailer-daemon@" + m.cfg.Hostname, To: env.From,
		EnvelopeID: env.EnvelopeID, Arrival: env.Received, OriginalHeaders: head,
		Recipients: rcpts, Now: m.cfg.Now(),
	})
	if err != nil {
		return "", fmt.Errorf("notice: %w", err)
	}
	out := spool.Envelope{
		Rcpts:    []spool.Rcpt{{Addr: env.From, Notify: []string{"NEVER"}}},
		Received: m.cfg.Now(), Size: int64(len(notice)), Notice: true,
		// The notice itself is ASCII, whatever the message was (RFC 6533, Section 3).
		SMTPUTF8: !address.IsASCII(env.From),
		Subject:  "Your message could not be delivered",
	}
	id, err := m.spool.Append(ctx, out, bytes.NewReader(notice))
	if err != nil {
		return "", fmt.Errorf("notice: %w", err)
	}
	m.queue.Add(id, out)
	return id, nil
}

func (m *Machine) failedRecipient(r spool.Rcpt, v verdict.Verdict, msg queue.Message) dsn.Recipient {
	out := dsn.Recipient{
		Final: r.Addr, Original: r.ORcpt, Action: dsn.Failed, Status: v.Enhanced,
		RemoteMTA: v.MX, LastAttempt: v.Time,
	}
	if v.Code != 0 {
		out.Diagnostic = strings.TrimSpace(fmt.Sprintf("%d %s %s", v.Code, v.Enhanced, v.Reply))
	}
	if out.Status == "" {
		out.Status = status(v.Reason)
	}
	if m.cfg.Sentence != nil {
		out.Sentence = m.cfg.Sentence(v, r.Addr, msg.Expires)
	}
	return out
}

// status is the RFC 3463 code for a recipient that is given up without an
// answer of the other side's.
func status(r verdict.Reason) string {
	switch r {
	case verdict.CertificateHostMismatch, verdict.CertificateExpired, verdict.CertificateNotTrusted,
		verdict.StartTLSNotSupported, verdict.MXNotListed, verdict.ValidationFailure:
		return "5.7.5" // what was asked for to protect the message could not be had
	case verdict.NoRoute:
		return "5.1.2"
	case verdict.ConnectTimeout, verdict.DNSBroken, verdict.TooOld, verdict.ClockWrong:
		return "5.4.7"
	}
	return "5.0.0"
}

// header reads the header of a message, up to and without the blank line.
func header(msg queue.Message) ([]byte, error) {
	body, err := msg.Body()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	head, err := io.ReadAll(io.LimitReader(body, maxHeader))
	if before, _, ok := bytes.Cut(head, []byte("\r\n\r\n")); ok {
		head = append(before, "\r\n"...)
	}
	return head, err
}
