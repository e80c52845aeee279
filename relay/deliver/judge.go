package deliver

import (
	"errors"

	"gatepost/relay/smtpc"
	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// connectFailure is the verdict on a host that gave no session, or lost it
// before it had the message.
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

// judge turns the result for one recipient into its verdict.
func (a *attempt) judge(w *way, r smtpc.RcptResult) verdict.Verdict {
	v := w.v
	v.Code, v.Enhanced, v.Reply = r.Code, r.Enhanced, cut(r.Text, maxReply)
	if r.Err == nil {
		v.Outcome = verdict.Delivered
		// What is amiss in testing mode is told with the delivery.
		v.Reason = w.dec.Reason
		if w.dec.Detail != "" {
			v.Detail = cut(w.dec.Detail, maxDetail)
		}
		return v
	}
	v.Detail = cut(r.Err.Error(), maxDetail)
	var re *smtpc.ReplyError
	var ue *smtpc.UnsupportedError
	var ae *smtpc.AddressError
	var be *smtpc.BodyError
	switch {
	case errors.As(r.Err, &re):
		return judgeReply(w, v, re)
	case errors.As(r.Err, &ue):
		return judgeLack(v, ue)
	case errors.As(r.Err, &ae):
		v.Outcome, v.Reason, v.Enhanced = verdict.Returned, verdict.NoSuchUser, "5.1.3"
		if ae.Sender {
			v.Reason, v.Enhanced = verdict.Refused, "5.1.7"
		}
		v.Rule = "RFC 5321, Section 4.1.2"
	case errors.As(r.Err, &be) && (errors.Is(be, smtpc.ErrBareCR) || errors.Is(be, smtpc.ErrBareLF)):
		v.Outcome, v.Reason, v.Enhanced = verdict.Returned, verdict.Refused, "5.6.0"
		v.Rule = "RFC 5321, Section 2.3.8"
	case errors.As(r.Err, &be):
		return a.unreadable(v, be)
	default:
		v.Outcome, v.Reason = verdict.Deferred, verdict.ConnectTimeout
		v.Rule = "RFC 5321, Section 4.5.4.1"
	}
	return v
}

// unreadableTries is how many attempts find a message damaged on our own disk
// before its sender is told: it will not get better, but a disk may have a bad
// minute.
const unreadableTries = 3

// unreadable is the verdict on a message of which our own copy cannot be read.
func (a *attempt) unreadable(v verdict.Verdict, err error) verdict.Verdict {
	v = finish(v, verdict.Deferred, verdict.Unknown, "", "the message cannot be read: "+err.Error())
	if errors.Is(err, spool.ErrDamaged) {
		v.Reason = verdict.Damaged
		if a.m.Tries >= unreadableTries {
			v.Outcome, v.Enhanced = verdict.Returned, "5.3.0"
		}
	}
	return v
}

// judgeReply is the verdict on a refusal by the server.
func judgeReply(w *way, v verdict.Verdict, re *smtpc.ReplyError) verdict.Verdict {
	v.Code, v.Enhanced, v.Reply = re.Code, re.Enhanced, cut(re.Text, maxReply)
	v.Reason = classify(re.Code, re.Enhanced, re.Text)
	v.Rule = "RFC 5321, Section 4.2.1"
	v.Outcome = verdict.Returned
	if re.Temporary() || re.Host() {
		v.Outcome = verdict.Deferred
	}
	if w.settings && wantsLogin(re.Code, re.Text) {
		// The server of the settings does not know us: that is no fault of the
		// message, and a person can repair it.
		v.Outcome, v.Reason, v.Rule = verdict.Deferred, verdict.LoginRefused, "RFC 4954, Section 6"
	}
	return v
}

// judgeLack is the verdict on a server that cannot take this message. It is
// final when no other host can.
func judgeLack(v verdict.Verdict, ue *smtpc.UnsupportedError) verdict.Verdict {
	v.Outcome, v.Reason, v.Enhanced = verdict.Returned, verdict.Unsupported, ue.Enhanced
	switch ue.Feature {
	case "SIZE":
		v.Reason, v.Rule = verdict.TooBig, "RFC 1870, Section 6.1"
	case "REQUIRETLS", "TLS":
		v.Reason, v.Rule = verdict.RequireTLS, "RFC 8689, Section 4.2.1"
	case "8BITMIME":
		v.Rule = "RFC 6152, Section 3"
	case "SMTPUTF8":
		v.Rule = "RFC 6531, Section 3.2"
	}
	return v
}
