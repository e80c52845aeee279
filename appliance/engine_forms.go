package appliance

import (
	"errors"
	"fmt"
	"strings"

	"gatepost/appliance/api"
	"gatepost/mtasts"
	"gatepost/relay"
	"gatepost/relay/event"
	"gatepost/relay/queue"
	"gatepost/relay/spool"
)

// message puts a waiting message into the form of the API.
func message(w queue.Entry) api.Message {
	m := api.Message{
		ID: w.ID, From: w.From, Subject: w.Subject, Size: w.Size,
		Received: w.Received, Expires: w.Expires, Notice: w.Notice,
		Client: w.Client, Hello: w.HelloName, TLS: w.TLS, User: w.User, TraceID: w.TraceID, RequireTLS: w.RequireTLS,
		Rcpts: []api.Recipient{},
	}
	for _, r := range w.Rcpts {
		m.Rcpts = append(m.Rcpts, api.Recipient{Addr: r.Addr, Domain: r.Domain, Tries: r.Tries, Next: r.Next, Trying: r.Trying, Verdict: r.Verdict})
	}
	if w.Paused != nil {
		p := api.Pause(*w.Paused)
		m.Paused = &p
	}
	if w.Action != nil {
		a := action(*w.Action)
		m.Action = &a
	}
	return m
}

func action(a queue.Action) api.Action {
	out := api.Action{ID: a.ID, Kind: string(a.Kind), Messages: a.Messages, By: a.By, At: a.At, Until: a.Until}
	if out.Messages == nil {
		out.Messages = []string{}
	}
	return out
}

func queuePause(p api.Pause) queue.Pause {
	p.Domain = queueDomain(p.Domain)
	return queue.Pause(p)
}

// queueDomain is the form in which the queue knows recipient domains: as in the
// addresses, in lower case.
func queueDomain(domain string) string { return strings.ToLower(strings.TrimSuffix(domain, ".")) }

// policyDomain is the form in which verdicts name domains, lower case with
// A-labels; what is no domain name stays as it is.
func policyDomain(domain string) string {
	if name, err := mtasts.PolicyDomain(domain); err == nil {
		return name
	}
	return strings.ToLower(domain)
}

// apiError names the errors that have a status of their own.
func apiError(err error) error {
	switch {
	case errors.Is(err, spool.ErrNotFound), errors.Is(err, queue.ErrNotFound):
		return api.ErrNotFound
	case errors.Is(err, relay.ErrNoStorage):
		return fmt.Errorf("%w: %w", api.ErrUnavailable, err)
	}
	return err
}

// line puts an event into the form of the API.
func line(ev event.Event) api.Line {
	switch e := ev.(type) {
	case event.Accepted:
		l := api.Line{Time: e.Time, Kind: "accepted", ID: e.ID, From: e.From, Text: fmt.Sprintf("%d recipients from %s", len(e.Rcpts), e.Client)}
		if len(e.Rcpts) == 1 {
			l.Rcpt = e.Rcpts[0]
		}
		return l
	case event.Refused:
		return api.Line{Time: e.Time, Kind: "refused", Text: fmt.Sprintf("%s: %d %s", e.Client, e.Code, e.Text)}
	case event.Attempted:
		return api.Line{Time: e.Verdict.Time, Kind: "attempted", ID: e.ID, From: e.From, Rcpt: e.Rcpt, Next: e.Next, Verdict: &e.Verdict}
	case event.Bounced:
		return api.Line{Time: e.Time, Kind: "bounced", ID: e.ID, Rcpt: e.To, Text: e.Notice}
	case event.Delayed:
		return api.Line{Time: e.Time, Kind: "delayed", ID: e.ID, Rcpt: e.To, Text: e.Notice}
	case event.Relayed:
		return api.Line{Time: e.Time, Kind: "relayed", ID: e.ID, Rcpt: e.To, Text: e.Notice}
	case event.DoubleBounce:
		return api.Line{Time: e.Time, Kind: "double-bounce", ID: e.ID, Rcpt: e.Rcpt, Text: e.Subject, Verdict: &e.Verdict}
	case event.Removed:
		return api.Line{Time: e.Time, Kind: "removed", ID: e.ID, From: e.From, Text: "by " + e.By}
	case event.Paused:
		kind := "resumed"
		if e.On {
			kind = "paused"
		}
		return api.Line{Time: e.Time, Kind: kind, Text: fmt.Sprintf("%s by %s", e.What, e.By)}
	case event.InboundClear:
		return api.Line{Time: e.Time, Kind: "inbound-clear", Rcpt: e.Rcpt, Text: fmt.Sprintf("%s: %s", e.Client, e.Domain)}
	case event.PolicyChanged:
		return api.Line{Time: e.Time, Kind: "policy", Text: fmt.Sprintf("%s: %s", e.Domain, e.Mode)}
	case event.PolicyAlarm:
		return api.Line{Time: e.Time, Kind: "alarm", Text: fmt.Sprintf("%s: %s: %s", e.Domain, e.Kind, e.Detail)}
	case event.StoreDamaged:
		return api.Line{Time: e.Time, Kind: "damaged", Text: e.Detail}
	case event.SpoolDamaged:
		return api.Line{Time: e.Time, Kind: "damaged", Text: e.Detail}
	}
	return api.Line{Kind: "unknown"}
}
