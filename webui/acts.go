package webui

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"gatepost/webui/session"
)

var goodID = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// deed is one change that a form asked for. It returns the message for the next
// page.
type deed func(ctx context.Context) (session.Flash, error)

// do runs a deed and sends the browser to the next page: to the message, when
// the form came from there, or to the list.
func (s *Server) do(v *visit, what string, d deed) {
	ctx, cancel := context.WithTimeout(v.r.Context(), backendTime)
	defer cancel()
	f, err := d(ctx)
	switch {
	case errors.Is(err, ErrGone):
		f = session.Flash{Key: "flash.gone"}
	case err != nil:
		s.cfg.Log.Error("a person's wish for waiting mail failed", "what", what, "err", err)
		f = session.Flash{Key: "flash.failed", Bad: true}
	default:
		s.cfg.Log.Info("a person acted on waiting mail", "what", what, "key", f.Key, "messages", f.Count, "person", v.session.Person)
	}
	s.leave(v, f)
	next := "/waiting"
	if id := v.r.PostFormValue("id"); v.r.PostFormValue("back") == "message" && s.wayTo(id) != "" {
		next = s.wayTo(id)
	}
	v.redirect(next)
}

// chosen returns what waits of one message, or else of a group: one entry for
// each recipient, none when that waits no more.
func (s *Server) chosen(ctx context.Context, id, want string) ([]Message, error) {
	all, err := s.cfg.Backend.Waiting(ctx)
	if err != nil {
		return nil, err
	}
	return pick(all, id, want), nil
}

// pick returns the entries of one message, or else of a group by age; none for a
// name that cannot be one.
func pick(all []Message, id, want string) []Message {
	if id != "" && !goodID.MatchString(id) {
		return nil
	}
	if id != "" {
		return slices.DeleteFunc(slices.Clone(all), func(m Message) bool { return m.ID != id })
	}
	var out []Message
	for _, g := range groupMessages(all) {
		if g.ID == want {
			for _, m := range g.Messages {
				out = append(out, *m)
			}
		}
	}
	return out
}

// idsOf lists the ids of messages once each.
func idsOf(list []Message) []string {
	seen := map[string]bool{}
	var ids []string
	for _, m := range list {
		if !seen[m.ID] {
			seen[m.ID] = true
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// waitingRetry makes one message or a whole group due now.
func (s *Server) waitingRetry(v *visit) {
	s.do(v, "retry", func(ctx context.Context) (session.Flash, error) {
		ids, n := []string(nil), 0
		if id := v.r.PostFormValue("id"); id == "" {
			list, err := s.chosen(ctx, "", v.r.PostFormValue("group"))
			if err != nil {
				return session.Flash{}, err
			}
			ids = idsOf(list)
		} else if goodID.MatchString(id) {
			ids = []string{id}
		}
		if len(ids) > 0 {
			var err error
			if n, err = s.cfg.Backend.Retry(ctx, ids); err != nil {
				return session.Flash{}, err
			}
		}
		if n == 0 {
			return session.Flash{Key: "flash.retry-none"}, nil
		}
		return session.Flash{Key: "flash.retry", Count: n}, nil
	})
}

// waitingPause stops all mail, the mail to the domain of a group, or one
// message.
func (s *Server) waitingPause(v *visit) {
	s.do(v, "pause", func(ctx context.Context) (session.Flash, error) {
		if v.r.PostFormValue("all") == "yes" {
			return session.Flash{Key: "flash.paused-all"}, s.cfg.Queue.Pause(ctx, Target{All: true}, v.session.Person)
		}
		list, err := s.chosen(ctx, v.r.PostFormValue("id"), v.r.PostFormValue("group"))
		if err != nil || len(list) == 0 {
			return session.Flash{Key: "flash.gone"}, err
		}
		if v.r.PostFormValue("id") != "" {
			return session.Flash{Key: "flash.paused-one"}, s.cfg.Queue.Pause(ctx, Target{ID: list[0].ID}, v.session.Person)
		}
		domain := string(list[0].Domain)
		return session.Flash{Key: "flash.paused-domain", Domain: domain}, s.cfg.Queue.Pause(ctx, Target{Domain: domain}, v.session.Person)
	})
}

// waitingResume lets go on what a form names: a pause, or the pauses of a group
// or of one message.
func (s *Server) waitingResume(v *visit) {
	s.do(v, "resume", func(ctx context.Context) (session.Flash, error) {
		pauses, err := s.cfg.Queue.Pauses(ctx)
		if err != nil {
			return session.Flash{}, err
		}
		want := map[string]bool{}
		if p := v.r.PostFormValue("pause"); p != "" {
			want[p] = true
		} else {
			list, err := s.chosen(ctx, v.r.PostFormValue("id"), v.r.PostFormValue("group"))
			if err != nil {
				return session.Flash{}, err
			}
			for _, m := range list {
				if m.Paused != nil && m.Paused.What == "domain" {
					want[pauseID(Target{Domain: string(m.Domain)})] = true
				}
				if m.Paused != nil && m.Paused.What == "message" {
					want[pauseID(Target{ID: m.ID})] = true
				}
			}
		}
		f, gone := session.Flash{Key: "flash.resumed-none"}, 0
		for _, p := range pauses {
			if !want[pauseID(p.Target)] {
				continue
			}
			if err := s.cfg.Queue.Resume(ctx, p.Target, v.session.Person); errors.Is(err, ErrGone) {
				gone++
				continue
			} else if err != nil {
				return f, err
			}
			switch {
			case p.All:
				f = session.Flash{Key: "flash.resumed-all"}
			case p.Domain != "":
				f = session.Flash{Key: "flash.resumed-domain", Domain: p.Domain}
			default:
				f = session.Flash{Key: "flash.resumed", Count: f.Count + 1}
			}
		}
		if gone > 0 && f.Key == "flash.resumed-none" {
			return f, ErrGone
		}
		return f, nil
	})
}

// waitingUndo takes a return or a delete back.
func (s *Server) waitingUndo(v *visit) {
	s.do(v, "undo", func(ctx context.Context) (session.Flash, error) {
		n, id := 0, v.r.PostFormValue("action")
		if goodID.MatchString(id) {
			var err error
			if n, err = s.cfg.Queue.Undo(ctx, id, v.session.Person); err != nil && !errors.Is(err, ErrGone) {
				return session.Flash{}, err
			}
		}
		if n == 0 {
			return session.Flash{Key: "flash.undo-late", Bad: true}, nil
		}
		return session.Flash{Key: "flash.undone", Count: n}, nil
	})
}

// listedIDs reads the ids that a confirm page carries, at most maxChosen.
func listedIDs(r *http.Request) []string {
	var ids []string
	for id := range strings.SplitSeq(r.PostFormValue("ids"), ",") {
		if goodID.MatchString(id) && len(ids) < maxChosen {
			ids = append(ids, id)
		}
	}
	return ids
}
