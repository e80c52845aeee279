package webui

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"gatepost/webui/foreign"
	"gatepost/webui/words"
)

// backendTime is how long a page waits for the Backend.
const backendTime = 5 * time.Second

type homeBody struct {
	Host, Today, Address string
	Paused               *pauseBanner // all outgoing mail is stopped
	Banner               banner
	Also                 []banner
	Questions            []question
	Light                words.LightText // zero when the box has none
	Legend               []words.LightText
}

// banner is one problem in words, or that there is none.
type banner struct {
	State string // "fine", "look", "broken", "starting": symbol and colour
	words.ProblemText
	ShowMail bool // a link to the waiting mail helps
}

// question is one of the questions with its answer.
type question struct {
	Key    string // of the question's text
	State  string // "fine", "look", "broken", "plain"
	Answer []words.Text
	Link   string // where the numbers lead, "" for nowhere
}

func (s *Server) home(v *visit) {
	ctx, cancel := context.WithTimeout(v.r.Context(), backendTime)
	defer cancel()
	h, err := s.cfg.Backend.Home(ctx)
	if err != nil {
		s.cfg.Log.Error("the state of the box cannot be read", "err", err)
		h = Home{Level: LevelBroken, Problems: []Problem{{ID: "no-answer", Level: LevelBroken}}}
	}
	body := s.homeView(v.voice, h)
	if body.Paused = s.pauseOfAll(ctx, v, h.Queue); body.Paused != nil {
		no := answers{voice: v.voice}
		no.say("home.mail-no")
		body.Questions[0] = question{Key: "home.q-mail", State: "paused", Answer: append(no.texts, body.Paused.Sentence)}
	}
	s.show(v, http.StatusOK, "home", "menu.home", body)
}

// statusPage is all that a box without an owner record shows: the words of its
// storage trouble, without parameters.
func (s *Server) statusPage(v *visit) {
	id := "owner-unreadable"
	if s.cfg.Data == nil {
		id = "storage-missing"
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), backendTime)
	defer cancel()
	if h, err := s.cfg.Backend.Home(ctx); err == nil {
		for _, p := range h.Problems {
			if p.ID == "storage-missing" || p.ID == "storage-failed" {
				id = p.ID
			}
		}
	}
	s.show(v, http.StatusServiceUnavailable, "status", "status.title",
		bannerOf(v.voice, Problem{ID: id, Level: LevelBroken}))
}

func bannerOf(voice words.Voice, p Problem) banner {
	b := banner{State: "broken", ProblemText: voice.Problem(p.ID, p.Params)}
	switch {
	case p.ID == "booting":
		b.State = "starting"
	case p.Level == LevelLook || p.Level == LevelFine:
		b.State = "look"
	}
	b.ShowMail = p.ID == "held-mail" || p.ID == "backlog"
	return b
}

func (s *Server) homeView(voice words.Voice, h Home) homeBody {
	body := homeBody{Host: foreign.Text(h.Hostname).Cut(100), Today: voice.Today(), Banner: banner{State: "fine"}}
	if h.Box != nil {
		body.Address = foreign.Text(h.Box.Address).Cut(60)
	}
	for i, p := range h.Problems {
		if i == 0 {
			body.Banner = bannerOf(voice, p)
		} else if i < 6 {
			body.Also = append(body.Also, bannerOf(voice, p))
		}
	}
	if len(h.Problems) == 0 && h.Level != LevelFine {
		body.Banner = bannerOf(voice, Problem{ID: "unknown", Level: h.Level})
	}
	body.Questions = []question{
		mailAnswer(voice, h), waitingAnswer(voice, h), protectedAnswer(voice, h), boxAnswer(voice, h),
	}
	body.Light, _ = voice.Light(h.Light)
	if body.Light.Look == "" {
		body.Light = words.LightText{}
	}
	for _, id := range voice.Book.LightIDs() {
		t, _ := voice.Light(id)
		body.Legend = append(body.Legend, t)
	}
	return body
}

// answers collects texts and drops those that the catalogue cannot say.
type answers struct {
	voice words.Voice
	texts []words.Text
}

func (a *answers) say(key string, pairs ...any) {
	if t, ok := a.voice.Say(key, pairs...); ok {
		a.texts = append(a.texts, t)
	}
}

