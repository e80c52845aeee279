package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"gatepost/appliance/api"
	"gatepost/appliance/speech"
	"gatepost/relay/verdict"
)

// pageSize is how many messages are asked for at once.
const pageSize = 500

// defaultShown is how many lines a list has unless more are asked for.
const defaultShown = 100

func queueCommands() []command {
	return []command{
		{
			name: "queue list", about: "Lists the waiting mail, the oldest first.",
			more:  "Each message has a line, and under it why it waits.",
			flags: func(f *flag.FlagSet, o *options) { filterFlags(f, o); listFlags(f, o) },
			run:   listQueue,
		},
		{
			name: "queue show", args: "ID", about: "Tells all about one message: its way so far, with the evidence.",
			run: showMessage,
		},
		{
			name: "queue export", args: "ID", about: "Writes a waiting message as it came in (message/rfc822).",
			flags: func(f *flag.FlagSet, o *options) {
				f.StringVar(&o.output, "o", "", "`FILE` to make; without it the message goes to the standard output")
			},
			run: exportMessage,
		},
	}
}

// filterFlags choose messages.
func filterFlags(f *flag.FlagSet, o *options) {
	f.StringVar(&o.domain, "domain", "", "only mail to this `DOMAIN`")
	f.StringVar(&o.state, "state", "", "only what is `STATE`: held or deferred")
	f.StringVar(&o.from, "from", "", "only mail whose sender contains this `TEXT`")
	f.StringVar(&o.to, "to", "", "only mail with a recipient that contains this `TEXT`")
}

// listFlags say how much is shown.
func listFlags(f *flag.FlagSet, o *options) {
	f.BoolVar(&o.newest, "newest", false, "the newest first")
	f.IntVar(&o.limit, "limit", 0, "show at most this `NUMBER` (100)")
	f.BoolVar(&o.all, "all", false, "show everything")
}

// shown is how many lines to show, 0 for all.
func (o options) shown() int {
	switch {
	case o.all:
		return 0
	case o.limit > 0:
		return o.limit
	}
	return defaultShown
}

// query is the filter of the options.
func (o options) query() api.MessageQuery {
	return api.MessageQuery{Domain: o.domain, State: o.state, From: o.from, Rcpt: o.to, Newest: o.newest}
}

// filtered reports whether the options choose anything.
func (o options) filtered() bool {
	return o.domain != "" || o.state != "" || o.from != "" || o.to != ""
}

// each calls f with each page of the messages that fit, until limit messages
// (0: all) were handed over. more says that there are others.
func (k call) each(ctx context.Context, limit int, f func([]api.Message) error) (total int, more bool, err error) {
	q := k.query()
	for n := 0; ; {
		q.Limit = pageSize
		if limit > 0 {
			q.Limit = min(pageSize, limit-n)
		}
		page, err := k.client.Messages(ctx, q)
		if err != nil {
			return 0, false, err
		}
		if err := f(page.Messages); err != nil {
			return 0, false, err
		}
		n += len(page.Messages)
		if q.After = page.Next; page.Next == "" || n == limit {
			return page.Total, page.Next != "", nil
		}
	}
}

func listQueue(ctx context.Context, k call) error {
	if len(k.args) > 0 {
		return Usagef("queue list takes no words, only options; see gatepost queue list -h")
	}
	count := 0
	total, more, err := k.each(ctx, k.shown(), func(page []api.Message) error {
		count += len(page)
		if k.json {
			for _, m := range page {
				if err := writeJSON(k.Out, m); err != nil {
					return err
				}
			}
			return nil
		}
		var rows [][]string
		if count == len(page) && count > 0 {
			rows = append(rows, []string{"ID", "SINCE", "SIZE", "FROM", "TO", "TRIES", "STATE"})
		}
		for _, m := range page {
			rows = append(rows, k.rows(m)...)
		}
		writeTable(k.Out, rows)
		return nil
	})
	if err != nil || k.json {
		return err
	}
	switch {
	case total == 0:
		fmt.Fprintln(k.Out, "No mail is waiting.")
	case count == 0:
		fmt.Fprintf(k.Out, "None of the waiting mail (%s) fits.\n", plural(total, "message"))
	case more:
		fmt.Fprintf(k.Out, "\n%d shown, %s in all; -all shows every one.\n", count, plural(total, "message"))
	}
	return nil
}

