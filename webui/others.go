package webui

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"gatepost/webui/foreign"
	"gatepost/webui/session"
	"gatepost/webui/words"
)

// Bounds of the pages about saved rules.
const (
	rulesPerPage = 50
	maxPart      = 253
	mxShown      = 20
	linesShown   = 100 // of the text as served
	lineRunes    = 200
	// rereadTime bounds the wait for the domain's own servers; it is below the
	// server's limit for an answer.
	rereadTime = 50 * time.Second
)

// goodDomain is a saved domain as it stands in a path.
var goodDomain = regexp.MustCompile(`^[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})+$`)

type othersBody struct {
	Part    string
	Trouble bool // the choice "problems only"
	Total   int
	Rows    []rulesView
	Next    string // link
	Failed  bool
}

// rulesView is one domain in the list.
type rulesView struct {
	Domain, Link string
	State        string // "fine", "waiting" or "held", for the icon
	Asks         words.Text
	Read, Until  words.Text
	Used         words.Text
	Trouble      words.Text
}

func (s *Server) others(v *visit) {
	query := v.r.URL.Query()
	part, after := strings.TrimSpace(query.Get("q")), query.Get("after")
	body := othersBody{Part: foreign.Text(part).Cut(maxPart), Trouble: query.Get("problems") == "yes"}
	if len(part) > maxPart || !utf8.ValidString(part) {
		part = ""
	}
	if !goodDomain.MatchString(after) {
		after = ""
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), backendTime)
	defer cancel()
	list, err := s.cfg.Rules.Rules(ctx, RulesQuery{Part: strings.ToLower(part), Trouble: body.Trouble, After: after, Limit: rulesPerPage})
	if err != nil {
		s.cfg.Log.Error("the saved rules cannot be read", "err", err)
		body.Failed = true
		s.show(v, http.StatusServiceUnavailable, "others", "others.title", body)
		return
	}
	body.Total = list.Total
	for _, r := range list.Rules {
		body.Rows = append(body.Rows, rulesOf(v.voice, r))
	}
	if goodDomain.MatchString(list.Next) {
		next := url.Values{"after": {list.Next}}
		if part != "" {
			next.Set("q", part)
		}
		if body.Trouble {
			next.Set("problems", "yes")
		}
		body.Next = "/others?" + next.Encode()
	}
	s.show(v, http.StatusOK, "others", "others.title", body)
}

// rulesOf tells the rules of one domain in a few lines.
func rulesOf(voice words.Voice, r Rules) rulesView {
	view := rulesView{Domain: r.Domain.Cut(120), State: "fine", Asks: asks(voice, r), Read: text(voice, "others.read", "when", r.Read)}
	if goodDomain.MatchString(string(r.Domain)) {
		view.Link = "/others/" + string(r.Domain)
	}
	if r.Ended {
		view.State, view.Until = "held", text(voice, "others.ended", "when", r.Expires)
	} else {
		view.Until = text(voice, "others.until", "when", r.Expires)
	}
	if !r.Used.IsZero() {
		view.Used = text(voice, "others.used", "when", r.Used)
	}
	if r.Trouble != "" {
		if view.State == "fine" {
			view.State = "waiting"
		}
		view.Trouble = troubleText(voice, r)
	}
	return view
}

// asks says what the rules ask, in the words for people.
func asks(voice words.Voice, r Rules) words.Text {
	switch r.Mode {
	case "enforce":
		return text(voice, "others.enforce", "count", len(r.MX))
	case "testing":
		return text(voice, "others.testing", "count", len(r.MX))
	}
	return text(voice, "others.none")
}

// troubleText says in the words of the reason what went wrong the last time.
func troubleText(voice words.Voice, r Rules) words.Text {
	p := words.Params{Domain: r.Domain}
	if !r.Ended {
		p.Date = r.Read
	}
	return voice.Reason(r.Trouble, words.Note, p).Sentence
}

