package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"gatepost/appliance/api"
	"gatepost/appliance/speech"
	"gatepost/relay/verdict"
)

func traceCommands() []command {
	return []command{{
		name: "trace", args: "ADDRESS|DOMAIN|ID", about: "Tells what became of the mail of an address or a domain, or of one message.",
		more: "An address counts as sender and as recipient. The relay remembers 30 days.\nWith -json every attempt is a line, with all its evidence: the record to keep.",
		flags: func(f *flag.FlagSet, o *options) {
			f.IntVar(&o.days, "days", 0, "the last `NUMBER` of days (30)")
			f.BoolVar(&o.way, "way", false, "each attempt with its evidence")
			listFlags(f, o)
		},
		run: traceMail,
	}}
}

func showMessage(ctx context.Context, k call) error {
	if len(k.args) != 1 {
		return Usagef("queue show needs the id of one message; see gatepost queue show -h")
	}
	d, err := k.client.Detail(ctx, k.args[0])
	if errors.Is(err, api.ErrNotFound) {
		return fmt.Errorf("no message %s waits here, and none of the last 30 days had this id", quoted(k.args[0], 40))
	}
	if err != nil {
		return err
	}
	if k.json {
		return writeJSON(k.Out, d)
	}
	k.tellDetail(d)
	return nil
}

// tellDetail tells one message as a story.
func (k call) tellDetail(d api.Detail) {
	t := teller{out: k.Out, say: k.say, zone: k.Zone}
	if m := d.Message; m != nil {
		k.tellHead(t, *m)
		for _, r := range m.Rcpts {
			k.tellRecipient(t, *m, r)
		}
	} else {
		t.line(0, "Message %s waits no more.", cut(d.History[0].ID, 20))
		t.line(2, "From  %s", speech.Address(d.History[0].From))
	}
	fmt.Fprintln(k.Out)
	if len(d.History) == 0 {
		t.line(0, "It has not been tried yet.")
		return
	}
	t.line(0, "Its way:")
	if m := d.Message; m != nil {
		t.line(2, "%s  came in", m.Received.In(k.Zone).Format(clock))
	}
	for _, s := range steps(d.History) {
		t.step(s)
	}
}

// tellHead tells what is known of a waiting message without its recipients.
func (k call) tellHead(t teller, m api.Message) {
	t.line(0, "Message %s", cut(m.ID, 20))
	row := func(name, value string) {
		if value != "" {
			t.line(2, "%-11s %s", name, value)
		}
	}
	row("From", speech.Address(m.From))
	if m.Subject != "" {
		row("Subject", quoted(m.Subject, 120))
	}
	row("Size", k.say.Size(m.Size))
	from := "made by this box"
	if !m.Notice {
		from = "from " + orDash(cut(m.Client, 45))
		if m.Hello != "" {
			from += " (" + cut(m.Hello, 80) + ")"
		}
		if m.User != "" {
			from += ", logged in as " + cut(m.User, 64)
		}
		if m.TLS != "" {
			from += ", " + cut(m.TLS, 20)
		} else {
			from += ", not encrypted"
		}
	}
	row("Came in", k.say.Time(m.Received)+" "+from)
	if m.TraceID != "" {
		row("Received id", cut(m.TraceID, 64))
	}
	if m.RequireTLS {
		row("Asked for", "only encrypted to the end (REQUIRETLS)")
	}
	if !m.Expires.IsZero() {
		row("Kept until", k.say.Time(m.Expires))
	}
	if m.Paused != nil || m.Action != nil {
		_, why := k.standing(m)
		row("Now", why)
	}
}

func (k call) tellRecipient(t teller, m api.Message, r api.Recipient) {
	next := ""
	switch {
	case r.Trying:
		next = ", sending now"
	case m.Paused != nil || m.Action != nil:
	case r.Next.After(k.Now()):
		next = ", next " + k.say.Time(r.Next)
	default:
		next = ", next as soon as it is its turn"
	}
	tries := fmt.Sprintf("%d tries", r.Tries)
	if r.Tries == 1 {
		tries = "1 try"
	}
	fmt.Fprintln(k.Out)
	t.line(0, "To %s: %s%s", speech.Address(r.Addr), tries, next)
	if r.Verdict == nil {
		return
	}
	said := k.why(m, r)
	t.line(2, "%s", said.Sentence)
	if said.Owner != "" {
		t.line(2, "%s", strings.TrimSpace("Who can fix it: "+said.Owner+". "+said.Next))
	}
}

func traceMail(ctx context.Context, k call) error {
	if len(k.args) != 1 {
		return Usagef("trace needs an address, a domain or the id of a message; see gatepost trace -h")
	}
	what := k.args[0]
	q := api.HistoryQuery{Since: k.within()}
	if strings.ContainsAny(what, "@.") {
		q.Address = what
	} else {
		q.ID = what
	}
	if k.json {
		return k.client.History(ctx, q, func(a api.Attempt) error { return writeJSON(k.Out, a) })
	}
	if q.ID != "" {
		return showMessage(ctx, k)
	}
	q.Limit = pageSize
	shown := k.shown()
	seen := map[string]bool{}
	for n := 0; ; {
		page, err := k.client.Trace(ctx, q)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, m := range page.Waiting {
			if seen[m.ID] || shown > 0 && n >= shown {
				continue
			}
			seen[m.ID] = true
			n++
			rows = append(rows, k.rows(m)...)
		}
		writeTable(k.Out, rows)
		for _, group := range byMessage(page.Attempts) {
			if seen[group[0].ID] && !k.way {
				continue
			}
			if n++; shown > 0 && n > shown {
				fmt.Fprintf(k.Out, "\nThere is more; -all shows every one.\n")
				return nil
			}
			seen[group[0].ID] = true
			k.tellTraced(group)
		}
		if q.After = page.Next; page.Next == 0 {
			if n == 0 {
				return fmt.Errorf("no message of %s found. The relay keeps this list for 30 days. Was it sent through this box?", quoted(what, 80))
			}
			return nil
		}
	}
}

// byMessage groups attempts by message and keeps the order.
func byMessage(list []api.Attempt) [][]api.Attempt {
	at := map[string]int{}
	var out [][]api.Attempt
	for _, a := range list {
		i, known := at[a.ID]
		if !known {
			i = len(out)
			at[a.ID] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], a)
	}
	return out
}

// tellTraced tells what became of one message: the last attempt for each of its
// recipients, or with -way all of them.
func (k call) tellTraced(attempts []api.Attempt) {
	t := teller{out: k.Out, say: k.say, zone: k.Zone}
	first := attempts[len(attempts)-1]
	t.line(0, "%s  %s  from %s", cut(first.ID, 20), attempts[0].Time.In(k.Zone).Format(clock), speech.Address(first.From))
	if k.way {
		for _, s := range steps(attempts) {
			t.step(s)
		}
		return
	}
	done := map[string]bool{}
	for _, a := range attempts {
		if done[a.Rcpt] {
			continue
		}
		done[a.Rcpt] = true
		said := upper(speech.Delivered(a.Verdict))
		if a.Verdict.Outcome != verdict.Delivered {
			said = k.say.Verdict(a.Verdict, speech.About{Rcpt: a.Rcpt}).Sentence
		}
		t.line(4, "%s: %s", speech.Address(a.Rcpt), said)
	}
}
