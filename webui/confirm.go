package webui

import (
	"context"
	"net/http"
	"strings"
	"unicode"

	"gatepost/webui/session"
	"gatepost/webui/words"
)

// Bounds of one return or delete.
const (
	maxChosen  = 1000 // messages
	maxNotice  = 2000 // bytes of the text for the senders
	confirmRow = 5    // messages that a confirm page lists
)

// confirmBody is the page between the wish to end messages and the deed. The
// form carries the ids that it showed, so that a message which arrives
// meanwhile is not ended unseen.
type confirmBody struct {
	Kind    string // "return" or "delete"
	Count   int
	Total   int // of the group, when Count is not all
	IDs     string
	Back    string // the message's id, "" for the list
	Keep    string // where "Keep waiting" leads
	Rows    []rowView
	More    int
	Others  int // recipients outside the group that are taken too
	Nobody  int // messages without a sender
	Notice  string
	Trouble words.Text
}

func (s *Server) returnPage(v *visit) { s.confirmPage(v, "return") }
func (s *Server) deletePage(v *visit) { s.confirmPage(v, "delete") }

// confirmPage says what would be done. It changes nothing.
func (s *Server) confirmPage(v *visit, kind string) {
	ctx, cancel := context.WithTimeout(v.r.Context(), backendTime)
	defer cancel()
	all, err := s.cfg.Backend.Waiting(ctx)
	if err != nil {
		s.cfg.Log.Error("the waiting mail cannot be read", "err", err)
		s.fail(v, http.StatusServiceUnavailable, "waiting.unreachable")
		return
	}
	query := v.r.URL.Query()
	list := pick(all, query.Get("id"), query.Get("group"))
	if len(list) == 0 {
		s.fail(v, http.StatusNotFound, "confirm.gone")
		return
	}
	ids := idsOf(list)
	body := confirmBody{Kind: kind, Keep: "/waiting"}
	if len(ids) > maxChosen {
		body.Total, ids = len(ids), ids[:maxChosen]
	}
	if query.Get("id") != "" {
		body.Back, body.Keep = ids[0], s.wayTo(ids[0])
	}
	s.showConfirm(v, http.StatusOK, body, all, ids, text(v.voice, "confirm.notice").String())
}

// showConfirm shows the page for ids, of which some may not be in all any more.
func (s *Server) showConfirm(v *visit, status int, body confirmBody, all []Message, ids []string, notice string) {
	want := map[string]bool{}
	for _, id := range ids {
		want[id] = true
	}
	seen := map[string]bool{}
	for _, m := range all {
		switch {
		case !want[m.ID]:
			continue
		case seen[m.ID]:
			body.Others++
			continue
		}
		seen[m.ID] = true
		if m.From == "" {
			body.Nobody++
		}
		if len(body.Rows) < confirmRow {
			row := s.rowOf(v, m)
			row.Buttons = buttons{}
			body.Rows = append(body.Rows, row)
		}
	}
	body.Count, body.IDs, body.Notice = len(ids), strings.Join(ids, ","), notice
	body.More = max(0, len(seen)-len(body.Rows))
	title := "confirm.return"
	if body.Kind == "delete" {
		title = "confirm.delete"
	}
	s.show(v, status, "confirm", title, body)
}

// returnMake gives messages back to their senders.
func (s *Server) returnMake(v *visit) {
	ids := listedIDs(v.r)
	notice, ok := cleanNotice(v.r.PostFormValue("text"))
	if !ok && len(ids) > 0 {
		ctx, cancel := context.WithTimeout(v.r.Context(), backendTime)
		defer cancel()
		body := confirmBody{Kind: "return", Keep: "/waiting", Trouble: text(v.voice, "confirm.too-long")}
		if id := v.r.PostFormValue("id"); s.wayTo(id) != "" {
			body.Back, body.Keep = id, s.wayTo(id)
		}
		// Without the list the page still keeps what was typed.
		all, err := s.cfg.Backend.Waiting(ctx)
		if err != nil {
			s.cfg.Log.Error("the waiting mail cannot be read", "err", err)
		}
		s.showConfirm(v, http.StatusUnprocessableEntity, body, all, ids, notice)
		return
	}
	s.end(v, "return", "flash.returning", ids, func(ctx context.Context) (Pending, error) {
		return s.cfg.Queue.Return(ctx, ids, v.session.Person, notice)
	})
}

// deleteMake removes messages without telling anybody.
func (s *Server) deleteMake(v *visit) {
	ids := listedIDs(v.r)
	s.end(v, "delete", "flash.deleting", ids, func(ctx context.Context) (Pending, error) {
		return s.cfg.Queue.Delete(ctx, ids, v.session.Person)
	})
}

// end runs a return or a delete and offers to undo it.
func (s *Server) end(v *visit, what, key string, ids []string, run func(context.Context) (Pending, error)) {
	s.do(v, what, func(ctx context.Context) (session.Flash, error) {
		if len(ids) == 0 {
			return session.Flash{}, ErrGone
		}
		p, err := run(ctx)
		if err != nil {
			return session.Flash{}, err
		}
		f := session.Flash{Key: key, Count: len(ids), Undo: p.ID}
		actions, err := s.cfg.Queue.PendingActions(ctx)
		if err != nil {
			s.cfg.Log.Warn("the pending actions cannot be read", "err", err)
		}
		for _, a := range actions {
			if a.ID == p.ID {
				f.Count = a.Count // without those that were gone already
			}
		}
		return f, nil
	})
}

// cleanNotice prepares what a person typed for a notice: plain lines without
// control characters. ok is false when it is too long.
func cleanNotice(typed string) (notice string, ok bool) {
	typed = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\t", " ").Replace(strings.ToValidUTF8(typed, ""))
	notice = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r != '\n' && unicode.Is(unicode.C, r) {
			return -1
		}
		return r
	}, typed))
	return notice, len(notice) <= maxNotice
}
