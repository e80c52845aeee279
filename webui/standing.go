package webui

import (
	"gatepost/webui/foreign"
	"gatepost/webui/words"
)

// state is how mail stands, in words.
type state struct {
	State          string     // "held", "waiting", "paused", "pending", "fine", "returned": symbol and colour
	Sentence, Note words.Text // Note is empty when there is none
	Owner          string     // who can mend it, "" when nobody has to
	Step           words.Text // what the owner would do
	Next, Deadline words.Text // empty when the sentence says it
}

// standing says how n messages like m stand.
func standing(voice words.Voice, m Message, n int) state {
	switch {
	case m.Pending != nil:
		return state{State: "pending", Sentence: pendingText(voice, *m.Pending, n), Note: leftText(voice, *m.Pending)}
	case m.Paused != nil:
		st := state{State: "paused", Sentence: pausedText(voice, *m.Paused)}
		if tried(m) {
			st.Note = voice.Reason(m.Last.Reason, words.Past, params(m)).Sentence // why it waited before
		}
		return st
	case !tried(m):
		return state{
			State: "waiting", Sentence: text(voice, "waiting.not-tried"),
			Next: nextText(voice, m.Next), Deadline: text(voice, "waiting.deadline", "deadline", m.Deadline),
		}
	}
	st := decided(voice, m)
	if next := nextText(voice, m.Next); !says(st.Sentence, m.Next) {
		st.Next = next
	}
	if !says(st.Sentence, m.Deadline) {
		st.Deadline = text(voice, "waiting.deadline", "deadline", m.Deadline)
	}
	return st
}

// params are what the sentence of a reason can name about m.
func params(m Message) words.Params {
	return words.Params{
		Domain: m.Domain, MX: m.Last.MX, Names: m.Last.CertNames, Rcpt: m.To, Reply: m.Last.Reply,
		Deadline: m.Deadline, Next: m.Next, Date: m.Last.CertNotAfter, Size: m.Size, Tried: m.Last.MXTried,
	}
}

// decided says what the last attempt of m led to, and why.
func decided(voice words.Voice, m Message) state {
	st := state{State: stateOf(m.Last.Outcome), Note: noteOf(voice, m)}
	outcome := words.Waiting
	switch st.State {
	case "fine":
		st.Sentence = deliveredText(voice, m.Last)
		return st
	case "held":
		outcome = words.Held
	case "returned":
		outcome = words.Returned
	}
	e := voice.Reason(m.Last.Reason, outcome, params(m))
	st.Sentence, st.Owner, st.Step = e.Sentence, e.Owner, e.Next
	return st
}

// noteOf says what a trouble with a domain's rules meant, if there was one.
func noteOf(voice words.Voice, m Message) words.Text {
	if m.Last.PolicyNote == "" {
		return nil
	}
	p := params(m)
	p.Date = m.Last.PolicyFetched
	return voice.Note(m.Last.PolicyNote, p)
}

// happened tells an attempt that is over: why it ended as it did, and what
// became of the mail.
func happened(voice words.Voice, to foreign.Text, a Attempt) []words.Text {
	if stateOf(a.Outcome) == "fine" {
		return []words.Text{deliveredText(voice, a)}
	}
	so := "story.so-waited"
	switch a.Outcome {
	case "held":
		so = "story.so-held"
	case "returned":
		so = "story.so-returned"
	}
	m := Message{To: to, Domain: domainOf(to), Last: a}
	return []words.Text{voice.Reason(a.Reason, words.Past, params(m)).Sentence, text(voice, so)}
}

// stateOf gives the outcome of an attempt its symbol and colour.
func stateOf(outcome string) string {
	switch outcome {
	case "delivered":
		return "fine"
	case "held", "returned":
		return outcome
	}
	return "waiting"
}

// deliveredText says where mail went and how it was protected on the way.
func deliveredText(voice words.Voice, a Attempt) words.Text {
	key := "story.delivered"
	if a.MX != "" {
		switch a.Protection {
		case "verified":
			key = "story.delivered-verified"
		case "encrypted":
			key = "story.delivered-encrypted"
		case "clear":
			key = "story.delivered-clear"
		}
	}
	return text(voice, key, "mx", a.MX)
}