// stops reports whether a problem means that no mail passes.
func stops(p Problem) bool {
	switch p.ID {
	case "storage-missing", "storage-failed", "storage-full", "no-network", "dns-broken", "clock-wrong", "relay-down", "booting":
		return true
	}
	return false
}

// mailAnswer answers "Does mail go out?".
func mailAnswer(voice words.Voice, h Home) question {
	q, a := question{Key: "home.q-mail", State: "fine"}, answers{voice: voice}
	if i := slices.IndexFunc(h.Problems, stops); i >= 0 {
		q.State = bannerOf(voice, h.Problems[i]).State
		a.say("home.mail-no")
		a.texts = append(a.texts, voice.Problem(h.Problems[i].ID, h.Problems[i].Params).Sentence)
		q.Answer = a.texts
		return q
	}
	t := h.Traffic
	switch {
	case t == nil:
		q.State = "plain"
		a.say("home.unknown")
	case t.LastOut.IsZero() && t.LastIn.IsZero():
		a.say("home.mail-quiet")
	case t.LastOut.IsZero():
		q.State = "plain"
		a.say("home.mail-in", "in", t.LastIn, "count", t.InToday)
	case t.LastIn.IsZero():
		a.say("home.mail-out", "out", t.LastOut, "count", t.OutToday)
	default:
		a.say("home.mail-yes", "out", t.LastOut, "in", t.LastIn, "count", t.OutToday)
	}
	q.Answer = a.texts
	return q
}

// waitingAnswer answers "Is anything waiting?".
func waitingAnswer(voice words.Voice, h Home) question {
	q, a := question{Key: "home.q-waiting", State: "fine"}, answers{voice: voice}
	switch u := h.Queue; {
	case u == nil:
		q.State = "plain"
		a.say("home.unknown")
	case u.Held+u.Waiting == 0:
		a.say("home.waiting-none")
	default:
		q.State, q.Link = "plain", "/waiting"
		var parts answers
		parts.voice = voice
		if u.Held > 0 {
			q.State = "look"
			parts.say("home.waiting-held", "count", u.Held)
		}
		if u.Waiting > 0 {
			parts.say("home.waiting-rest", "count", u.Waiting)
		}
		var joined []string
		for _, t := range parts.texts {
			joined = append(joined, t.String())
		}
		a.texts = append(a.texts, words.Text{{Text: strings.Join(joined, ", ") + "."}})
		a.say("home.waiting-oldest", "oldest", u.Oldest)
	}
	q.Answer = a.texts
	return q
}

// protectedAnswer answers "Is our mail protected?".
func protectedAnswer(voice words.Voice, h Home) question {
	q, a := question{Key: "home.q-protected", State: "plain"}, answers{voice: voice}
	switch p := h.Protection; {
	case p == nil:
		a.say("home.unknown")
	case p.Verified+p.Encrypted+p.Clear == 0:
		a.say("home.protected-none")
	default:
		if p.Clear == 0 {
			q.State = "fine"
			a.say("home.protected-yes")
		} else {
			a.say("home.protected-partly")
		}
		a.say("home.protected-counts", "verified", p.Verified, "encrypted", p.Encrypted, "clear", p.Clear)
		if p.Clear > 0 {
			a.say("home.protected-clear")
		}
	}
	q.Answer = a.texts
	return q
}

// boxAnswer answers "Is the box itself fine?".
func boxAnswer(voice words.Voice, h Home) question {
	q, a := question{Key: "home.q-box", State: "fine"}, answers{voice: voice}
	for _, p := range h.Problems {
		if p.ID == "held-mail" || p.ID == "backlog" {
			continue
		}
		if p.Level == LevelLook || p.ID == "booting" {
			if q.State == "fine" {
				q.State = "look"
			}
		} else {
			q.State = "broken"
		}
	}
	b := h.Box
	switch {
	case q.State == "broken":
		a.say("home.box-no")
	case q.State == "look":
		a.say("home.box-look")
	case b == nil:
		q.State = "plain"
		a.say("home.unknown")
	default:
		a.say("home.box-yes")
	}
	if b != nil {
		if !b.ClockTrusted {
			a.say("home.box-clock")
		}
		if b.Version != "" {
			a.say("home.box-version", "version", foreign.Text(b.Version))
		}
		a.say("home.box-started", "started", b.Started)
		if b.DiskPercent >= 0 {
			a.say("home.box-disk", "percent", b.DiskPercent)
		}
	}
	q.Answer = a.texts
	return q
}
