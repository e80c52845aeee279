package cli

import (
	"context"
	"flag"
	"fmt"

	"gatepost/appliance/api"
)

// latestNotes is how many notes the status shows.
const latestNotes = 5

func statusCommands() []command {
	return []command{{
		name: "status", about: "Tells how the mail machine is.",
		flags: func(f *flag.FlagSet, o *options) {
			f.IntVar(&o.limit, "notes", latestNotes, "show this `NUMBER` of notes about what no sender was told")
		},
		run: tellStatus,
	}}
}

func tellStatus(ctx context.Context, k call) error {
	if len(k.args) > 0 {
		return Usagef("status takes no words; see gatepost status -h")
	}
	s, err := k.client.Status(ctx)
	if err != nil {
		return err
	}
	if k.json {
		return writeJSON(k.Out, s)
	}
	t := teller{out: k.Out, say: k.say, zone: k.Zone}
	t.line(0, "Gatepost %s, running since %s", s.Version, k.say.Time(s.Started))
	goes := "yes"
	switch {
	case !s.Delivering && s.Spool.State != "ok" && s.Spool.State != "full":
		goes = "no: there is no usable storage: " + cut(s.Spool.Text, 200)
	case !s.Delivering:
		goes = "mail is taken in; nothing is sent while the time or the network is not known"
	case s.DNSKnown && !s.DNS:
		goes = "not to others: the name servers do not answer"
	case s.Spool.State == "full":
		goes = "mail goes out; none is taken in, because the disk is full"
	}
	t.line(0, "Does mail go out and in?  %s", goes)
	t.line(2, "last in %s, last out %s", k.say.Time(s.LastIn), k.say.Time(s.LastOut))
	for _, p := range s.Pauses {
		t.line(2, "%s", k.pause(p, "Message "+cut(p.ID, 40)))
	}
	t.line(0, "Is anything waiting?      %d held for safety, %d waiting for a normal retry", s.Held, s.Waiting)
	if !s.OldestTry.IsZero() {
		t.line(2, "the oldest came in %s", k.say.Time(s.OldestTry))
	}
	t.line(0, "Today                     %d in, %d out, %d returned", s.Today.Accepted, s.Today.Delivered, s.Today.Returned)
	t.line(2, "encrypted with a checked certificate %d, encrypted without a check %d, not encrypted %d", s.Today.Verified, s.Today.Encrypted, s.Today.Clear)
	t.line(0, "Storage                   %s, disk %d %% full, %s of waiting mail", s.Spool.State, s.Spool.Percent(), k.say.Size(s.Spool.Live))
	if s.Spool.Damaged > 0 {
		t.line(2, "%s could not be read and was set aside", plural(s.Spool.Damaged, "record"))
	}
	if s.StoreDamaged {
		t.line(2, "the saved rules of other domains were damaged and begun anew")
	}
	if k.limit <= 0 {
		return nil
	}
	notes, err := k.client.Notes(ctx, k.limit)
	if err != nil || len(notes.Notes) == 0 {
		return err
	}
	t.line(0, "What no sender was told:")
	for _, n := range notes.Notes {
		t.line(2, "%s  %s", n.Time.In(k.Zone).Format(clock), k.note(n.Kind, n.ID, n.From, n.Rcpt, n.By, n.Text))
	}
	return nil
}

// note is a note in words.
func (k call) note(kind, id, from, rcpt, by, text string) string {
	switch kind {
	case api.NoteDoubleBounce:
		return fmt.Sprintf("message %s for %s was given up, and nobody is left to be told: %s", cut(id, 20), orDash(cut(rcpt, 80)), quoted(text, 80))
	case api.NoteRemoved:
		return fmt.Sprintf("message %s from %s was deleted by %s", cut(id, 20), orDash(cut(from, 80)), cut(by, 60))
	case api.NotePaused:
		return fmt.Sprintf("paused: %s, by %s", cut(text, 120), cut(by, 60))
	case api.NoteResumed:
		return fmt.Sprintf("resumed: %s, by %s", cut(text, 120), cut(by, 60))
	}
	return fmt.Sprintf("%s %s %s", cut(kind, 30), cut(id, 20), cut(text, 120))
}
