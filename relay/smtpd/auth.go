package smtpd

import (
	"bytes"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

const (
	maxSecret     = 1024             // bytes of a name or a password
	maxAuthDelay  = 30 * time.Second // pause after a failed login
	maxAuthErrors = 3                // failed logins in one session
)

// AuthMechanisms implements smtp.AuthSession. It is not used: what is offered
// is said by dialog.
func (s *session) AuthMechanisms() []string { return nil }

// mayLogin reports whether a login is offered inside TLS.
func (s *session) mayLogin() bool { return s.d.role == Submission && s.srv.cfg.Auth != nil }

// Auth implements smtp.AuthSession (RFC 4954).
func (s *session) Auth(mech string) (sasl.Server, error) {
	switch {
	case !s.mayLogin():
		return nil, s.refuse(Reply{503, [3]int{5, 5, 1}, "No login here"})
	case s.d.tls == nil:
		return nil, s.refuse(Reply{538, [3]int{5, 7, 11}, "A login needs TLS, send STARTTLS first"}) // RFC 8314, Section 3.3
	case s.user != "":
		return nil, s.refuse(Reply{503, [3]int{5, 5, 1}, "You are logged in already"})
	case s.tx != nil:
		return nil, s.refuse(Reply{503, [3]int{5, 5, 1}, "No login within a transaction"})
	case s.srv.limits.authBlocked(s.d.peer, time.Now()):
		return nil, s.refuse(Reply{454, [3]int{4, 7, 0}, "Too many failed logins from your address, please try again later"})
	}
	switch mech {
	case sasl.Plain:
		return &plain{s}, nil
	case sasl.Login:
		return &login{s: s}, nil
	}
	return nil, s.refuse(Reply{504, [3]int{5, 5, 4}, "Unknown login mechanism"})
}

// plain is the server side of PLAIN (RFC 4616).
type plain struct{ s *session }

// Next implements sasl.Server.
func (p *plain) Next(response []byte) (challenge []byte, done bool, err error) {
	if response == nil {
		return nil, false, nil
	}
	parts := bytes.Split(response, []byte{0})
	if len(parts) != 3 || len(parts[0]) > 0 && !bytes.Equal(parts[0], parts[1]) {
		return nil, false, p.s.loginFailed()
	}
	return nil, true, p.s.login(string(parts[1]), string(parts[2]))
}

// login is the server side of LOGIN, which old devices speak.
type login struct {
	s    *session
	user []byte
	step int
}

// Next implements sasl.Server.
func (l *login) Next(response []byte) (challenge []byte, done bool, err error) {
	if response == nil {
		return []byte("Username:"), false, nil
	}
	l.step++
	if l.step == 1 {
		l.user = bytes.Clone(response)
		return []byte("Password:"), false, nil
	}
	return nil, true, l.s.login(string(l.user), string(response))
}

// login checks a name and a password.
func (s *session) login(user, password string) error {
	if user == "" || password == "" || len(user) > maxSecret || len(password) > maxSecret {
		return s.loginFailed()
	}
	select {
	case s.srv.auths <- struct{}{}: // a check costs memory and time: few at once
	case <-s.srv.quit:
		return s.refuse(replyShutdown)
	}
	ok, err := s.srv.cfg.Auth(user, password)
	<-s.srv.auths
	if err != nil {
		s.srv.cfg.Log.Error("smtp: login cannot be checked", "err", err)
		return s.refuse(Reply{454, [3]int{4, 7, 0}, "The login cannot be checked just now"})
	}
	if !ok {
		return s.loginFailed()
	}
	s.user = user
	return nil
}

// loginFailed is the answer to wrong credentials, after a pause that doubles
// with each failure of the source.
func (s *session) loginFailed() error {
	fails := s.srv.limits.authFailed(s.d.peer, time.Now())
	delay := maxAuthDelay
	if fails < 10 {
		delay = min(delay, s.srv.cfg.Limits.AuthDelay<<(fails-1))
	}
	pause := time.NewTimer(delay)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-s.srv.quit:
	}
	s.authFails++
	if s.authFails >= maxAuthErrors {
		return s.refuse(replyErrors)
	}
	return s.refuse(Reply{535, [3]int{5, 7, 8}, "Wrong name or password"})
}

var _ smtp.AuthSession = (*session)(nil)
