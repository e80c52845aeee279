package webui

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"gatepost/webui/foreign"
	"gatepost/webui/words"
)

// Bounds of the page of one message.
const (
	recipientsShown = 25
	triesPerPage    = 20
)

// messageBody is one message and its way.
type messageBody struct {
	ID, Subject, From, Size string
	From0                   bool
	Gone                    bool // it waits no more
	Ended                   words.Text
	Now                     []recipientView
	More                    int // recipients that are not shown
	Buttons                 buttons
	Read                    bool // the person may download the message itself
	Came                    storyStep
	Steps                   []storyStep // the oldest first
	Earlier, Later          string      // links
	Evidence                *evidenceView
	EvidenceOf              words.Text
	Envelope                []fact
}

// recipientView says how the mail to one recipient stands.
type recipientView struct {
	To string
	state
}

// readDetail reads what is known of the message that the path names, and
// answers itself when that is nothing.
func (s *Server) readDetail(v *visit) (id string, d Detail, ok bool) {
	ctx, cancel := context.WithTimeout(v.r.Context(), backendTime)
	defer cancel()
	id = v.r.PathValue("id")
	if !goodID.MatchString(id) {
		s.fail(v, http.StatusNotFound, "message.none")
		return "", Detail{}, false
	}
	d, err := s.cfg.Queue.MessageDetail(ctx, id)
	switch {
	case errors.Is(err, ErrGone) || err == nil && len(d.Open)+len(d.History) == 0 && d.Ended == nil:
		s.fail(v, http.StatusNotFound, "message.none")
	case err != nil:
		s.cfg.Log.Error("the way of a message cannot be read", "id", id, "err", err)
		s.fail(v, http.StatusServiceUnavailable, "message.unreachable")
	default:
		return id, d, true
	}
	return "", Detail{}, false
}

func (s *Server) message(v *visit) {
	id, d, ok := s.readDetail(v)
	if !ok {
		return
	}
	query := v.r.URL.Query()
	page, _ := strconv.Atoi(query.Get("page"))
	s.show(v, http.StatusOK, "message", "message.title", s.messageView(v, id, d, page, query.Get("try")))
}

func (s *Server) messageView(v *visit, id string, d Detail, page int, try string) messageBody {
	voice := v.voice
	body := messageBody{ID: id, Gone: len(d.Open) == 0, Came: cameStep(voice, d), Envelope: envelopeFacts(voice, id, d)}
	if !body.Gone {
		m := d.Open[0]
		body.Subject, body.From, body.From0, body.Size = m.Subject.Cut(200), m.From.Cut(120), m.From == "", voice.Size(m.Size)
		body.Buttons = s.buttonsFor(v, m, "", 1)
		body.Read = v.may(mail)
	}
	if d.Ended != nil {
		body.Ended = endedText(voice, *d.Ended)
	}
	body.Now, body.More = recipients(voice, d)

	tries := triesOf(d.History)
	shown, page, pages := slice(tries, page, triesPerPage)
	link := "/message/" + id + "?page="
	if page > 1 {
		body.Later = link + strconv.Itoa(page-1)
	}
	if page < pages {
		body.Earlier = link + strconv.Itoa(page+1)
	}
	for i := len(shown) - 1; i >= 0; i-- {
		step := tryStep(voice, shown[i])
		step.Link = link + strconv.Itoa(page) + "&try=" + shown[i].ID + "#evidence"
		body.Steps = append(body.Steps, step)
	}
	if len(tries) > 0 {
		t := tries[0]
		if i := slices.IndexFunc(tries, func(t tryOf) bool { return t.ID == try }); i >= 0 {
			t = tries[i]
		}
		e := evidenceOf(voice, t.Attempt, t.Evidence)
		body.Evidence, body.EvidenceOf = &e, text(voice, "message.evidence-of", "when", t.Attempt.Time)
		for i := range body.Steps {
			body.Steps[i].Chosen = body.Steps[i].ID == t.ID
		}
	}
	return body
}

// recipients says how the mail to each recipient stands: those that wait, then
// those whose last attempt ended it.
func recipients(voice words.Voice, d Detail) (list []recipientView, more int) {
	seen := map[foreign.Text]bool{}
	add := func(to foreign.Text, st func() state) {
		if seen[to] {
			return
		}
		seen[to] = true
		if len(list) == recipientsShown {
			more++
			return
		}
		list = append(list, recipientView{To: to.Cut(120), state: st()})
	}
	for _, m := range d.Open {
		add(m.To, func() state { return standing(voice, m, 1) })
	}
	for _, r := range newestFirst(d.History) {
		m := Message{To: r.To, Domain: domainOf(r.To), Last: r.Attempt}
		add(r.To, func() state {
			if st := stateOf(r.Attempt.Outcome); st == "fine" || st == "returned" {
				return decided(voice, m)
			}
			if d.Ended != nil {
				return state{State: "returned", Sentence: endedText(voice, *d.Ended)}
			}
			return state{State: "waiting", Sentence: text(voice, "story.end-unknown")}
		})
	}
	return list, more
}

// newestFirst returns the rows sorted, never nil.
func newestFirst(rows []AttemptRow) []AttemptRow {
	out := append([]AttemptRow{}, rows...)
	slices.SortStableFunc(out, func(a, b AttemptRow) int { return b.Attempt.Time.Compare(a.Attempt.Time) })
	return out
}

// envelopeFacts are the technical facts of how the message came in.
func envelopeFacts(voice words.Voice, id string, d Detail) []fact {
	f := factList{voice: voice}
	f.own("tech.id", id)
	if len(d.Open) == 0 {
		return f.list
	}
	f.at("tech.received", d.Open[0].Received)
	f.strange("tech.client", d.Client)
	f.strange("tech.hello", d.Hello)
	f.own("tech.came-tls", d.TLS)
	f.strange("tech.user", d.User)
	f.own("tech.trace", d.TraceID)
	if d.RequireTLS {
		f.own("tech.wish", "REQUIRETLS (RFC 8689)")
	}
	return f.list
}

// evidenceFile is the form of the downloaded evidence. It leaves out subject
// and sender: it is made to be given to others.
type evidenceFile struct {
	ID       string       `json:"id"`
	Made     time.Time    `json:"made"`
	Received time.Time    `json:"received,omitzero"`
	Client   foreign.Text `json:"client,omitempty"`
	Hello    foreign.Text `json:"hello,omitempty"`
	TLS      string       `json:"tls,omitempty"`
	Attempts []AttemptRow `json:"attempts"`
}

// evidence sends all that is known of a message's attempts as JSON.
func (s *Server) evidence(v *visit) {
	id, d, ok := s.readDetail(v)
	if !ok {
		return
	}
	f := evidenceFile{ID: id, Made: v.voice.Now.UTC(), Client: d.Client, Hello: d.Hello, TLS: d.TLS, Attempts: newestFirst(d.History)}
	if len(d.Open) > 0 {
		f.Received = d.Open[0].Received
	}
	out, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		s.cfg.Log.Error("the evidence could not be written", "id", id, "err", err)
		s.fail(v, http.StatusInternalServerError, "message.unreachable")
		return
	}
	v.download("gatepost-"+id+".json", "application/json")
	v.w.Write(append(out, '\n'))
}

// download sets the headers of an answer that is a file. The name holds letters,
// digits, "_", "-" and "." only.
func (v *visit) download(name, kind string) {
	h := v.w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
}
