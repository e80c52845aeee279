package webui

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"gatepost/webui/foreign"
	"gatepost/webui/words"
)

// How much one page lists.
const (
	groupsPerPage = 25
	rowsInGroup   = 10 // in the list of all groups
	rowsPerPage   = 50 // in the list of one group
)

type waitingBody struct {
	Unreachable bool
	Total       int
	Stopped     stopped
	Groups      []groupView
	Single      bool // one group is shown whole
	Page, Pages int
	Newer       string // link, "" for none
	Older       string
}

type groupView struct {
	ID, Domain, State, Reason string
	Count                     int
	CountText, Since          words.Text
	Sentence, Note            words.Text // Note is empty when there is none
	Owner                     string
	Step                      words.Text // what the owner would do
	Next, Deadline            words.Text
	Buttons                   buttons
	Rows                      []rowView
	All                       string // link to the whole group when Rows is not all
	Technical                 []fact
}

type rowView struct {
	To, From, Subject  string
	Size               string
	Since, Tries, Next words.Text
	From0              bool   // the null return path
	Way                string // link to the message's page, "" for none
	Buttons            buttons
}

func (s *Server) waiting(v *visit) {
	ctx, cancel := context.WithTimeout(v.r.Context(), backendTime)
	defer cancel()
	all, err := s.cfg.Backend.Waiting(ctx)
	if err != nil {
		s.cfg.Log.Error("the waiting mail cannot be read", "err", err)
		s.show(v, http.StatusServiceUnavailable, "waiting", "waiting.title", waitingBody{Unreachable: true})
		return
	}
	query := v.r.URL.Query()
	page, _ := strconv.Atoi(query.Get("page"))
	body := s.waitingView(v, all, query.Get("group"), page)
	body.Stopped = s.stoppedView(ctx, v, all, !body.Single && body.Page == 1)
	s.show(v, http.StatusOK, "waiting", "waiting.title", body)
}

// waitingView makes the page. An unknown group is shown as an empty list, a
// page out of range as the nearest one.
func (s *Server) waitingView(v *visit, all []Message, id string, page int) waitingBody {
	groups := groupMessages(all)
	body := waitingBody{Total: len(all), Single: id != ""}
	link := "/waiting?"
	if !body.Single {
		var shown []group
		shown, body.Page, body.Pages = slice(groups, page, groupsPerPage)
		for _, g := range shown {
			rows, _, _ := slice(g.Messages, 1, rowsInGroup)
			body.Groups = append(body.Groups, s.viewOf(v, g, rows))
		}
	}
	for _, g := range groups {
		if body.Single && g.ID == id {
			var rows []*Message
			rows, body.Page, body.Pages = slice(g.Messages, page, rowsPerPage)
			gv := s.viewOf(v, g, rows)
			gv.All = ""
			body.Groups = append(body.Groups, gv)
			link = "/waiting?group=" + g.ID + "&"
		}
	}
	if body.Page > 1 {
		body.Newer = link + "page=" + strconv.Itoa(body.Page-1)
	}
	if body.Page < body.Pages {
		body.Older = link + "page=" + strconv.Itoa(body.Page+1)
	}
	return body
}

// slice returns the page-th piece of all, and the page and number of pages that
// this really is.
func slice[T any](all []T, page, size int) ([]T, int, int) {
	pages := max(1, (len(all)+size-1)/size)
	page = min(max(page, 1), pages)
	return all[(page-1)*size : min(page*size, len(all))], page, pages
}

// text is a catalogue text that has to exist; the tests of the page see to it.
func text(voice words.Voice, key string, pairs ...any) words.Text {
	t, _ := voice.Say(key, pairs...)
	return t
}

func (s *Server) viewOf(v *visit, g group, rows []*Message) groupView {
	voice, m := v.voice, g.Latest
	m.Next, m.Deadline, m.Paused, m.Pending = g.Next, g.Deadline, g.Paused, g.Pending
	st := standing(voice, m, len(g.Messages))
	gv := groupView{
		ID: g.ID, Domain: foreign.Domain(m.Domain, 120), State: st.State, Reason: foreign.Text(m.Last.Reason).Cut(64), Count: len(g.Messages),
		CountText: text(voice, "waiting.messages", "count", len(g.Messages)),
		Since:     text(voice, "waiting.since", "since", g.Oldest),
		Sentence:  st.Sentence, Note: st.Note, Owner: st.Owner, Step: st.Step, Next: st.Next, Deadline: st.Deadline,
		Buttons:   s.buttonsFor(v, m, g.ID, len(g.Messages)),
		Technical: technical(voice, m),
	}
	for _, m := range rows {
		gv.Rows = append(gv.Rows, s.rowOf(v, *m))
	}
	if len(rows) < len(g.Messages) {
		gv.All = "/waiting?group=" + g.ID
	}
	return gv
}

// says reports whether a sentence names the time already.
func says(sentence words.Text, t time.Time) bool {
	return slices.ContainsFunc(sentence, func(p words.Piece) bool { return !t.IsZero() && p.Time.Equal(t) })
}

func nextText(voice words.Voice, next time.Time) words.Text {
	switch {
	case next.IsZero():
		return text(voice, "waiting.next-cause")
	case !next.After(voice.Now):
		return text(voice, "waiting.next-soon")
	}
	return text(voice, "waiting.next", "next", next)
}

// rowOf is a message in a list. Its page has all that can be done with it.
func (s *Server) rowOf(v *visit, m Message) rowView {
	row := rowView{
		To: m.To.Cut(120), From: m.From.Cut(120), Subject: m.Subject.Cut(120), From0: m.From == "",
		Size: v.voice.Size(m.Size), Since: text(v.voice, "waiting.came", "since", m.Received),
		Tries: text(v.voice, "waiting.tries", "count", m.Tries), Way: s.wayTo(m.ID),
	}
	if m.Paused == nil && m.Pending == nil {
		row.Next = nextText(v.voice, m.Next)
		row.Buttons = buttons{Field: "id", Value: foreign.Text(m.ID).Cut(64)}
		if v.may(retry) {
			row.Buttons.Retry = text(v.voice, "waiting.retry-one", "to", m.To).String()
		}
	}
	return row
}

// wayTo is the path of a message's page, "" when there is none.
func (s *Server) wayTo(id string) string {
	if s.cfg.Queue == nil || !goodID.MatchString(id) {
		return ""
	}
	return "/message/" + id
}
