package webui

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gatepost/webui/session"
	"gatepost/webui/words"
)

type loginBody struct {
	Name    string
	Trouble words.Text
	Out     bool // just logged out
}

func (s *Server) loginPage(v *visit) {
	if v.token != "" {
		v.redirect("/")
		return
	}
	s.show(v, http.StatusOK, "login", "login.title", loginBody{Out: v.r.URL.RawQuery == "out"})
}

func (s *Server) login(v *visit) {
	name := strings.TrimSpace(v.r.PostFormValue("name"))
	body := loginBody{}
	if goodName(name) {
		body.Name = name
	}
	if wait := s.backoff.Try(name, v.address()); wait > 0 {
		v.w.Header().Set("Retry-After", seconds(wait))
		body.Trouble, _ = v.voice.Say("login.slow", "seconds", roundUp(wait))
		s.show(v, http.StatusTooManyRequests, "login", "login.title", body)
		return
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), 20*time.Second)
	defer cancel()
	right, err := s.checkPassword(ctx, name, v.r.PostFormValue("password"))
	switch {
	case err != nil:
		s.cfg.Log.Warn("a login could not be checked", "err", err)
		body.Trouble, _ = v.voice.Say("login.busy")
		s.show(v, http.StatusServiceUnavailable, "login", "login.title", body)
	case !right:
		s.cfg.Log.Warn("a login failed", "from", v.address())
		body.Trouble, _ = v.voice.Say("login.wrong")
		s.show(v, http.StatusForbidden, "login", "login.title", body)
	default:
		s.begin(v, s.owner.Load().Name)
		v.redirect(s.firstPage(v))
	}
}

// firstPage is where a person goes after the login: to a change of settings
// that waits for their word, which may be why they had to log in again.
func (s *Server) firstPage(v *visit) string {
	if s.cfg.System == nil {
		return "/"
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), backendTime)
	defer cancel()
	if now, err := s.cfg.System.Settings(ctx); err == nil && now.Trial != nil {
		return "/system"
	}
	return "/"
}

// checkPassword takes the same time for a name that does not exist.
func (s *Server) checkPassword(ctx context.Context, name, password string) (bool, error) {
	o := s.owner.Load()
	if o == nil || !strings.EqualFold(name, o.Name) {
		return false, s.hasher.VerifyNobody(ctx, password)
	}
	return s.hasher.Verify(ctx, password, o.Password)
}

// begin starts a session with a new token and ends the one that the browser
// had.
func (s *Server) begin(v *visit, person string) {
	if v.token != "" {
		s.sessions.End(v.token)
	}
	s.backoff.Succeeded(person, v.address())
	v.token = s.sessions.Begin(person, v.address().String())
	v.setCookie(sessionCookie, v.token)
	s.cfg.Log.Info("logged in", "person", person, "from", v.address())
}

func (s *Server) logout(v *visit) {
	s.sessions.End(v.token)
	v.setCookie(sessionCookie, "")
	v.redirect("/login?out")
}

// leave puts a message on the next page of this session.
func (s *Server) leave(v *visit, f session.Flash) { s.sessions.SetFlash(v.token, f) }

// roundUp is a wait in whole seconds, at least 1.
func roundUp(d time.Duration) int { return max(1, int((d+time.Second-1)/time.Second)) }

func seconds(d time.Duration) string { return strconv.Itoa(roundUp(d)) }
