package words

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gatepost/webui/foreign"
)

// Outcomes by which a reason chooses its sentence. Past is for an attempt that
// is over, and Note for a trouble that did not decide the attempt.
const (
	Held     = "held"
	Waiting  = "waiting"
	Returned = "returned"
	Past     = "past"
	Note     = "note"
)

// MaxSentence is the length in characters that a sentence stays under, whatever
// its parameters: a shorter variant is taken instead of a longer one.
const MaxSentence = 220

// Lengths, in characters, to which a stranger's text is cut inside a sentence.
const (
	maxHost  = 60
	maxQuote = 100
)

// Voice speaks one language at one place and time. The zero Zone is UTC.
type Voice struct {
	Book *Book
	Zone *time.Location
	Now  time.Time
}

// Params are what the sentences of reasons can name. Zero fields are "not
// known": the sentence then does without them.
type Params struct {
	Domain   foreign.Text   // the recipient's domain
	MX       foreign.Text   // the server that was asked
	Names    []foreign.Text // names in the certificate
	Rcpt     foreign.Text   // the recipient
	Reply    foreign.Text   // what the server said
	Deadline time.Time      // when we give up
	Next     time.Time      // when we try again
	Date     time.Time      // when the certificate ended, or the rules were read
	Size     int64          // bytes of the message
	Tried    int            // servers asked in one attempt
}

func (p Params) values(v Voice) values {
	vals := values{
		"domain": host(p.Domain), "mx": host(p.MX), "rcpt": p.Rcpt, "reply": p.Reply,
		"names": v.list(p.Names), "deadline": p.Deadline, "date": day(p.Date), "size": bytes(p.Size),
	}
	if p.Domain == "" {
		vals["domain"] = v.Book.texts["some-domain"].plain()
	}
	if p.Next.After(v.Now) {
		vals["next"] = p.Next
	}
	if p.Tried > 1 {
		vals["tried"] = p.Tried
	}
	return vals
}

// list joins at most two names and counts the rest.
func (v Voice) list(names []foreign.Text) foreign.Text {
	var parts []string
	for _, n := range names {
		if len(parts) == 2 {
			break
		}
		parts = append(parts, foreign.Domain(n, maxHost))
	}
	s := strings.Join(parts, ", ")
	if more := len(names) - len(parts); more > 0 {
		s += " +" + strconv.Itoa(more)
	}
	return foreign.Text(s)
}

// Explanation is what a reason says.
type Explanation struct {
	ID       string
	Sentence Text
	Owner    string // who can mend it, in words
	Next     Text   // what that person would do; empty when nothing
}

// Reason explains why a message is where it is. An id that the catalogue does
// not know is explained as "unknown", never as nothing.
func (v Voice) Reason(id, outcome string, p Params) Explanation {
	r, ok := v.Book.reasons[id]
	if !ok {
		id = "unknown"
		r = v.Book.reasons[id]
	}
	variants := r.sentences[outcome]
	for _, other := range []string{Waiting, Held, Returned, Note, Past} {
		if len(variants) == 0 {
			variants = r.sentences[other]
		}
	}
	vals := p.values(v)
	e := Explanation{ID: id, Sentence: v.first(variants, vals), Owner: v.Book.owners[r.owner]}
	if r.next.complete(vals) {
		e.Next = v.fill(r.next, vals)
	}
	return e
}

// Note says what a trouble with a domain's rules means that did not decide the
// attempt. It is empty for an id without such words.
func (v Voice) Note(id string, p Params) Text {
	return v.first(v.Book.reasons[id].sentences[Note], p.values(v))
}

// ProblemText is what a problem of the whole box says.
type ProblemText struct {
	ID       string
	Sentence Text
	Owner    string
	Happens  Text // what the box does by itself
	Do       Text // what a person can do
}

// Problem explains a problem of the whole box. Parameters that are missing or
// unknown are done without. An id that the catalogue does not know is explained
// as "unknown".
func (v Voice) Problem(id string, params map[string]string) ProblemText {
	p, ok := v.Book.problems[id]
	if !ok {
		id = "unknown"
		p = v.Book.problems[id]
	}
	vals := values{}
	for name, s := range params {
		switch name {
		case "count", "percent":
			if n, err := strconv.Atoi(s); err == nil {
				vals[name] = n
			}
		case "domain":
			vals[name] = host(s)
		case "since":
			if t, err := time.Parse(time.RFC3339, s); err == nil {
				vals[name] = t
			}
		default:
			vals[name] = foreign.Text(s)
		}
	}
	return ProblemText{
		ID: id, Owner: v.Book.owners[p.owner], Sentence: v.first(p.sentence, vals),
		Happens: v.first(p.happens, vals), Do: v.first(p.do, vals),
	}
}

// LightText is one row of the legend.
type LightText struct{ ID, Look, Meaning, Do string }

// Light explains a light row; ok is false when there is no such row.
func (v Voice) Light(id string) (t LightText, ok bool) {
	l, ok := v.Book.lights[id]
	return LightText{ID: id, Look: l.look, Meaning: l.meaning, Do: l.do}, ok
}

// Say returns the text of a key, its parameters given as name, value, name,
// value... A value may be a string, int, foreign.Text or time.Time; a "domain"
// or "mx" of a stranger is shown in both forms when it is internationalised. ok is false when the key or
// one of its parameters is missing.
func (v Voice) Say(key string, pairs ...any) (t Text, ok bool) {
	m, ok := v.Book.texts[key]
	vals := values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		name, isName := pairs[i].(string)
		if !isName {
			continue
		}
		vals[name] = pairs[i+1]
		if t, strange := pairs[i+1].(foreign.Text); strange && (name == "domain" || name == "mx") {
			vals[name] = host(t)
		}
	}
	if !ok || !m.complete(vals) {
		return nil, false
	}
	return v.fill(m, vals), true
}

// first takes the most telling variant whose parameters are all given and that
// is short enough; the last one always fits.
func (v Voice) first(variants []message, vals values) Text {
	var t Text
	for _, m := range variants {
		if !m.complete(vals) {
			continue
		}
		t = v.fill(m, vals)
		if utf8.RuneCountInString(t.String()) <= MaxSentence {
			return t
		}
	}
	return t
}

func (v Voice) fill(m message, vals values) Text {
	var t Text
	for _, n := range m {
		switch {
		case n.name == "":
			t = append(t, Piece{Text: n.literal})
		case n.other != nil:
			branch, count := n.other, vals[n.name]
			if count == 1 {
				branch = n.one
			}
			for _, p := range v.fill(branch, vals) {
				if !p.Foreign {
					p.Text = strings.ReplaceAll(p.Text, "#", v.piece(count).Text)
				}
				t = append(t, p)
			}
		default:
			t = append(t, v.piece(vals[n.name]))
		}
	}
	return t
}

func (v Voice) piece(val any) Piece {
	switch val := val.(type) {
	case string:
		return Piece{Text: val}
	case int:
		return Piece{Text: v.Number(int64(val))}
	case host:
		return Piece{Text: foreign.Domain(foreign.Text(val), maxHost), Foreign: true}
	case foreign.Text:
		return Piece{Text: val.Cut(maxQuote), Foreign: true}
	case bytes:
		return Piece{Text: v.Size(int64(val))}
	case time.Time:
		return Piece{Text: v.Time(val), Time: val}
	case day:
		return Piece{Text: v.Day(time.Time(val)), Time: time.Time(val)}
	}
	return Piece{Text: "?"}
}
