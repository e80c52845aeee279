package webui

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"gatepost/webui/foreign"
	"gatepost/webui/words"
)

// recipientsInStep is how many recipients one step of the story names.
const recipientsInStep = 3

// storyStep is one step of a message's way in words.
type storyStep struct {
	ID     string
	State  string // symbol and colour
	When   words.Text
	To     words.Text // whom it was about, empty for all
	Lines  []words.Text
	Link   string // to its evidence
	Chosen bool   // its evidence is on this page
}

// tryOf is one attempt for one or more recipients that ended alike.
type tryOf struct {
	ID       string
	To       []foreign.Text
	Attempt  Attempt
	Evidence *Evidence
}

// triesOf puts the rows of a history together, the newest first. Recipients of
// one attempt have rows with the same second, host, outcome and reason.
func triesOf(rows []AttemptRow) []tryOf {
	at := map[string]int{}
	var out []tryOf
	for _, r := range newestFirst(rows) {
		a := r.Attempt
		id := shortHash(strconv.FormatInt(a.Time.Unix(), 10), string(domainOf(r.To)), string(a.MX), a.Outcome, a.Reason, strconv.Itoa(a.Code))
		i, known := at[id]
		if !known {
			i = len(out)
			at[id] = i
			out = append(out, tryOf{ID: id, Attempt: a, Evidence: r.Evidence})
		}
		out[i].To = append(out[i].To, r.To)
		out[i].Evidence = cmp.Or(out[i].Evidence, r.Evidence)
	}
	return out
}

// domainOf is what stands after the last @ of an address.
func domainOf(addr foreign.Text) foreign.Text {
	return addr[strings.LastIndexByte(string(addr), '@')+1:]
}

// tryStep tells one attempt: by which rules, with what result and why.
func tryStep(voice words.Voice, t tryOf) storyStep {
	a := t.Attempt
	domain := domainOf(t.To[0])
	step := storyStep{ID: t.ID, State: stateOf(a.Outcome), When: voice.At(a.Time), To: toText(voice, t.To)}
	say := func(line words.Text) {
		if line.String() != "" {
			step.Lines = append(step.Lines, line)
		}
	}
	switch a.PolicyMode {
	case "enforce":
		say(text(voice, "story.rules-enforce", "domain", domain, "when", a.PolicyFetched))
	case "testing":
		say(text(voice, "story.rules-testing", "domain", domain))
	}
	if n := a.MXTried; n > 1 {
		say(text(voice, "story.asked", "count", n))
	}
	for _, line := range happened(voice, t.To[0], a) {
		say(line)
	}
	say(noteOf(voice, Message{Domain: domain, Last: a}))
	return step
}

// cameStep tells how the message came to the box.
func cameStep(voice words.Voice, d Detail) storyStep {
	step := storyStep{State: "plain"}
	if len(d.Open) == 0 {
		step.Lines = []words.Text{text(voice, "story.came-unknown")}
		return step
	}
	step.When = voice.At(d.Open[0].Received)
	switch {
	case d.Notice:
		step.Lines = append(step.Lines, text(voice, "story.came-notice"))
		return step
	case d.User != "" && d.Client != "":
		step.Lines = append(step.Lines, text(voice, "story.came-user", "user", d.User, "client", d.Client))
	case d.Client != "":
		step.Lines = append(step.Lines, text(voice, "story.came", "client", d.Client))
	default:
		step.Lines = append(step.Lines, text(voice, "story.came-bare"))
	}
	if d.TLS != "" {
		step.Lines = append(step.Lines, text(voice, "story.came-encrypted"))
	} else {
		step.Lines = append(step.Lines, text(voice, "story.came-clear"))
	}
	if d.RequireTLS {
		step.Lines = append(step.Lines, text(voice, "story.wish"))
	}
	return step
}

func endedText(voice words.Voice, e Ended) words.Text {
	if e.Kind == "removed" {
		return text(voice, "story.removed", "who", who(voice, e.By), "when", e.Time)
	}
	return text(voice, "story.lost")
}

// toText names the recipients of a step, the first few.
func toText(voice words.Voice, to []foreign.Text) words.Text {
	to = slices.Compact(slices.Sorted(slices.Values(to)))
	if n := len(to) - recipientsInStep; n > 0 {
		return text(voice, "story.to-more", "to", joined(to[:recipientsInStep]), "count", n)
	}
	return text(voice, "story.to", "to", joined(to))
}

// joined is a list of addresses, each cut so that all of them are seen.
func joined(list []foreign.Text) foreign.Text {
	var out []string
	for _, t := range list {
		out = append(out, t.Cut(60))
	}
	return foreign.Text(strings.Join(out, ", "))
}
