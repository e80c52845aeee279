package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Engine is what the API serves. All methods may be called at once from many
// goroutines.
type Engine interface {
	Status() Status
	// Messages lists at most limit waiting messages after skipping offset.
	Messages(offset, limit int) Messages
	// Message opens a message as it came in. ErrNotFound when it is gone.
	Message(id string) (io.ReadCloser, error)
	Retry(ids []string) int
	Policies() Policies
	// Follow calls f for each event until ctx is done. f must not block for
	// long; a follower that is too slow misses lines.
	Follow(ctx context.Context, f func(Line))
}

// ErrNotFound says that there is no such message (any more).
var ErrNotFound = errors.New("no such message")

const (
	maxBody     = 1 << 20
	defaultPage = 100
	maxPage     = 1000
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
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { reply(w, e.Status()) })
	mux.HandleFunc("GET /v1/policies", func(w http.ResponseWriter, _ *http.Request) { reply(w, e.Policies()) })
	mux.HandleFunc("GET /v1/messages", func(w http.ResponseWriter, r *http.Request) {
		offset, err1 := number(r, "offset", 0)
		limit, err2 := number(r, "limit", defaultPage)
		if err := errors.Join(err1, err2); err != nil {
			fail(w, http.StatusBadRequest, err)
			return
		}
		reply(w, e.Messages(offset, min(limit, maxPage)))
	})
	mux.HandleFunc("GET /v1/messages/{id}/eml", func(w http.ResponseWriter, r *http.Request) {
		body, err := e.Message(r.PathValue("id"))
		if err != nil {
			status := http.StatusInternalServerError
			if errors.Is(err, ErrNotFound) {
				status = http.StatusNotFound
			}
			fail(w, status, err)
			return
		}
		defer body.Close()
		w.Header().Set("Content-Type", "message/rfc822")
		// A read error in the middle must not look like the end of the message.
		if _, err := io.Copy(w, body); err != nil {
			panic(http.ErrAbortHandler)
		}
	})
	mux.HandleFunc("POST /v1/messages/retry", func(w http.ResponseWriter, r *http.Request) {
		var q Retry
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		d.DisallowUnknownFields()
		if err := d.Decode(&q); err != nil {
			fail(w, http.StatusBadRequest, err)
			return
		}
		reply(w, Retried{Count: e.Retry(q.IDs)})
	})
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.WriteHeader(http.StatusOK)
		rc.Flush()
		enc := json.NewEncoder(w)
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		e.Follow(ctx, func(l Line) {
			if enc.Encode(l) != nil || rc.Flush() != nil {
				cancel()
			}
		})
	})
	return mux
}

func number(r *http.Request, key string, absent int) (int, error) {
	s := r.URL.Query().Get(key)
	if s == "" {
		return absent, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, errors.New(key + " is not a number")
	}
	return n, nil
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	// The status is sent with the first byte: a client that left is all that
	// can go wrong after it.
	_ = json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(Problem{Error: err.Error()})
}
