package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Engine is what the API serves. All methods may be called at once from many
// goroutines. What the server hands in has been checked for form: ids and
// domains may still be unknown.
type Engine interface {
	Status() Status
	// SelfTest tries what mail needs, quickly, and changes nothing.
	SelfTest() SelfTest
	Messages(MessageQuery) Messages
	Lookup(id string) (Message, bool)
	// Open opens a message as it came in. ErrNotFound when it is gone.
	Open(id string) (io.ReadCloser, error)
	Retry(Retry) int

	// Pause and Resume are idempotent; ErrNotFound for a message that does not
	// wait. Since is filled in by the engine.
	Pause(Pause) error
	Resume(Pause) error
	Pauses() []Pause

	// Return and Delete skip unknown ids; ErrNotFound when none is left.
	Return(Return) (Action, error)
	Delete(Delete) (Action, error)
	// Undo takes an action back. ErrNotFound when it has taken effect.
	Undo(action string) (int, error)
	Actions() []Action

	History(HistoryQuery) ([]Attempt, error)
	Notes(limit int) ([]Note, error)

	// Policies lists every saved policy, sorted by domain.
	Policies() []Policy
	// Policy tells the saved policy of a domain with its evidence, false when
	// none is saved.
	Policy(domain string) (Policy, bool)
	// Check finds out what would become of mail to a domain. It can take a
	// minute.
	Check(ctx context.Context, domain string) (Check, error)
	// RefreshPolicy asks the domain now. An error means that nothing is known.
	RefreshPolicy(ctx context.Context, domain string) (PolicyAnswer, error)

	// Follow calls f for each event until ctx is done. f must not block for
	// long; a follower that is too slow misses lines.
	Follow(ctx context.Context, f func(Line))
}

// Errors of an Engine, each with its status.
var (
	// ErrNotFound says that there is no such message, policy or action (any
	// more): 404.
	ErrNotFound = errors.New("not found")
	// ErrWrong says that the question itself is wrong: 400.
	ErrWrong = errors.New("wrong request")
	// ErrUnavailable says that it cannot be done now: 503. Try again later.
	ErrUnavailable = errors.New("not possible now")
)

// Serve answers requests on l until ctx is done, then closes l. The caller
// opens l with the rights that decide who may ask.
func Serve(ctx context.Context, l net.Listener, e Engine, log *slog.Logger) error {
	srv := &http.Server{
		Handler:           Handler(e),
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Handler is the API without its socket.
func Handler(e Engine) http.Handler {
	mux := http.NewServeMux()
	for _, r := range routes(e) {
		mux.HandleFunc(r.method+" "+r.path, func(w http.ResponseWriter, req *http.Request) {
			req.Body = http.MaxBytesReader(w, req.Body, maxBody)
			r.serve(w, req)
		})
	}
	return mux
}

// route is one entry of the API.
type route struct {
	method, path string
	serve        http.HandlerFunc
}

// routes is the whole API; openapi.json says the same.
func routes(e Engine) []route {
	return []route{
		{"GET", "/openapi.json", serveDescription},
		{"GET", "/v1/status", answer(func(*http.Request) (Status, error) { return e.Status(), nil })},
		{"GET", "/v1/selftest", answer(func(*http.Request) (SelfTest, error) { return e.SelfTest(), nil })},
		{"GET", "/v1/messages", answer(func(r *http.Request) (Messages, error) {
			q, err := messageQuery(r.URL.Query())
			if err != nil {
				return Messages{}, err
			}
			return e.Messages(q), nil
		})},
		{"GET", "/v1/messages/{id}", answer(func(r *http.Request) (Detail, error) { return detail(e, r.PathValue("id")) })},
		{"GET", "/v1/messages/{id}/eml", serveMessage(e)},
		{"POST", "/v1/messages/retry", answer(func(r *http.Request) (Retried, error) {
			q, err := body(r, Retry.check)
			if err != nil {
				return Retried{}, err
			}
			return Retried{Count: e.Retry(q)}, nil
		})},
		{"POST", "/v1/messages/return", answer(func(r *http.Request) (Action, error) {
			q, err := body(r, Return.check)
			if err != nil {
				return Action{}, err
			}
			return e.Return(q)
		})},
		{"POST", "/v1/messages/delete", answer(func(r *http.Request) (Action, error) {
			q, err := body(r, Delete.check)
			if err != nil {
				return Action{}, err
			}
			return e.Delete(q)
		})},
		{"GET", "/v1/actions", answer(func(*http.Request) (Actions, error) { return Actions{list(e.Actions())}, nil })},
		{"POST", "/v1/actions/{id}/undo", answer(func(r *http.Request) (Undone, error) {
			n, err := e.Undo(r.PathValue("id"))
			return Undone{Count: n}, err
		})},
		{"GET", "/v1/pauses", answer(func(*http.Request) (Pauses, error) { return Pauses{list(e.Pauses())}, nil })},
		{"POST", "/v1/pauses/pause", answer(func(r *http.Request) (Pauses, error) { return stop(e, r, e.Pause) })},
		{"POST", "/v1/pauses/resume", answer(func(r *http.Request) (Pauses, error) { return stop(e, r, e.Resume) })},
		{"GET", "/v1/trace", answer(func(r *http.Request) (Trace, error) { return trace(e, r) })},
		{"GET", "/v1/history", serveHistory(e)},
		{"GET", "/v1/notes", answer(func(r *http.Request) (Notes, error) {
			limit, err := pageLimit(r.URL.Query())
			if err != nil {
				return Notes{}, err
			}
			notes, err := e.Notes(limit)
			return Notes{list(notes)}, err
		})},
		{"GET", "/v1/policies", answer(func(r *http.Request) (Policies, error) { return policies(e, r) })},
		{"GET", "/v1/policies/{domain}", answer(func(r *http.Request) (Policy, error) { return policy(e, r.PathValue("domain")) })},
		{"POST", "/v1/policies/{domain}/refresh", answer(func(r *http.Request) (PolicyAnswer, error) { return refresh(e, r) })},
		{"POST", "/v1/check/{domain}", answer(func(r *http.Request) (Check, error) { return check(e, r) })},
		{"GET", "/v1/events", serveEvents(e)},
	}
}
