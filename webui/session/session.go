// Package session knows who is logged in: sessions, passwords, the owner
// record, the claim code of a box without an owner, and the slowing down of
// people who guess.
//
// It speaks no HTTP. Tokens are random and only their SHA-256 is kept, so that
// a look into memory or a file yields nothing that can be used. Durations are
// measured with the monotonic clock that time.Now carries: setting the box's
// clock ends no session.
package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sync"
	"time"
)

// How long a session lasts.
const (
	Idle     = 60 * time.Minute // without a request
	Lifetime = 12 * time.Hour   // altogether
)

// maxSessions bounds the store. The session that has been idle longest makes
// room for a new one, so that nobody can be locked out by many logins.
const maxSessions = 64

// Session is one browser that is logged in.
type Session struct {
	Person  string
	Created time.Time
	Seen    time.Time
	Address string // of the browser at login
}

// Flash is a message that the next page shows once. Key is a text of the
// catalogue.
type Flash struct {
	Key    string
	Count  int
	Domain string // of the text; may hold a stranger's text
	Bad    bool
	Undo   string // id of a pending action that can be taken back, "" for none
}

type key [sha256.Size]byte

type entry struct {
	Session
	flash *Flash
}

// Store holds the sessions in memory. It is safe for concurrent use; the zero
// value is not valid, use NewStore.
type Store struct {
	now func() time.Time

	mu       sync.Mutex
	sessions map[key]*entry
}

// NewStore returns an empty store. A nil now is time.Now.
func NewStore(now func() time.Time) *Store {
	if now == nil {
		now = time.Now
	}
	return &Store{now: now, sessions: map[key]*entry{}}
}

// NewToken returns 256 random bits, URL-safe.
func NewToken() string {
	var b [32]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func keyOf(token string) key { return sha256.Sum256([]byte(token)) }

// Begin starts a session and returns its token, which is known to the browser
// alone from here on.
func (s *Store) Begin(person, address string) (token string) {
	token = NewToken()
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	for len(s.sessions) >= maxSessions {
		var oldest key
		var seen time.Time
		for k, e := range s.sessions {
			if seen.IsZero() || e.Seen.Before(seen) {
				oldest, seen = k, e.Seen
			}
		}
		delete(s.sessions, oldest)
	}
	s.sessions[keyOf(token)] = &entry{Session: Session{Person: person, Created: now, Seen: now, Address: address}}
	return token
}

// Find returns the session of a token and counts as a request.
func (s *Store) Find(token string) (Session, bool) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(token, now)
	if e == nil {
		return Session{}, false
	}
	e.Seen = now
	return e.Session, true
}

// End ends one session. An unknown token is no error.
func (s *Store) End(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, keyOf(token))
}

// SetFlash leaves a message for the session's next page. It replaces an older
// one; an unknown token is no error.
func (s *Store) SetFlash(token string, f Flash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.find(token, s.now()); e != nil {
		e.flash = &f
	}
}

// TakeFlash returns the message that was left and removes it.
func (s *Store) TakeFlash(token string) (Flash, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(token, s.now())
	if e == nil || e.flash == nil {
		return Flash{}, false
	}
	f := *e.flash
	e.flash = nil
	return f, true
}

func (s *Store) find(token string, now time.Time) *entry {
	e := s.sessions[keyOf(token)]
	if e == nil || over(e, now) {
		return nil
	}
	return e
}

func over(e *entry, now time.Time) bool {
	return now.Sub(e.Seen) >= Idle || now.Sub(e.Created) >= Lifetime
}

func (s *Store) sweep(now time.Time) {
	for k, e := range s.sessions {
		if over(e, now) {
			delete(s.sessions, k)
		}
	}
}
