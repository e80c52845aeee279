package webui

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gatepost/webui/foreign"
	"gatepost/webui/words"
)

// maxFind bounds what a person can search for, in bytes.
const maxFind = 320

// findDays are the spans that can be chosen; the box keeps no more.
var findDays = []int{1, 7, 30}

type findBody struct {
	Text    string
	Days    []daysView
	Asked   bool
	Trouble words.Text
	Waiting []rowView
	Past    []pastView
	Older   string
}

type daysView struct {
	Days   int
	Label  string
	Chosen bool
}

// pastView is one attempt in the list of what was found.
type pastView struct {
	State, To, From string
	From0           bool
	When            words.Text
	Lines           []words.Text
	Way             string
}

func (s *Server) find(v *visit) {
	query := v.r.URL.Query()
	text0 := strings.TrimSpace(query.Get("q"))
	days, _ := strconv.Atoi(query.Get("days"))
	after, _ := strconv.ParseUint(query.Get("after"), 10, 64)
	body := findBody{Text: foreign.Text(text0).Cut(maxFind), Asked: query.Has("q")}
	chosen := 7
	for _, d := range findDays {
		if d == days {
			chosen = d
		}
	}
	for _, d := range findDays {
		body.Days = append(body.Days, daysView{Days: d, Label: text(v.voice, "find.days", "count", d).String(), Chosen: d == chosen})
	}
	switch {
	case !body.Asked:
	case len(text0) < 3 || len(text0) > maxFind || !utf8.ValidString(text0):
		body.Asked, body.Trouble = false, text(v.voice, "find.bad")
	default:
		ctx, cancel := context.WithTimeout(v.r.Context(), backendTime)
		defer cancel()
		since := v.voice.Now.Add(-time.Duration(chosen) * 24 * time.Hour)
		found, err := s.cfg.Queue.Find(ctx, FindQuery{Text: text0, Since: since, After: after})
		if err != nil {
			s.cfg.Log.Error("mail could not be looked for", "err", err)
			body.Asked, body.Trouble = false, text(v.voice, "find.unreachable")
			s.show(v, http.StatusServiceUnavailable, "find", "find.title", body)
			return
		}
		if after == 0 {
			for _, m := range found.Waiting {
				row := s.rowOf(v, m)
				row.Buttons = buttons{}
				body.Waiting = append(body.Waiting, row)
			}
		}
		for _, p := range found.Past {
			body.Past = append(body.Past, s.pastOf(v.voice, p))
		}
		if found.Next != 0 {
			body.Older = "/find?" + url.Values{
				"q": {text0}, "days": {strconv.Itoa(chosen)}, "after": {strconv.FormatUint(found.Next, 10)},
			}.Encode()
		}
	}
	s.show(v, http.StatusOK, "find", "find.title", body)
}

func (s *Server) pastOf(voice words.Voice, p PastRow) pastView {
	return pastView{
		State: stateOf(p.Attempt.Outcome), To: p.To.Cut(120), From: p.From.Cut(120), From0: p.From == "",
		When: voice.At(p.Attempt.Time), Lines: happened(voice, p.To, p.Attempt), Way: s.wayTo(p.ID),
	}
}