// rows is a message in a list: its line and why it waits.
func (k call) rows(m api.Message) [][]string {
	to, tries := "-", 0
	for i, r := range m.Rcpts {
		tries = max(tries, r.Tries)
		if i == 0 {
			to = cut(r.Addr, 40)
		}
	}
	if len(m.Rcpts) > 1 {
		to += fmt.Sprintf(" +%d", len(m.Rcpts)-1)
	}
	from := "<>"
	if m.From != "" {
		from = cut(m.From, 40)
	}
	state, why := k.standing(m)
	rows := [][]string{{cut(m.ID, 20), k.say.Time(m.Received), k.say.Size(m.Size), from, to, fmt.Sprint(tries), state}}
	if why != "" {
		rows = append(rows, []string{"    " + why})
	}
	return rows
}

// standing is the word for where a message is, and the sentence for why.
func (k call) standing(m api.Message) (word, why string) {
	if a := m.Action; a != nil {
		what := "deleted"
		if a.Kind == "return" {
			what = "returned"
		}
		return "Going", fmt.Sprintf("Will be %s at %s, by %s. To take it back: gatepost queue undo %s", what, k.say.Time(a.Until), cut(a.By, 60), cut(a.ID, 40))
	}
	if p := m.Paused; p != nil {
		return "Paused", k.pause(*p, "This message") + " It stays here until someone resumes it."
	}
	for _, wanted := range []verdict.Outcome{verdict.Held, verdict.Deferred} {
		for _, r := range m.Rcpts {
			if r.Verdict == nil || r.Verdict.Outcome != wanted {
				continue
			}
			word = "Waiting"
			if wanted == verdict.Held {
				word = "Held"
			}
			return word, k.why(m, r).Sentence
		}
	}
	if len(m.Rcpts) > 0 && m.Rcpts[0].Trying {
		return "Sending", ""
	}
	return "New", ""
}

// why explains the last attempt for a recipient.
func (k call) why(m api.Message, r api.Recipient) speech.Said {
	return k.say.Verdict(*r.Verdict, speech.About{Rcpt: r.Addr, Next: r.Next, Expires: m.Expires})
}

// pause is what is paused, by whom and since when. message is how a single one
// is called.
func (k call) pause(p api.Pause, message string) string {
	what := message
	switch {
	case p.All:
		what = "All outgoing mail"
	case p.Domain != "":
		what = "Mail to " + cut(p.Domain, 60)
	}
	return fmt.Sprintf("%s is paused by %s since %s.", what, cut(p.By, 60), k.say.Time(p.Since))
}

func exportMessage(ctx context.Context, k call) (err error) {
	if len(k.args) != 1 {
		return Usagef("queue export needs the id of one message; see gatepost queue export -h")
	}
	eml, err := k.client.Open(ctx, k.args[0])
	if errors.Is(err, api.ErrNotFound) {
		return noMessage(k.args[0])
	}
	if err != nil {
		return err
	}
	defer eml.Close()
	out := k.Out
	if k.output != "" {
		f, openErr := os.OpenFile(k.output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if openErr != nil {
			return openErr
		}
		defer func() {
			err = errors.Join(err, f.Close())
			if err != nil {
				os.Remove(k.output)
			}
		}()
		out = f
	}
	if _, err := io.Copy(out, eml); err != nil {
		return fmt.Errorf("the message could not be read to its end: %w", err)
	}
	return nil
}

func noMessage(id string) error {
	return fmt.Errorf("no message %s waits here", quoted(id, 40))
}

// within is a time span in the past from now; days 0 means 30.
func (k call) within() time.Time {
	days := k.days
	if days <= 0 {
		days = 30
	}
	return k.Now().Add(-time.Duration(days) * 24 * time.Hour)
}

// upper begins a line with a capital letter.
func upper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
