package deliver

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/netip"

	"gatepost/mtasts"
	"gatepost/relay/queue"
	"gatepost/relay/smtpc"
	"gatepost/relay/tlspolicy"
	"gatepost/relay/verdict"
)

// tryAddress makes one session with one address, and a second one in clear
// where TLS broke and nobody demands it.
func (d *Deliverer) tryAddress(ctx context.Context, m queue.Message, demand tlspolicy.Demand, h host, addr netip.AddrPort, v verdict.Verdict, note func(verdict.Verdict)) []queue.Result {
	conn, st, err := d.open(ctx, h.name, addr, demand.MustVerify(), true)
	if err != nil {
		note(connectFailure(v, err))
		return nil
	}
	dec := demand.Session(h.name, st, d.cfg.Roots, d.cfg.Now())
	describe(&v, dec, conn.State())
	if dec.TryClear {
		conn.Close()
		if conn, st, err = d.open(ctx, h.name, addr, false, false); err != nil {
			note(connectFailure(v, err))
			return nil
		}
		failed := dec
		dec = demand.Session(h.name, st, d.cfg.Roots, d.cfg.Now())
		describe(&v, dec, conn.State())
		// It is the failure of TLS that is amiss, not that TLS was left out after it.
		if dec.Reason != "" {
			dec.Reason = failed.Reason
		}
		dec.Detail = "TLS was tried first: " + failed.Detail
	}
	if !dec.Send {
		conn.Quit()
		if networkFault(st.HandshakeErr) {
			// A black hole on the path says nothing about the host's TLS.
			note(finish(v, verdict.Deferred, verdict.ConnectTimeout, dec.Rule, st.HandshakeErr.Error()))
			return nil
		}
		note(finish(v, verdict.Held, dec.Reason, dec.Rule, dec.Detail))
		return nil
	}
	return d.send(ctx, m, conn, v, dec, note)
}

// open connects, greets and, unless withTLS is false, starts TLS where it is
// offered. A failed handshake is no error here: it is in the state.
func (d *Deliverer) open(ctx context.Context, name string, addr netip.AddrPort, must, withTLS bool) (*smtpc.Conn, mtasts.TLSState, error) {
	var st mtasts.TLSState
	sni := name
	if sni == "" {
		sni = addr.Addr().String()
	}
	conn, err := d.cfg.SMTP.Connect(ctx, sni, addr)
	var re *smtpc.ReplyError
	if errors.As(err, &re) && re.Command == "EHLO" && re.Code/100 == 5 && !must {
		// An old server without extensions (RFC 5321, Section 3.2). It has no
		// TLS, so this way exists only where none is demanded.
		conn, err = d.cfg.SMTP.ConnectHELO(ctx, sni, addr)
	}
	if err != nil {
		return nil, st, err
	}
	st.STARTTLS = conn.Offered()
	if !withTLS || !conn.Offered() {
		return conn, st, nil
	}
	if err := conn.StartTLS(ctx, &tls.Config{}); err != nil {
		st.HandshakeErr = err
	}
	st.Connection = conn.State()
	return conn, st, nil
}

// networkFault reports whether a handshake ended because of the network.
func networkFault(err error) bool {
	var te *smtpc.TLSError
	var ne *smtpc.NetError
	return errors.As(err, &te) && te.Network() || errors.As(err, &ne)
}

// describe notes what the session is like.
func describe(v *verdict.Verdict, dec tlspolicy.Decision, cs *tls.ConnectionState) {
	v.Protection, v.Rule = dec.Protection, dec.Rule
	v.CertNames, v.CertIssuer, v.CertNotAfter = dec.CertNames, dec.CertIssuer, dec.CertNotAfter
	v.TLSVersion, v.Cipher = "", ""
	if cs != nil && cs.HandshakeComplete {
		v.TLSVersion, v.Cipher = tls.VersionName(cs.Version), tls.CipherSuiteName(cs.CipherSuite)
	}
}

