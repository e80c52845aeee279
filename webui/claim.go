package webui

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gatepost/webui/session"
	"gatepost/webui/words"
)

type claimBody struct {
	Trouble            words.Text
	Fingerprint, Words string
	// Button is true where the box has one, Pressed for a minute after it was
	// held: then no code is needed.
	Button, Pressed bool
}

func (s *Server) toClaim(v *visit) { v.redirect("/claim") }

func (s *Server) claimPage(v *visit) { s.showClaim(v, http.StatusOK, nil) }

func (s *Server) showClaim(v *visit, status int, trouble words.Text) {
	body := claimBody{Trouble: trouble}
	if s.cfg.Press != nil {
		n, has := s.cfg.Press()
		body.Button, body.Pressed = has, n > 0
	}
	if s.cfg.Certificate != nil {
		body.Fingerprint, body.Words = s.cfg.Certificate()
	}
	s.show(v, status, "claim", "claim.title", body)
}

// claimPress gives this browser the ticket of the button's press, if it is the
// first to ask.
func (s *Server) claimPress(v *visit) {
	n, ticket := 0, ""
	if s.cfg.Press != nil {
		n, _ = s.cfg.Press()
		ticket = s.claim.TryPress(n)
	}
	if ticket == "" {
		key := "claim.press-over"
		if n > 0 {
			key = "claim.press-taken"
			s.cfg.Log.Warn("a second browser wanted to claim the box by the button", "from", v.address())
		}
		t, _ := v.voice.Say(key)
		s.showClaim(v, http.StatusForbidden, t)
		return
	}
	s.cfg.Log.Info("a browser claims the box by the button", "from", v.address())
	v.setCookie(ticketCookie, ticket)
	v.redirect("/claim/owner")
}

// claimCode checks the code, or the button's press in place of it. The right one
// gives this browser a ticket for the next step.
func (s *Server) claimCode(v *visit) {
	if v.r.PostFormValue("press") != "" {
		s.claimPress(v)
		return
	}
	ticket, left, wait := s.claim.Try(v.r.PostFormValue("code"))
	switch {
	case wait > 0:
		v.w.Header().Set("Retry-After", seconds(wait))
		t, _ := v.voice.Say("claim.wait", "seconds", roundUp(wait))
		s.cfg.Log.Warn("too many wrong claim codes", "from", v.address())
		s.showClaim(v, http.StatusTooManyRequests, t)
	case ticket == "":
		t, _ := v.voice.Say("claim.wrong", "count", left)
		s.showClaim(v, http.StatusForbidden, t)
	default:
		v.setCookie(ticketCookie, ticket)
		v.redirect("/claim/owner")
	}
}

type ownerBody struct {
	Name    string
	Trouble words.Text
	Field   string // "name" or "password": where the trouble is
}

// holdsTicket sends a browser without the ticket back to the code.
func (s *Server) holdsTicket(v *visit) bool {
	c, err := v.r.Cookie(ticketCookie)
	if err == nil && s.claim.Holds(c.Value) {
		return true
	}
	v.redirect("/claim")
	return false
}

func (s *Server) ownerPage(v *visit) {
	if s.holdsTicket(v) {
		s.show(v, http.StatusOK, "owner", "owner.title", ownerBody{})
	}
}

// ownerMake makes the owner, logs them in, and takes the claim routes away.
func (s *Server) ownerMake(v *visit) {
	if !s.holdsTicket(v) {
		return
	}
	name := strings.TrimSpace(v.r.PostFormValue("name"))
	password := v.r.PostFormValue("password")
	body := ownerBody{Name: name}
	if !goodName(name) {
		body.Name = ""
		s.ownerTrouble(v, http.StatusUnprocessableEntity, body, "name", "owner.name-bad")
		return
	}
	if key := passwordTrouble(password, v.r.PostFormValue("repeat"), name); key != "" {
		s.ownerTrouble(v, http.StatusUnprocessableEntity, body, "password", key)
		return
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), 20*time.Second)
	defer cancel()
	hash, err := s.hasher.Hash(ctx, password)
	if err != nil {
		s.ownerTrouble(v, http.StatusServiceUnavailable, body, "password", "login.busy")
		return
	}
	s.claiming.Lock()
	defer s.claiming.Unlock()
	o := session.Owner{Version: 1, Name: name, Password: hash, Created: s.cfg.Now().UTC()}
	switch err := session.CreateOwner(s.cfg.Data, o); {
	case errors.Is(err, session.ErrOwned):
		v.setCookie(ticketCookie, "")
		v.redirect("/login")
		return
	case err != nil:
		s.cfg.Log.Error("the owner record could not be saved", "err", err)
		s.ownerTrouble(v, http.StatusInsufficientStorage, body, "", "owner.failed")
		return
	}
	s.owner.Store(&o)
	s.mux.Store(s.newMux(claimed))
	s.cfg.Log.Info("the box has an owner now", "from", v.address())
	v.setCookie(ticketCookie, "")
	s.begin(v, name)
	v.redirect("/")
}

func (s *Server) ownerTrouble(v *visit, status int, body ownerBody, field, key string) {
	body.Trouble, _ = v.voice.Say(key)
	body.Field = field
	s.show(v, status, "owner", "owner.title", body)
}

// goodName reports whether a person's name is 1 to 60 visible characters.
func goodName(name string) bool {
	n := utf8.RuneCountInString(name)
	return utf8.ValidString(name) && n >= 1 && n <= 60 &&
		!strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}

// passwordTrouble returns the text key of what is wrong with a new password.
func passwordTrouble(password, repeat, name string) string {
	switch err := session.CheckStrength(password, name); {
	case errors.Is(err, session.ErrTooShort):
		return "owner.too-short"
	case errors.Is(err, session.ErrTooLong):
		return "owner.too-long"
	case err != nil:
		return "owner.common"
	case password != repeat:
		return "owner.differs"
	}
	return ""
}
