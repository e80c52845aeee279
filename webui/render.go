package webui

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"time"

	"gatepost/webui/foreign"
	"gatepost/webui/session"
	"gatepost/webui/words"
)

//go:embed templates/*.html
var templateFiles embed.FS

// parsePages parses each page together with the layout and its parts. No
// template gets a function that turns text into HTML.
func parsePages() (map[string]*template.Template, error) {
	base, err := template.New("layout.html").Funcs(template.FuncMap{"stamp": stamp}).
		ParseFS(templateFiles, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, fmt.Errorf("webui: %w", err)
	}
	pages := map[string]*template.Template{}
	for _, name := range []string{
		"check", "claim", "confirm", "continue", "end", "ending", "error", "find", "home", "login", "message", "original", "others", "owner", "rules",
		"status", "system", "waiting",
	} {
		t, err := base.Clone()
		if err == nil {
			t, err = t.ParseFS(templateFiles, "templates/"+name+".html")
		}
		if err != nil {
			return nil, fmt.Errorf("webui: %w", err)
		}
		pages[name] = t
	}
	return pages, nil
}

// stamp is the form of a time for machines.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// page is what the layout shows.
type page struct {
	Voice     words.Voice
	CSS, Icon string
	Title     string
	Nav       string // the menu entry that is this page
	Person    string // "" when nobody is logged in
	Finds     bool   // there is a page for finding mail
	System    bool   // there is a page for the box itself
	Rules     bool   // there is a page of saved rules
	Flash     *flashView
	Body      any
}

type flashView struct {
	Text words.Text
	Bad  bool
	Undo string // id of the action that can be taken back
}

// T is a text of the catalogue, for places that take plain text only.
func (p page) T(key string, pairs ...any) (string, error) {
	t, err := p.S(key, pairs...)
	return t.String(), err
}

// S is a text of the catalogue in pieces, for the "say" template. A missing key
// or parameter is an error, which the tests of every page find.
func (p page) S(key string, pairs ...any) (words.Text, error) {
	t, ok := p.Voice.Say(key, pairs...)
	if !ok {
		return nil, fmt.Errorf("webui: no text %q in %q for %v", key, p.Voice.Book.Lang, pairs)
	}
	return t, nil
}

// With pairs a value with the page, for templates inside a range.
func (p page) With(v any) pair { return pair{P: p, V: v} }

type pair struct {
	P page
	V any
}

// show renders a page whole before the first byte is sent.
func (s *Server) show(v *visit, status int, name, titleKey string, body any) {
	title, _ := v.voice.Say(titleKey)
	p := page{
		Voice: v.voice, CSS: s.assets.CSS, Icon: s.assets.Icon,
		Title: title.String(), Nav: name, Person: v.session.Person,
		Finds: s.has(queue), Rules: s.has(rules), System: s.has(system), Body: body,
	}
	if v.token != "" && status == http.StatusOK {
		if f, ok := s.sessions.TakeFlash(v.token); ok {
			p.Flash = flashOf(v.voice, f)
		}
	}
	var b bytes.Buffer
	if err := s.pages[name].Execute(&b, p); err != nil {
		s.cfg.Log.Error("a page could not be made", "page", name, "err", err)
		http.Error(v.w, "This page could not be made. The mail is not affected.", http.StatusInternalServerError)
		return
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", v.voice.Book.Lang)
	out := b.Bytes()
	// Compression is safe: no page repeats a request and a secret together.
	if takesGzip(v.r) && len(out) > 1000 {
		h.Set("Content-Encoding", "gzip")
		out = compress(out)
	}
	h.Set("Content-Length", strconv.Itoa(len(out)))
	v.w.WriteHeader(status)
	if v.r.Method != http.MethodHead {
		v.w.Write(out)
	}
}

func flashOf(voice words.Voice, f session.Flash) *flashView {
	t, ok := voice.Say(f.Key, "count", f.Count, "domain", foreign.Text(f.Domain))
	if !ok {
		return nil
	}
	return &flashView{Text: t, Bad: f.Bad, Undo: f.Undo}
}

// fail shows an error page, which repeats nothing of the request.
func (s *Server) fail(v *visit, status int, key string) {
	s.show(v, status, "error", "error.title", key)
}

// Number writes a number of the page.
func (p page) Number(n int) string { return p.Voice.Number(int64(n)) }

// Zone names the time zone of the page's times.
func (p page) Zone() string { return p.Voice.ZoneName() }
