package webui

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"gatepost/webui/foreign"
	"gatepost/webui/words"
)

// lostShown is how many lost messages a page lists.
const lostShown = 20

// stopped is what the page of waiting mail shows beside the mail itself.
type stopped struct {
	Unread   bool // part of this could not be read
	All      *pauseBanner
	PauseAll bool // the button that stops everything
	Others   []pauseView
	Pending  []pendingView
	Lost     []lostView
	LostMore int
}

// pauseBanner says that all outgoing mail is stopped.
type pauseBanner struct {
	Sentence words.Text
	ID       string // of the pause, "" when the person may not resume it
}

// pauseView is a pause for which no mail waits.
type pauseView struct {
	Domain   string // "" for a single message
	Sentence words.Text
	ID       string // of the pause, "" when the person may not resume it
	Resume   string // label of the button
}

type pendingView struct {
	Sentence, Left words.Text
	Undo, UndoID   string // label and id, "" when it is too late
}

type lostView struct {
	When        words.Text
	To, Subject string
	Way         string
}

// stoppedView reads what a person has stopped or is about to end. The banner is
// on every page of the list, the rest where whole is set.
func (s *Server) stoppedView(ctx context.Context, v *visit, all []Message, whole bool) stopped {
	if s.cfg.Queue == nil {
		return stopped{}
	}
	mayAct := v.may(act)
	var out stopped
	pauses, err := s.cfg.Queue.Pauses(ctx)
	out.PauseAll = err == nil && mayAct && whole
	ids, domains := map[string]bool{}, map[string]bool{}
	for _, m := range all {
		ids[m.ID], domains[strings.ToLower(string(m.Domain))] = true, true
	}
	slices.SortStableFunc(pauses, func(a, b PauseRow) int {
		return cmp.Or(a.Since.Compare(b.Since), strings.Compare(pauseID(a.Target), pauseID(b.Target)))
	})
	for _, p := range pauses {
		switch {
		case p.All:
			out.All = bannerOfPause(v, p, len(ids))
			out.PauseAll = false
		case whole && !ids[p.ID] && !domains[strings.ToLower(p.Domain)]:
			out.Others = append(out.Others, pauseViewOf(v, p))
		}
	}
	if !whole {
		out.Unread = err != nil
		return out
	}
	actions, errActions := s.cfg.Queue.PendingActions(ctx)
	slices.SortStableFunc(actions, func(a, b PendingRow) int { return a.Until.Compare(b.Until) })
	for _, p := range actions {
		pv := pendingView{Sentence: pendingText(v.voice, p.Pending, p.Count), Left: leftText(v.voice, p.Pending)}
		if mayAct && p.Until.After(v.voice.Now) {
			pv.Undo, pv.UndoID = text(v.voice, "pending.undo-label", "what", pv.Sentence.String()).String(), p.ID
		}
		out.Pending = append(out.Pending, pv)
	}
	lost, errLost := s.cfg.Queue.Lost(ctx)
	for i, l := range lost {
		if i == lostShown {
			out.LostMore = len(lost) - i
			break
		}
		out.Lost = append(out.Lost, lostView{
			When: v.voice.At(l.Time), To: l.To.Cut(120), Subject: l.Subject.Cut(120), Way: s.wayTo(l.ID),
		})
	}
	if err := errors.Join(err, errActions, errLost); err != nil {
		s.cfg.Log.Error("what is paused or pending cannot be read", "err", err)
		out.Unread = true
	}
	return out
}

// bannerOfPause is the banner for a pause of everything while n messages wait;
// a negative n is not known.
func bannerOfPause(v *visit, p PauseRow, n int) *pauseBanner {
	b := &pauseBanner{}
	if n < 0 {
		b.Sentence = text(v.voice, "pause.all-short", "who", who(v.voice, p.By), "since", p.Since)
	} else {
		b.Sentence = text(v.voice, "pause.all", "who", who(v.voice, p.By), "since", p.Since, "count", n)
	}
	if v.may(act) {
		b.ID = pauseID(p.Target)
	}
	return b
}

func pauseViewOf(v *visit, p PauseRow) pauseView {
	out := pauseView{Domain: foreign.Domain(foreign.Text(p.Domain), 120), Sentence: pausedText(v.voice, p.Paused)}
	if v.may(act) {
		out.ID = pauseID(p.Target)
		out.Resume = text(v.voice, "pause.resume-domain", "domain", foreign.Text(p.Domain)).String()
		if p.Domain == "" {
			out.Resume = text(v.voice, "pause.resume-message").String()
		}
	}
	return out
}

// pauseID names a pause in forms without repeating a stranger's text.
func pauseID(t Target) string {
	switch {
	case t.All:
		return shortHash("all")
	case t.Domain != "":
		return shortHash("domain", strings.ToLower(t.Domain))
	}
	return shortHash("message", t.ID)
}

// pauseOfAll is the banner for Home, nil when mail goes out or that cannot be
// read.
func (s *Server) pauseOfAll(ctx context.Context, v *visit, q *Queue) *pauseBanner {
	if s.cfg.Queue == nil {
		return nil
	}
	pauses, err := s.cfg.Queue.Pauses(ctx)
	if err != nil {
		s.cfg.Log.Error("what is paused cannot be read", "err", err)
	}
	for _, p := range pauses {
		if p.All {
			n := -1
			if q != nil {
				n = q.Held + q.Waiting
			}
			return bannerOfPause(v, p, n)
		}
	}
	return nil
}
