package webui

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"

	"gatepost/webui/foreign"
	"gatepost/webui/session"
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
	Rows                      []rowView
	All                       string // link to the whole group when Rows is not all
	Technical                 []fact
}

type rowView struct {
	ID                 string
	To, From, Subject  string
	Size               string
	Since, Tries, Next words.Text
	From0              bool // the null return path
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
	s.show(v, http.StatusOK, "waiting", "waiting.title", waitingView(v.voice, all, query.Get("group"), page))
}

// waitingView makes the page. An unknown group is shown as an empty list, a
// page out of range as the nearest one.
func waitingView(voice words.Voice, all []Message, id string, page int) waitingBody {
	groups := groupMessages(all)
	body := waitingBody{Total: len(all), Single: id != ""}
	link := "/waiting?"
	if !body.Single {
		var shown []group
		shown, body.Page, body.Pages = slice(groups, page, groupsPerPage)
		for _, g := range shown {
			rows, _, _ := slice(g.Messages, 1, rowsInGroup)
			body.Groups = append(body.Groups, viewOf(voice, g, rows))
		}
	}
	for _, g := range groups {
		if body.Single && g.ID == id {
			var rows []Message
			rows, body.Page, body.Pages = slice(g.Messages, page, rowsPerPage)
			gv := viewOf(voice, g, rows)
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

func viewOf(voice words.Voice, g group, rows []Message) groupView {
	m := g.Latest
	p := words.Params{
		Domain: m.Domain, MX: m.Last.MX, Names: m.Last.CertNames, Rcpt: m.To, Reply: m.Last.Reply,
		Deadline: g.Deadline, Next: g.Next, Date: m.Last.CertNotAfter, Size: m.Size, Tried: m.Last.MXTried,
	}
	gv := groupView{
		ID: g.ID, Domain: foreign.Domain(m.Domain, 120), State: "waiting", Reason: foreign.Text(m.Last.Reason).Cut(64), Count: len(g.Messages),
		CountText: text(voice, "waiting.messages", "count", len(g.Messages)),
		Since:     text(voice, "waiting.since", "since", g.Oldest),
		Next:      nextText(voice, g.Next),
		Deadline:  text(voice, "waiting.deadline", "deadline", g.Deadline),
		Technical: technical(voice, m),
	}
	outcome := words.Waiting
	if g.Held {
		gv.State, outcome = "held", words.Held
	}
	if !g.Tried {
		gv.Sentence = text(voice, "waiting.not-tried")
	} else {
		e := voice.Reason(m.Last.Reason, outcome, p)
		gv.Sentence, gv.Owner, gv.Step = e.Sentence, e.Owner, e.Next
	}
	if m.Last.PolicyNote != "" {
		p.Date = m.Last.PolicyFetched
		gv.Note = voice.Note(m.Last.PolicyNote, p)
	}
	if says(gv.Sentence, g.Next) {
		gv.Next = nil
	}
	if says(gv.Sentence, g.Deadline) {
		gv.Deadline = nil
	}
	for _, m := range rows {
		gv.Rows = append(gv.Rows, rowOf(voice, m))
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

func rowOf(voice words.Voice, m Message) rowView {
	return rowView{
		ID: foreign.Text(m.ID).Cut(64), To: m.To.Cut(120), From: m.From.Cut(120), Subject: m.Subject.Cut(120), From0: m.From == "",
		Size: voice.Size(m.Size), Since: text(voice, "waiting.came", "since", m.Received),
		Tries: text(voice, "waiting.tries", "count", m.Tries), Next: nextText(voice, m.Next),
	}
}

var goodID = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// waitingRetry makes one message or a whole group due now.
func (s *Server) waitingRetry(v *visit) {
	ctx, cancel := context.WithTimeout(v.r.Context(), backendTime)
	defer cancel()
	ids, err := s.chosen(ctx, v.r)
	n := 0
	if err == nil && len(ids) > 0 {
		n, err = s.cfg.Backend.Retry(ctx, ids)
	}
	f := session.Flash{Key: "flash.retry", Count: n}
	switch {
	case err != nil:
		s.cfg.Log.Error("mail could not be tried again", "err", err)
		f = session.Flash{Key: "flash.retry-failed", Bad: true}
	case n == 0:
		f.Key = "flash.retry-none"
	default:
		s.cfg.Log.Info("mail is tried again", "messages", n, "person", v.session.Person)
	}
	s.leave(v, f)
	v.redirect("/waiting")
}

// chosen returns the ids that a form names, by one message or by a group.
func (s *Server) chosen(ctx context.Context, r *http.Request) ([]string, error) {
	if id := r.PostFormValue("id"); id != "" {
		if !goodID.MatchString(id) {
			return nil, nil
		}
		return []string{id}, nil
	}
	want := r.PostFormValue("group")
	all, err := s.cfg.Backend.Waiting(ctx)
	if err != nil || want == "" {
		return nil, err
	}
	seen := map[string]bool{}
	var ids []string
	for _, m := range all {
		if groupID(m) == want && !seen[m.ID] {
			seen[m.ID] = true
			ids = append(ids, m.ID)
		}
	}
	return ids, nil
}
