package webui

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"gatepost/webui/foreign"
	"gatepost/webui/words"
)

type checkBody struct {
	Domain  string // what was typed
	Trouble words.Text
	Asked   bool
	Name    string
	Link    string // to the saved rules
	State   string // symbol and colour
	Verdict words.Text
	Why     words.Text
	Note    words.Text
	Owner   string
	Step    words.Text
	Steps   []checkStep
	Details evidenceView
}

// checkStep is one line of what was found out.
type checkStep struct {
	State string
	Text  words.Text
	Took  string
}

func (s *Server) checkPage(v *visit) {
	typed := strings.TrimSpace(v.r.URL.Query().Get("domain"))
	s.show(v, http.StatusOK, "check", "check.title", checkBody{Domain: foreign.Text(typed).Cut(maxPart)})
}

// check has the domain tried out and shows what came of it. It sends no mail.
func (s *Server) check(v *visit) {
	typed := strings.TrimSpace(v.r.PostFormValue("domain"))
	if _, after, found := strings.Cut(typed, "@"); found {
		typed = after // an address was pasted
	}
	typed = strings.TrimSuffix(strings.ToLower(typed), ".")
	body := checkBody{Domain: foreign.Text(typed).Cut(maxPart)}
	if len(typed) > maxPart || !strings.Contains(typed, ".") || strings.ContainsAny(typed, " /:[]") {
		body.Trouble = text(v.voice, "check.bad")
		s.show(v, http.StatusOK, "check", "check.title", body)
		return
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), rereadTime)
	defer cancel()
	got, err := s.cfg.Rules.Check(ctx, typed)
	status := http.StatusOK
	switch {
	case errors.Is(err, ErrBadDomain):
		body.Trouble = text(v.voice, "check.bad")
	case err != nil:
		s.cfg.Log.Error("a domain could not be checked", "domain", typed, "err", err)
		body.Trouble, status = text(v.voice, "check.failed"), http.StatusServiceUnavailable
	default:
		s.checked(v.voice, &body, got)
	}
	s.show(v, status, "check", "check.title", body)
}

// checked fills in what was found out.
func (s *Server) checked(voice words.Voice, body *checkBody, c Checked) {
	a := c.Attempt
	body.Asked, body.Name = true, c.Domain.Cut(120)
	if a.PolicyMode != "" && goodDomain.MatchString(string(c.Domain)) {
		body.Link = "/others/" + string(c.Domain)
	}
	m := Message{Domain: c.Domain, Last: a}
	switch {
	case a.Outcome == "":
		body.State, body.Verdict = "waiting", text(voice, "check.settings", "domain", c.Domain)
		return
	case stateOf(a.Outcome) == "fine":
		key := map[string]string{"verified": "check.verified", "encrypted": "check.encrypted"}[a.Protection]
		if key == "" {
			key = "check.clear"
		}
		body.State, body.Verdict, body.Note = "fine", text(voice, key, "domain", c.Domain), noteOf(voice, m)
	default:
		st := decided(voice, m)
		key := map[string]string{"held": "check.held", "returned": "check.returned", "waiting": "check.waiting"}[st.State]
		body.State, body.Verdict = st.State, text(voice, key, "domain", c.Domain)
		body.Why, body.Owner, body.Step, body.Note = st.Sentence, st.Owner, st.Step, st.Note
	}
	body.Steps = checkSteps(voice, c)
	body.Details = evidenceOf(voice, a, c.Evidence)
}

// checkSteps are the mail servers, the rules, and what each server showed.
func checkSteps(voice words.Voice, c Checked) []checkStep {
	var steps []checkStep
	add := func(state string, t words.Text, took string) { steps = append(steps, checkStep{state, t, took}) }
	e := c.Evidence
	if e != nil && e.DNS != nil {
		switch d := e.DNS; {
		case d.Error != "":
			add("held", text(voice, "check.dns-failed"), "")
		case d.Null:
			add("held", text(voice, "check.dns-null"), "")
		case d.Implicit:
			add("fine", text(voice, "check.dns-implicit"), "")
		default:
			add("fine", text(voice, "check.dns", "count", len(d.MX)+d.More), "")
		}
	}
	switch c.Attempt.PolicyMode {
	case "enforce", "testing":
		add("fine", asks(voice, Rules{Mode: c.Attempt.PolicyMode, MX: c.Attempt.PolicyMX}), "")
	default:
		add("waiting", text(voice, "check.no-rules"), "")
	}
	if e == nil {
		return steps
	}
	for i, h := range e.Hosts {
		if i == hostsShown {
			add("waiting", text(voice, "more", "count", len(e.Hosts)-i), "")
			break
		}
		state, key := stateOf(h.Outcome), "check.host-failed"
		if state == "fine" {
			key = map[string]string{"verified": "check.host-verified", "encrypted": "check.host-encrypted"}[h.Protection]
			if key == "" {
				key = "check.host-clear"
			}
			if h.Reason != "" {
				state = "waiting"
			}
		} else if state == "held" {
			key = "check.host-held"
		}
		add(state, text(voice, key, "mx", h.MX), span(h.Took))
	}
	return steps
}
