package webui

import (
	"context"
	"net/http"
	"time"

	"gatepost/webui/words"
)

// proves checks the password of the person who is logged in, from the form's
// field "password": a browser that somebody left open must not be enough for
// what cannot be taken back. status is 0 when it is right; else the page must
// be shown again with that status and the trouble.
func (s *Server) proves(v *visit) (status int, trouble words.Text) {
	person := v.session.Person
	if wait := s.backoff.Try(person, v.address()); wait > 0 {
		v.w.Header().Set("Retry-After", seconds(wait))
		return http.StatusTooManyRequests, text(v.voice, "login.slow", "seconds", roundUp(wait))
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), 20*time.Second)
	defer cancel()
	right, err := s.checkPassword(ctx, person, v.r.PostFormValue("password"))
	switch {
	case err != nil:
		s.cfg.Log.Warn("a password could not be checked", "err", err)
		return http.StatusServiceUnavailable, text(v.voice, "login.busy")
	case !right:
		s.cfg.Log.Warn("a wrong password", "path", v.r.URL.Path, "person", person, "from", v.address())
		return http.StatusForbidden, text(v.voice, "original.wrong")
	}
	s.backoff.Succeeded(person, v.address())
	return 0, nil
}
