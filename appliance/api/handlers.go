package api

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
)

// description is the OpenAPI document of this API.
//
//go:embed openapi.json
var description []byte

func serveDescription(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(description) // a client that left is all that can go wrong
}

// answer serves what ask returns, or its error with the status that fits.
func answer[T any](ask func(*http.Request) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := ask(r)
		if err != nil {
			fail(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		// The status is sent with the first byte: a client that left is all that
		// can go wrong after it.
		_ = json.NewEncoder(w).Encode(v)
	}
}

func fail(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	var bad badRequest
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		status = http.StatusRequestEntityTooLarge
	case errors.As(err, &bad), errors.Is(err, ErrWrong):
		status = http.StatusBadRequest
	case errors.Is(err, ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, ErrUnavailable):
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(Problem{Error: err.Error()})
}

// list turns nil into an empty list, so that programs always find one.
func list[T any](have []T) []T {
	if have == nil {
		return []T{}
	}
	return have
}

// maxDetail is how many attempts are told of one message.
const maxDetail = 1000

func detail(e Engine, id string) (Detail, error) {
	if !validID(id) {
		return Detail{}, badRequest("this is no id of a message")
	}
	history, err := e.History(HistoryQuery{ID: id, Limit: maxDetail})
	if err != nil {
		return Detail{}, err
	}
	d := Detail{History: list(history)}
	if m, ok := e.Lookup(id); ok {
		d.Message = &m
	}
	if d.Message == nil && len(history) == 0 {
		return Detail{}, ErrNotFound
	}
	return d, nil
}

func serveMessage(e Engine) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		eml, err := e.Open(r.PathValue("id"))
		if err != nil {
			fail(w, err)
			return
		}
		defer eml.Close()
		w.Header().Set("Content-Type", "message/rfc822")
		// A read error in the middle must not look like the end of the message.
		if _, err := io.Copy(w, eml); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// stop pauses or resumes and tells what is stopped then.
func stop(e Engine, r *http.Request, do func(Pause) error) (Pauses, error) {
	p, err := body(r, Pause.check)
	if err != nil {
		return Pauses{}, err
	}
	if err := do(p); err != nil {
		return Pauses{}, err
	}
	return Pauses{list(e.Pauses())}, nil
}

// maxTraced is how many waiting messages a trace tells.
const maxTraced = 100

// trace joins what waits and what was tried for an address or for one message.
func trace(e Engine, r *http.Request) (Trace, error) {
	q, err := historyQuery(r.URL.Query(), "id", "address", "since", "until", "after", "limit")
	if err != nil {
		return Trace{}, err
	}
	if (q.ID == "") == (q.Address == "") {
		return Trace{}, badRequest("give an id or an address, and not both")
	}
	q.Limit = cmp.Or(q.Limit, defaultPage)
	t := Trace{Waiting: []Message{}}
	if q.After == 0 {
		t.Waiting = list(tracedWaiting(e, q))
	}
	t.Attempts, err = e.History(q)
	if err != nil {
		return Trace{}, err
	}
	if len(t.Attempts) == q.Limit {
		t.Next = t.Attempts[q.Limit-1].Seq
	}
	t.Attempts = list(t.Attempts)
	return t, nil
}

func tracedWaiting(e Engine, q HistoryQuery) []Message {
	if q.ID != "" {
		if m, ok := e.Lookup(q.ID); ok {
			return []Message{m}
		}
		return nil
	}
	// Two questions, since one message must not fit both: mail to the address,
	// and mail from it.
	out := e.Messages(MessageQuery{Rcpt: q.Address, Newest: true, Limit: maxTraced}).Messages
	for _, m := range e.Messages(MessageQuery{From: q.Address, Newest: true, Limit: maxTraced}).Messages {
		if len(out) < maxTraced && !slices.ContainsFunc(out, func(o Message) bool { return o.ID == m.ID }) {
			out = append(out, m)
		}
	}
	return out
}

// serveHistory writes every attempt that fits as a line of JSON, the newest
// first, however many there are.
func serveHistory(e Engine) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q, err := historyQuery(r.URL.Query(), "id", "from", "rcpt", "domain", "address", "since", "until")
		if err != nil {
			fail(w, err)
			return
		}
		q.Limit = maxPage
		page, err := e.History(q)
		if err != nil {
			fail(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		enc := json.NewEncoder(w)
		for {
			for _, a := range page {
				if enc.Encode(a) != nil {
					return
				}
			}
			if len(page) < q.Limit || page[len(page)-1].Seq == 0 || r.Context().Err() != nil {
				return
			}
			q.After = page[len(page)-1].Seq
			if page, err = e.History(q); err != nil {
				panic(http.ErrAbortHandler) // must not look like the end
			}
		}
	}
}

func policies(e Engine, r *http.Request) (Policies, error) {
	v := r.URL.Query()
	limit, err := pageLimit(v)
	if err == nil {
		err = onlyKeys(v, "after", "limit", "domain", "trouble")
	}
	if err != nil {
		return Policies{}, err
	}
	all := e.Policies()
	out := Policies{Total: len(all), Policies: []Policy{}}
	part := strings.ToLower(v.Get("domain"))
	for _, p := range all {
		if p.Domain <= v.Get("after") || !strings.Contains(p.Domain, part) || v.Has("trouble") && p.Trouble == "" {
			continue
		}
		if len(out.Policies) == limit {
			out.Next = out.Policies[limit-1].Domain
			break
		}
		out.Policies = append(out.Policies, p)
	}
	return out, nil
}

func policy(e Engine, domain string) (Policy, error) {
	p, ok := e.Policy(domain)
	if !ok {
		return Policy{}, ErrNotFound
	}
	return p, nil
}

func refresh(e Engine, r *http.Request) (PolicyAnswer, error) {
	domain := r.PathValue("domain")
	if len(domain) > maxDomain {
		return PolicyAnswer{}, badRequest("this is no domain")
	}
	return e.RefreshPolicy(r.Context(), domain)
}

func check(e Engine, r *http.Request) (Check, error) {
	domain := r.PathValue("domain")
	if len(domain) > maxDomain {
		return Check{}, badRequest("this is no domain")
	}
	return e.Check(r.Context(), domain)
}

func serveEvents(e Engine) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.WriteHeader(http.StatusOK)
		_ = rc.Flush()
		enc := json.NewEncoder(w)
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		e.Follow(ctx, func(l Line) {
			if enc.Encode(l) != nil || rc.Flush() != nil {
				cancel()
			}
		})
	}
}
