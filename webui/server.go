package webui

import (
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/webui/session"
	"gatepost/webui/words"
)

// Config is what a Server needs. Backend is required; every other field has a
// useful zero value.
type Config struct {
	Backend Backend
	// Queue does things with waiting mail and tells the way of a message. nil
	// takes these pages and actions away.
	Queue QueueBackend
	// System looks after the box itself. nil takes that page away.
	System SystemBackend
	// Rules tells the saved rules of other domains. nil takes their pages away.
	Rules RulesBackend
	// Data is the directory of the owner record (owner.json). nil means that the
	// storage is missing: the page then shows the state of the box and nothing
	// else, and cannot be claimed. The caller closes it after the last request.
	Data *os.Root
	// Hosts returns the names and addresses by which the box may be called, now.
	// It is asked on every request and must be quick. "localhost",
	// "gatepost.local" and loopback addresses are always allowed. Ports are
	// ignored.
	Hosts func() []string
	// ShowCode is called once, in New, with the claim code "XXXXX-XXXXX" when the
	// box has no owner. Who can read where it is shown can own the box.
	ShowCode func(code string)
	// Certificate returns what identifies the certificate on the claim page: its
	// SHA-256 fingerprint, and four words. nil or "" leaves them out.
	Certificate func() (fingerprint, fourWords string)
	// Press tells whether the box has a button, and the number of its last long
	// press while that counts as presence, else 0; numbers count up. nil: no
	// button. It must be quick.
	Press func() (number int, has bool)
	// Zone is the office's time zone; nil is UTC.
	Zone *time.Location
	Now  func() time.Time // nil: time.Now
	Log  *slog.Logger     // nil: discard
}

// Server holds sessions, the owner and the routes. It is safe for concurrent
// use and starts nothing.
type Server struct {
	cfg      Config
	books    map[string]*words.Book
	pages    map[string]*template.Template
	assets   assets
	sessions *session.Store
	hasher   *session.Hasher
	backoff  *session.Backoff
	claim    *session.Claim

	mux atomic.Pointer[http.ServeMux] // of the mode in force

	claiming sync.Mutex // held while an owner is made
	owner    atomic.Pointer[session.Owner]
}

// New reads the owner record and makes a claim code when there is none. An
// error means that the program itself is broken: a missing or unreadable
// storage is no error but a page that says so.
func New(cfg Config) (*Server, error) {
	if cfg.Backend == nil {
		return nil, errors.New("webui: no backend")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg: cfg, books: map[string]*words.Book{},
		sessions: session.NewStore(cfg.Now), hasher: session.NewHasher(), backoff: session.NewBackoff(cfg.Now),
	}
	for _, lang := range words.Languages() {
		b, err := words.Load(lang)
		if err != nil {
			return nil, err
		}
		s.books[lang] = b
	}
	var err error
	if s.assets, err = newAssets(); err != nil {
		return nil, err
	}
	if s.pages, err = parsePages(); err != nil {
		return nil, err
	}
	m := s.readOwner()
	if m == unclaimed {
		s.claim = session.NewClaim(cfg.Now)
		if cfg.ShowCode != nil {
			cfg.ShowCode(s.claim.Code())
		}
	}
	s.mux.Store(s.newMux(m))
	return s, nil
}

// readOwner decides the mode. Only a directory that surely holds no record can
// be claimed.
func (s *Server) readOwner() mode {
	if s.cfg.Data == nil {
		s.cfg.Log.Error("the admin page has no storage: nobody can log in")
		return lame
	}
	o, err := session.LoadOwner(s.cfg.Data)
	switch {
	case errors.Is(err, session.ErrNoOwner):
		return unclaimed
	case err != nil:
		s.cfg.Log.Error("the owner record cannot be read: nobody can log in", "err", err)
		return lame
	}
	s.owner.Store(&o)
	return claimed
}

// Claimed reports whether the box has an owner.
func (s *Server) Claimed() bool { return s.owner.Load() != nil }

// Handler returns the whole page, guards included. It expects TLS in front.
func (s *Server) Handler() http.Handler {
	return s.guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mux.Load().ServeHTTP(w, r)
	}))
}
