// Package words is the catalogue of what the page says: a sentence, an owner
// and a next step for every reason and problem, the meaning of every light, and
// the plain texts of the screens, in each language.
//
// A message is text with typed parameters, "{domain} takes messages up to
// {limit}". It is never glued together from pieces. The words name who must
// act and say what happens by itself; technical terms stay out of them.
//
// The package decides nothing and knows no mail machine: ids are strings. It
// imports only webui/foreign.
package words

import (
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

//go:embed en.json de.json
var files embed.FS

// Languages lists the languages there are; the first is the fallback.
func Languages() []string { return []string{"en", "de"} }

// Book is the catalogue in one language. It never changes after loading.
type Book struct {
	Lang string

	texts    map[string]message
	owners   map[string]string
	reasons  map[string]reason
	problems map[string]problem
	lights   map[string]light
	calendar calendar
}

type reason struct {
	owner string
	// sentences by outcome ("held", "waiting", "returned", "past", "note"), most
	// telling variant first.
	sentences map[string][]message
	next      message
}

type problem struct {
	owner                 string
	sentence, happens, do []message
}

type light struct{ look, meaning, do string }

// ReasonIDs lists every reason of the catalogue in order.
func (b *Book) ReasonIDs() []string { return slices.Sorted(maps.Keys(b.reasons)) }

// ProblemIDs lists every problem of the catalogue in order.
func (b *Book) ProblemIDs() []string { return slices.Sorted(maps.Keys(b.problems)) }

// LightIDs lists every light row of the catalogue, most urgent first.
func (b *Book) LightIDs() []string {
	order := []string{
		"dead", "booting", "held", "disk-full", "backlog", "rolled-back", "no-network", "update-ready", "mail", "healthy", "night",
		"updating", "find", "button-nothing", "button-password", "button-reset",
	}
	return slices.DeleteFunc(order, func(id string) bool { _, ok := b.lights[id]; return !ok })
}

// load reads every language once.
var load = sync.OnceValues(func() (map[string]*Book, error) {
	books := make(map[string]*Book)
	for _, lang := range Languages() {
		data, err := files.ReadFile(lang + ".json")
		if err != nil {
			return nil, err
		}
		b, err := parse(lang, data)
		if err != nil {
			return nil, fmt.Errorf("words: %s.json: %w", lang, err)
		}
		books[lang] = b
	}
	return books, nil
})

// Load returns the book of a language, or of the fallback when there is none
// of that name. An error means that the catalogue in the program is broken.
func Load(lang string) (*Book, error) {
	books, err := load()
	if err != nil {
		return nil, err
	}
	if b, ok := books[lang]; ok {
		return b, nil
	}
	return books[Languages()[0]], nil
}

// Match picks the best language for an Accept-Language header (RFC 9110,
// Section 12.5.4). Quality values are taken as an order: browsers list their
// languages best first. Only the first 10 are looked at.
func Match(acceptLanguage string) string {
	for i, part := range strings.SplitN(acceptLanguage, ",", 11) {
		tag, weight, _ := strings.Cut(part, ";")
		if i == 10 || strings.TrimSpace(weight) == "q=0" {
			continue
		}
		base, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
		if slices.Contains(Languages(), base) {
			return base
		}
	}
	return Languages()[0]
}

// file is the form of a language's JSON file.
type file struct {
	Calendar calendar          `json:"calendar"`
	Owners   map[string]string `json:"owners"`
	Reasons  map[string]struct {
		Owner    string   `json:"owner"`
		Held     []string `json:"held"`
		Waiting  []string `json:"waiting"`
		Returned []string `json:"returned"`
		Past     []string `json:"past"`
		Note     []string `json:"note"`
		Next     string   `json:"next"`
	} `json:"reasons"`
	Problems map[string]struct {
		Owner    string   `json:"owner"`
		Sentence []string `json:"sentence"`
		Happens  []string `json:"happens"`
		Do       []string `json:"do"`
	} `json:"problems"`
	Lights map[string]struct {
		Look    string `json:"look"`
		Meaning string `json:"meaning"`
		Do      string `json:"do"`
	} `json:"lights"`
	Texts map[string]string `json:"texts"`
}

func parse(lang string, data []byte) (*Book, error) {
	var f file
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return nil, err
	}
	b := &Book{
		Lang: lang, calendar: f.Calendar, owners: f.Owners,
		texts: map[string]message{}, reasons: map[string]reason{},
		problems: map[string]problem{}, lights: map[string]light{},
	}
	var failed error
	compile := func(where string, in ...string) []message {
		var out []message
		for _, s := range in {
			m, err := parseMessage(s)
			if err != nil && failed == nil {
				failed = fmt.Errorf("%s: %w", where, err)
			}
			out = append(out, m)
		}
		return out
	}
	for id, r := range f.Reasons {
		b.reasons[id] = reason{
			owner: r.Owner,
			sentences: map[string][]message{
				Held: compile(id, r.Held...), Waiting: compile(id, r.Waiting...),
				Returned: compile(id, r.Returned...), Past: compile(id, r.Past...), Note: compile(id, r.Note...),
			},
			next: compile(id, r.Next)[0],
		}
	}
	for id, p := range f.Problems {
		b.problems[id] = problem{
			owner:    p.Owner,
			sentence: compile(id, p.Sentence...), happens: compile(id, p.Happens...), do: compile(id, p.Do...),
		}
	}
	for id, l := range f.Lights {
		b.lights[id] = light{look: l.Look, meaning: l.Meaning, do: l.Do}
	}
	for key, t := range f.Texts {
		b.texts[key] = compile(key, t)[0]
	}
	return b, failed
}

// TextKeys lists the keys of the screens' texts in order.
func (b *Book) TextKeys() []string { return slices.Sorted(maps.Keys(b.texts)) }