// connectFailure is the verdict on a host that gave no session.
func connectFailure(v verdict.Verdict, err error) verdict.Verdict {
	v = finish(v, verdict.Deferred, verdict.ConnectTimeout, "RFC 5321, Section 4.5.4.1", err.Error())
	var re *smtpc.ReplyError
	if errors.As(err, &re) {
		// A refusing greeting is about the host, never about the message
		// (RFC 5321, Section 4.3.2): the message stays.
		v.Code, v.Enhanced, v.Reply = re.Code, re.Enhanced, cut(re.Text, maxReply)
		v.Reason = classify(4*100+re.Code%100, "", re.Text)
		v.Rule = "RFC 5321, Section 4.3.2"
	}
	return v
}

// send gives the message to the host. It returns nil, after a note, when the
// host fell away before it decided anything.
func (d *Deliverer) send(ctx context.Context, m queue.Message, conn *smtpc.Conn, v verdict.Verdict, dec tlspolicy.Decision, note func(verdict.Verdict)) []queue.Result {
	eightBit, err := needsEightBit(m, conn.Extensions().EightBitMIME)
	if err != nil {
		conn.Quit()
		return same(m, finish(v, verdict.Deferred, verdict.Unknown, "", "the message cannot be read: "+err.Error()))
	}
	m.Envelope.EightBit = eightBit
	var results []queue.Result
	left := m.Rcpts
	for round := 0; len(left) > 0; round++ {
		body, err := m.Body()
		if err != nil {
			conn.Close()
			return append(results, same(queue.Message{Rcpts: left}, finish(v, verdict.Deferred, verdict.Unknown, "", "the message cannot be read: "+err.Error()))...)
		}
		got, err := conn.Send(ctx, transaction(m, left[:fewest(len(left), conn)]), body)
		body.Close()
		if ue := (*smtpc.UnsupportedError)(nil); err == nil && len(results) == 0 && len(got) > 0 && errors.As(got[0].Err, &ue) {
			// Nothing was sent. Another host may be able (RFC 8689, Section 4.2.1).
			conn.Quit()
			note(judge(v, dec, got[0]))
			return nil
		}
		if err != nil && len(results) == 0 && hostFault(err) {
			conn.Close()
			note(connectFailure(v, err))
			return nil
		}
		var again []int
		for i, r := range left {
			var res smtpc.RcptResult
			switch {
			case i < len(got):
				res = got[i]
			case err != nil:
				res = smtpc.RcptResult{Err: err}
			default:
				res = smtpc.RcptResult{Err: smtpc.ErrRcptLimit}
			}
			if errors.Is(res.Err, smtpc.ErrRcptLimit) {
				again = append(again, r)
				continue
			}
			rv := judge(v, dec, res)
			if re := (*smtpc.ReplyError)(nil); round > 0 && errors.As(res.Err, &re) && re.Command == "MAIL" {
				// The first transaction went well: what is refused is a further one
				// in the same session, not the message.
				rv.Outcome, rv.Reason = verdict.Deferred, verdict.RateLimited
			}
			results = append(results, queue.Result{Rcpt: r, Verdict: rv})
		}
		mails := conn.Extensions().MailMax
		if len(again) == len(left) || len(again) > 0 && (err != nil || mails > 0 && round+1 >= mails) {
			// No progress, or no more in this session: the rest waits for the next attempt.
			results = append(results, same(queue.Message{Rcpts: again}, finish(v, verdict.Deferred, verdict.RateLimited, "RFC 9422", "the server takes fewer recipients at a time or in one session"))...)
			break
		}
		left = again
	}
	conn.Quit()
	return results
}

// atOnce is how many recipients every server must take in one transaction (RFC
// 5321, Section 4.5.3.1.8); many take no more.
const atOnce = 100

// fewest is how many of n recipients go into the next transaction.
func fewest(n int, conn *smtpc.Conn) int {
	return min(n, max(atOnce, conn.Extensions().RcptMax))
}

