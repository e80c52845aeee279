package relay

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"gatepost/relay/dsn"
	"gatepost/relay/event"
	"gatepost/relay/queue"
	"gatepost/relay/smtpc/address"
	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// noticeForm is what the kinds of notices differ in.
type noticeForm struct {
	write   func(dsn.Params) ([]byte, error)
	action  dsn.Action
	subject string
	wish    string // the word in NOTIFY that asks for it
}

func form(kind queue.Notice) noticeForm {
	switch kind {
	case queue.Delay:
		return noticeForm{dsn.Delay, dsn.Delayed, "Your message has not arrived yet", "DELAY"}
	case queue.Success:
		// What is handed on is never delivered for good here (RFC 3461, Section
		// 5.2.2): it has been relayed.
		return noticeForm{dsn.Success, dsn.Relayed, "Your message was passed on", "SUCCESS"}
	}
	return noticeForm{dsn.Failure, dsn.Failed, "Your message could not be delivered", "FAILURE"}
}

// notify puts a notice to the sender into the queue. It returns "" without an
// error when none is due: the sender asked for none (RFC 3461, Section 4.1), or
// there is no sender (RFC 5321, Section 6.1); a failure is then told to the
// people of the box.
func (m *Machine) notify(ctx context.Context, kind queue.Notice, msg queue.Message, rs []queue.Result) (spool.ID, error) {
	env, f := msg.Envelope, form(kind)
	if env.From == "" {
		if kind == queue.Failure {
			for _, r := range rs {
				m.emit(event.DoubleBounce{
					Time: m.cfg.Now(), ID: msg.ID, Rcpt: env.Rcpts[r.Rcpt].Addr,
					Subject: env.Subject, Verdict: r.Verdict,
				})
			}
		}
		return "", nil
	}
	var rcpts []dsn.Recipient
	for _, r := range rs {
		rcpt := env.Rcpts[r.Rcpt]
		if wanted(rcpt.Notify, f.wish) {
			rcpts = append(rcpts, m.reported(f.action, rcpt, r.Verdict, msg))
		}
	}
	if len(rcpts) == 0 {
		return "", nil
	}
	p := dsn.Params{
		ReportingMTA: m.cfg.Hostname, From: "mailer-daemon@" + m.cfg.Hostname, To: env.From,
		EnvelopeID: env.EnvelopeID, Arrival: env.Received, Recipients: rcpts, Now: m.cfg.Now(),
	}
	if err := original(&p, kind, msg); err != nil {
		// A notice without the original says more than none at all.
		m.cfg.Log.Warn("the original of a notice cannot be read", "id", msg.ID, "err", err)
	}
	notice, err := f.write(p)
	if err != nil {
		return "", fmt.Errorf("notice: %w", err)
	}
	out := spool.Envelope{
		Rcpts:    []spool.Rcpt{{Addr: env.From, Notify: []string{"NEVER"}}},
		Received: m.cfg.Now(), Size: int64(len(notice)), Notice: true,
		EightBit: dsn.Is8Bit(notice), SMTPUTF8: !address.IsASCII(env.From),
		Subject: f.subject,
	}
	id, err := m.spool.Append(ctx, out, bytes.NewReader(notice))
	if err != nil {
		return "", fmt.Errorf("notice: %w", err)
	}
	m.queue.Add(id, out)
	return id, nil
}

// wanted reports whether NOTIFY asks for a notice; without NOTIFY failures and
// delays are told (RFC 3461, Section 4.1).
func wanted(notify []string, wish string) bool {
	if len(notify) == 0 {
		return wish != "SUCCESS"
	}
	return slices.Contains(notify, wish)
}

// original adds the header of the message, or all of it where the sender asked
// for that (RFC 3461, Section 4.3: for failures alone). RFC 8689, Section 5:
// what was to go protected only is told without either, so that the notice
// itself needs no protection and is not lost.
func original(p *dsn.Params, kind queue.Notice, msg queue.Message) error {
	env := msg.Envelope
	if env.RequireTLS {
		return nil
	}
	body, err := msg.Body()
	if err != nil {
		return err
	}
	defer body.Close()
	if kind == queue.Failure && env.Ret == "FULL" && env.Size <= dsn.MaxOriginal {
		p.OriginalMessage, err = io.ReadAll(io.LimitReader(body, dsn.MaxOriginal+1))
		if err != nil {
			p.OriginalMessage = nil // half a message is none
		}
		return err
	}
	head, err := io.ReadAll(io.LimitReader(body, dsn.MaxHeaders))
	p.OriginalHeaders = dsn.Headers(head)
	return err
}

func (m *Machine) reported(action dsn.Action, r spool.Rcpt, v verdict.Verdict, msg queue.Message) dsn.Recipient {
	out := dsn.Recipient{
		Final: r.Addr, Original: r.ORcpt, Action: action, Status: v.Enhanced,
		RemoteMTA: v.MX, LastAttempt: v.Time,
	}
	if action == dsn.Delayed {
		out.RetryUntil = msg.Expires
	}
	if v.Code != 0 {
		out.Diagnostic = strings.TrimSpace(fmt.Sprintf("%d %s %s", v.Code, v.Enhanced, v.Reply))
	}
	if out.Status == "" && action != dsn.Relayed {
		out.Status = status(v.Reason)
	}
	if m.cfg.Sentence != nil && action != dsn.Relayed {
		out.Sentence = m.cfg.Sentence(v, r.Addr, msg.Expires)
	}
	return out
}

// status is the RFC 3463 code for a recipient that is given up without an
// answer of the other side's.
func status(r verdict.Reason) string {
	switch r {
	case verdict.CertificateHostMismatch, verdict.CertificateExpired, verdict.CertificateNotTrusted,
		verdict.StartTLSNotSupported, verdict.MXNotListed, verdict.ValidationFailure, verdict.RouteNotSafe:
		return "5.7.5" // what was asked for to protect the message could not be had
	case verdict.RequireTLS:
		return "5.7.10" // RFC 8689, Section 8.4
	case verdict.NoRoute:
		return "5.1.2"
	case verdict.ConnectTimeout, verdict.DNSBroken, verdict.TooOld, verdict.ClockWrong, verdict.LoginRefused:
		return "5.4.7"
	}
	return "5.0.0"
}