// rulesBody is the page of one domain.
type rulesBody struct {
	rulesView
	Path    string // of the domain, for the form
	Servers []string
	More    int
	Facts   []fact
	Served  []string // lines of the text as served
	CanAsk  bool
}

func (s *Server) otherRules(v *visit) {
	ctx, cancel := context.WithTimeout(v.r.Context(), backendTime)
	defer cancel()
	domain := v.r.PathValue("domain")
	if !goodDomain.MatchString(domain) {
		s.fail(v, http.StatusNotFound, "rules.gone")
		return
	}
	r, err := s.cfg.Rules.RulesOf(ctx, domain)
	switch {
	case errors.Is(err, ErrGone):
		s.fail(v, http.StatusNotFound, "rules.gone")
		return
	case err != nil:
		s.cfg.Log.Error("the saved rules of a domain cannot be read", "err", err)
		s.fail(v, http.StatusServiceUnavailable, "others.unreachable")
		return
	}
	body := rulesBody{rulesView: rulesOf(v.voice, r), Path: domain, CanAsk: v.may(retry)}
	for i, mx := range r.MX {
		if i == mxShown {
			body.More = len(r.MX) - i
			break
		}
		body.Servers = append(body.Servers, mx.Cut(120))
	}
	for line := range strings.Lines(string(r.Body)) {
		if len(body.Served) == linesShown {
			body.Served = append(body.Served, "…")
			break
		}
		body.Served = append(body.Served, foreign.Text(strings.TrimRight(line, "\r\n")).Cut(lineRunes))
	}
	body.Facts = rulesFacts(v.voice, r)
	s.show(v, http.StatusOK, "rules", "rules.title", body)
}

// rulesFacts is how the box knows the rules.
func rulesFacts(voice words.Voice, r Rules) []fact {
	f := factList{voice: voice}
	f.strange("rules.record", r.ID)
	if r.SeenID != r.ID {
		f.strange("rules.record-now", r.SeenID)
	}
	f.own("rules.page", "https://mta-sts."+foreign.Text(r.Domain).Cut(120)+"/.well-known/mta-sts.txt")
	f.strange("tech.addr", r.Addr)
	f.own("tech.tls", r.TLSVersion, r.Cipher)
	f.names("tech.cert-names", r.CertNames)
	f.strange("tech.cert-issuer", r.CertIssuer)
	f.at("tech.cert-end", r.CertNotAfter)
	f.own("tech.policy", r.Mode)
	f.at("tech.policy-read", r.Read)
	f.at("tech.policy-end", r.Expires)
	f.at("rules.next", r.Next)
	f.own("tech.reason", r.Trouble)
	f.strange("tech.detail", r.Detail)
	return f.list
}

// reread asks the domain now and says what came of it on its page, or in the
// list when nothing is saved of it.
func (s *Server) reread(v *visit) {
	domain := v.r.PostFormValue("domain")
	if !goodDomain.MatchString(domain) {
		s.leave(v, session.Flash{Key: "flash.failed", Bad: true})
		v.redirect("/others")
		return
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), rereadTime)
	defer cancel()
	got, err := s.cfg.Rules.Reread(ctx, domain)
	f := session.Flash{Domain: domain}
	switch {
	case err != nil:
		s.cfg.Log.Error("the rules of a domain could not be read again", "domain", domain, "err", err)
		f.Key, f.Bad = "flash.reread-failed", true
	case got.Trouble != "" && got.Held:
		f.Key, f.Bad = "flash.reread-kept", true
	case got.Trouble != "":
		f.Key, f.Bad = "flash.reread-nothing", true
	case !got.Held:
		f.Key = "flash.reread-none"
	case got.Changed:
		f.Key = "flash.reread-new"
	default:
		f.Key = "flash.reread-same"
	}
	s.cfg.Log.Info("a person had rules read again", "domain", domain, "result", f.Key, "person", v.session.Person)
	s.leave(v, f)
	next := "/others/" + domain
	if err != nil || !got.Held {
		next = "/others"
	}
	v.redirect(next)
}