// needsEightBit reports whether a message has bytes above 127. The sender's
// word is taken where it makes no difference; otherwise the message is read:
// many senders declare 8BITMIME for plain ASCII, which a server without it can
// take, and some send 8-bit bytes without a word.
func needsEightBit(m queue.Message, offered bool) (bool, error) {
	if m.Envelope.EightBit == offered {
		return m.Envelope.EightBit, nil
	}
	body, err := m.Body()
	if err != nil {
		return false, err
	}
	defer body.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		for _, b := range buf[:n] {
			if b >= 0x80 {
				return true, nil
			}
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

func transaction(m queue.Message, rcpts []int) smtpc.Transaction {
	e := m.Envelope
	tx := smtpc.Transaction{
		From: e.From, Size: e.Size, EightBit: e.EightBit, SMTPUTF8: e.SMTPUTF8,
		RequireTLS: e.RequireTLS, EnvelopeID: e.EnvelopeID, Ret: e.Ret,
	}
	for _, i := range rcpts {
		r := e.Rcpts[i]
		tx.Rcpts = append(tx.Rcpts, smtpc.Rcpt{Addr: r.Addr, Notify: r.Notify, ORcpt: r.ORcpt})
	}
	return tx
}

// hostFault reports whether an error of a transaction is about the host, so
// that the next one may do better.
func hostFault(err error) bool {
	var re *smtpc.ReplyError
	var ue *smtpc.UnsupportedError
	var ne *smtpc.NetError
	switch {
	case errors.As(err, &re):
		return re.Host()
	case errors.As(err, &ue):
		return false
	case errors.As(err, &ne):
		// After the final dot the message may have arrived: another host must
		// not be tried in the same attempt, or it would come twice at once.
		return ne.Phase != "end of body"
	}
	var pe *smtpc.ProtocolError
	return errors.As(err, &pe) && pe.Phase != "end of body"
}

// judge turns the result for one recipient into its verdict.
func judge(v verdict.Verdict, dec tlspolicy.Decision, r smtpc.RcptResult) verdict.Verdict {
	v.Code, v.Enhanced, v.Reply = r.Code, r.Enhanced, cut(r.Text, maxReply)
	if r.Err == nil {
		v.Outcome = verdict.Delivered
		// What is amiss in testing mode is told with the delivery.
		v.Reason, v.Detail = dec.Reason, cut(dec.Detail, maxDetail)
		return v
	}
	v.Detail = cut(r.Err.Error(), maxDetail)
	var re *smtpc.ReplyError
	var ue *smtpc.UnsupportedError
	var ae *smtpc.AddressError
	var be *smtpc.BodyError
	switch {
	case errors.As(r.Err, &re):
		v.Code, v.Enhanced, v.Reply = re.Code, re.Enhanced, cut(re.Text, maxReply)
		v.Reason = classify(re.Code, re.Enhanced, re.Text)
		v.Outcome = verdict.Returned
		if re.Temporary() || re.Host() {
			v.Outcome = verdict.Deferred
		}
		v.Rule = "RFC 5321, Section 4.2.1"
	case errors.As(r.Err, &ue):
		v.Outcome, v.Reason, v.Enhanced = verdict.Returned, verdict.Unsupported, ue.Enhanced
		if ue.Feature == "SIZE" {
			v.Reason = verdict.TooBig
		}
	case errors.As(r.Err, &ae):
		v.Outcome, v.Reason, v.Enhanced = verdict.Returned, verdict.NoSuchUser, "5.1.3"
	case errors.As(r.Err, &be) && (errors.Is(be, smtpc.ErrBareCR) || errors.Is(be, smtpc.ErrBareLF)):
		v.Outcome, v.Reason, v.Enhanced = verdict.Returned, verdict.Refused, "5.6.0"
	case errors.As(r.Err, &be):
		v.Outcome, v.Reason = verdict.Deferred, verdict.Unknown
	default:
		v.Outcome, v.Reason = verdict.Deferred, verdict.ConnectTimeout
	}
	return v
}
