package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"

	"gatepost/appliance/api"
)

// maxIDs is how many messages one request may name.
const maxIDs = 10000

const chooseHelp = "Name messages by their ids, or choose them with -domain, -state, -from and -to,\nor take them -all."

func actCommands() []command {
	choose := func(f *flag.FlagSet, o *options) {
		filterFlags(f, o)
		f.BoolVar(&o.all, "all", false, "every waiting message")
	}
	stop := func(f *flag.FlagSet, o *options) {
		f.StringVar(&o.domain, "domain", "", "all mail to this `DOMAIN`, also what comes later")
		f.BoolVar(&o.all, "all", false, "all outgoing mail, also what comes later")
	}
	return []command{
		{
			name: "queue retry", args: "[ID...]", about: "Tries messages now, without waiting for their time.",
			more: chooseHelp, flags: choose, run: retry,
		},
		{
			name: "queue pause", args: "[ID...]", about: "Stops delivery of messages, of mail to a domain, or of all mail.",
			more:  "Mail is still taken in, and nothing that is paused is lost or returned.\nWithout words it lists what is paused.",
			flags: stop, run: pause,
		},
		{
			name: "queue resume", args: "[ID...]", about: "Lets go on what queue pause has stopped.",
			flags: stop, run: resume,
		},
		{
			name: "queue return", args: "[ID...]", about: "Gives messages back to their senders, with a notice.",
			more: chooseHelp + "\nFor a minute, gatepost queue undo takes it back.",
			flags: func(f *flag.FlagSet, o *options) {
				choose(f, o)
				f.StringVar(&o.text, "text", "", "`TEXT` for the notice, for the senders")
			},
			run: giveBack,
		},
		{
			name: "queue delete", args: "[ID...]", about: "Deletes messages. Their senders are not told.",
			more: chooseHelp + "\nFor 15 minutes, gatepost queue undo takes it back.", flags: choose, run: remove,
		},
		{
			name: "queue undo", args: "[ACTION]", about: "Takes a return or a delete back.",
			more: "Without words it lists what can be taken back.", run: undo,
		},
	}
}

// chosen is the messages that a command is about.
func (k call) chosen(ctx context.Context) ([]string, error) {
	switch {
	case len(k.args) > 0 && (k.filtered() || k.all):
		return nil, Usagef("name messages or choose them, not both; see gatepost %s -h", k.command.name)
	case len(k.args) > 0:
		return k.args, nil
	case !k.filtered() && !k.all:
		return nil, Usagef("which messages? see gatepost %s -h", k.command.name)
	}
	var ids []string
	_, _, err := k.each(ctx, 0, func(page []api.Message) error {
		for _, m := range page {
			ids = append(ids, m.ID)
		}
		return nil
	})
	if err == nil && len(ids) == 0 {
		err = errors.New("no waiting mail fits")
	}
	return ids, err
}

func retry(ctx context.Context, k call) error {
	var sum api.Retried
	if k.domain != "" && k.state == "" && k.from == "" && k.to == "" && !k.all && len(k.args) == 0 {
		r, err := k.client.Retry(ctx, api.Retry{Domain: k.domain})
		if err != nil {
			return err
		}
		sum = r
	} else {
		ids, err := k.chosen(ctx)
		if err != nil {
			return err
		}
		for part := range slices.Chunk(ids, maxIDs) {
			r, err := k.client.Retry(ctx, api.Retry{IDs: part})
			if err != nil {
				return err
			}
			sum.Count += r.Count
		}
	}
	if sum.Count == 0 {
		return errors.New("no such mail waits here")
	}
	if k.json {
		return writeJSON(k.Out, sum)
	}
	fmt.Fprintf(k.Out, "%s will be tried now.\n", upper(plural(sum.Count, "message")))
	return nil
}

func pause(ctx context.Context, k call) error {
	if len(k.args) == 0 && k.domain == "" && !k.all {
		p, err := k.client.Pauses(ctx)
		if err != nil {
			return err
		}
		return k.tellPauses(p)
	}
	return k.stop(ctx, k.client.Pause)
}

func resume(ctx context.Context, k call) error {
	if len(k.args) == 0 && k.domain == "" && !k.all {
		return Usagef("resume what? see gatepost queue resume -h")
	}
	return k.stop(ctx, k.client.Resume)
}

