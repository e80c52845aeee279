package webui

import (
	"gatepost/webui/foreign"
	"gatepost/webui/words"
)

// buttons are the actions for one group or one message. A label that is "" is a
// button that is not shown; each label begins with the words on the button.
type buttons struct {
	Field, Value string // of the form: "group" or "id"
	Back         string // "message" when the page of the message comes next

	Retry, Pause, Resume, Return, Delete string

	Undo, UndoID string
}

// Any reports whether there is a button at all.
func (b buttons) Any() bool {
	return b.Retry+b.Pause+b.Resume+b.Return+b.Delete+b.Undo != ""
}

// buttonsFor chooses what can be done with mail in the state of m: n messages
// of a group, or one message when to is given.
func (s *Server) buttonsFor(v *visit, m Message, group string, n int) buttons {
	voice := v.voice
	label := func(one, many string) string {
		if group == "" {
			return text(voice, one, "to", m.To).String()
		}
		return text(voice, many, "count", n, "domain", m.Domain).String()
	}
	b := buttons{Field: "group", Value: group}
	if group == "" {
		b = buttons{Field: "id", Value: foreign.Text(m.ID).Cut(64), Back: "message"}
	}
	act := s.cfg.Queue != nil && v.may(act)
	if m.Pending != nil {
		// The list names the whole action at its top.
		if act && group == "" && m.Pending.Until.After(voice.Now) {
			b.Undo, b.UndoID = text(voice, "pending.undo-one", "to", m.To).String(), m.Pending.ID
		}
		return b
	}
	if m.Paused == nil && v.may(retry) {
		b.Retry = label("waiting.retry-one", "waiting.retry-group")
	}
	if !act {
		return b
	}
	switch {
	case m.Paused == nil:
		b.Pause = label("pause.pause-one", "pause.pause-group")
	case m.Paused.What != "all":
		b.Resume = label("pause.resume-one", "pause.resume-group")
	}
	b.Return, b.Delete = label("waiting.return-one", "waiting.return-group"), label("waiting.delete-one", "waiting.delete-group")
	return b
}

// pausedText says who stopped some mail, in place of a reason.
func pausedText(voice words.Voice, p Paused) words.Text {
	if p.What == "all" {
		return text(voice, "pause.whole")
	}
	key := "pause.by"
	if voice.IsToday(p.Since) {
		key = "pause.by-today"
	}
	return text(voice, key, "who", who(voice, p.By), "when", p.Since)
}

// who names a person, or "someone".
func who(voice words.Voice, by foreign.Text) foreign.Text {
	if by == "" {
		return foreign.Text(text(voice, "someone").String())
	}
	return by
}

// pendingText says what is about to be done with some mail, and leftText how
// long that can be undone.
func pendingText(voice words.Voice, p Pending, n int) words.Text {
	key := "pending.return"
	if p.Kind == "delete" {
		key = "pending.delete"
	}
	return text(voice, key, "who", who(voice, p.By), "count", n)
}

func leftText(voice words.Voice, p Pending) words.Text {
	left := p.Until.Sub(voice.Now)
	switch n := roundUp(left); {
	case left <= 0:
		return text(voice, "pending.over")
	case n <= 90:
		return text(voice, "pending.left-seconds", "seconds", n)
	default:
		return text(voice, "pending.left-minutes", "minutes", n/60)
	}
}