// stop pauses or resumes and tells what is paused then.
func (k call) stop(ctx context.Context, do func(context.Context, api.Pause) (api.Pauses, error)) error {
	var what []api.Pause
	if k.all {
		what = append(what, api.Pause{All: true, By: k.By})
	}
	if k.domain != "" {
		what = append(what, api.Pause{Domain: k.domain, By: k.By})
	}
	for _, id := range k.args {
		what = append(what, api.Pause{ID: id, By: k.By})
	}
	var now api.Pauses
	for _, p := range what {
		var err error
		if now, err = do(ctx, p); errors.Is(err, api.ErrNotFound) {
			return noMessage(p.ID)
		} else if err != nil {
			return err
		}
	}
	return k.tellPauses(now)
}

func (k call) tellPauses(p api.Pauses) error {
	if k.json {
		return writeJSON(k.Out, p)
	}
	if len(p.Pauses) == 0 {
		fmt.Fprintln(k.Out, "Nothing is paused.")
	}
	for _, one := range p.Pauses {
		fmt.Fprintln(k.Out, k.pause(one, "Message "+cut(one.ID, 40)))
	}
	return nil
}

func giveBack(ctx context.Context, k call) error {
	return k.act(ctx, "be returned to its sender", "be returned to their senders", func(ids []string) (api.Action, error) {
		return k.client.Return(ctx, api.Return{IDs: ids, By: k.By, Text: k.text})
	})
}

func remove(ctx context.Context, k call) error {
	return k.act(ctx, "be deleted; its sender is not told", "be deleted; the senders are not told", func(ids []string) (api.Action, error) {
		return k.client.Delete(ctx, api.Delete{IDs: ids, By: k.By})
	})
}

// act has something done with the chosen messages and tells how to take it back.
func (k call) act(ctx context.Context, one, many string, do func([]string) (api.Action, error)) error {
	ids, err := k.chosen(ctx)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(ids, maxIDs) {
		a, err := do(part)
		if errors.Is(err, api.ErrNotFound) {
			return errors.New("no such mail waits here")
		}
		if err != nil {
			return err
		}
		if k.json {
			if err := writeJSON(k.Out, a); err != nil {
				return err
			}
			continue
		}
		what := many
		if len(a.Messages) == 1 {
			what = one
		}
		fmt.Fprintf(k.Out, "%s will %s, at %s.\nTo take it back: gatepost queue undo %s\n",
			plural(len(a.Messages), "message"), what, a.Until.In(k.Zone).Format("15:04:05"), cut(a.ID, 40))
		if missing := len(part) - len(a.Messages); missing > 0 {
			fmt.Fprintf(k.Out, "%s did not wait here any more.\n", plural(missing, "other"))
		}
	}
	return nil
}

func undo(ctx context.Context, k call) error {
	switch len(k.args) {
	case 0:
		return listActions(ctx, k)
	case 1:
	default:
		return Usagef("undo takes back one action; see gatepost queue undo -h")
	}
	u, err := k.client.Undo(ctx, k.args[0])
	if errors.Is(err, api.ErrNotFound) {
		return fmt.Errorf("there is no action %s that can be taken back; it may have been too late", quoted(k.args[0], 40))
	}
	if err != nil {
		return err
	}
	if k.json {
		return writeJSON(k.Out, u)
	}
	fmt.Fprintf(k.Out, "%s waiting again.\n", map[bool]string{true: "1 message is", false: fmt.Sprintf("%d messages are", u.Count)}[u.Count == 1])
	return nil
}

func listActions(ctx context.Context, k call) error {
	list, err := k.client.Actions(ctx)
	if err != nil {
		return err
	}
	if k.json {
		return writeJSON(k.Out, list)
	}
	if len(list.Actions) == 0 {
		fmt.Fprintln(k.Out, "There is nothing to take back.")
		return nil
	}
	rows := [][]string{{"ACTION", "WHAT", "MESSAGES", "UNTIL", "BY"}}
	for _, a := range list.Actions {
		rows = append(rows, []string{cut(a.ID, 40), cut(a.Kind, 20), fmt.Sprint(len(a.Messages)), a.Until.In(k.Zone).Format("15:04:05"), cut(a.By, 60)})
	}
	writeTable(k.Out, rows)
	return nil
}
