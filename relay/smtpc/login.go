package smtpc

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
)

// ErrClearLogin says that the connection has no TLS, so that name and password
// were not sent. Nothing was sent.
var ErrClearLogin = errors.New("smtpc: a login is only sent inside TLS")

// ErrNoLogin says that the server offers none of the ways to log in that we
// know, PLAIN and LOGIN. Nothing was sent.
var ErrNoLogin = errors.New("smtpc: the server offers no login that we know")

// ErrCredentials says that the user name or the password is empty, longer than
// 255 bytes, or has a NUL (RFC 4616, Section 2). Nothing was sent.
var ErrCredentials = errors.New("smtpc: the user name or the password cannot be sent")

// maxCredential is the length of name and password that every server must take
// (RFC 4616, Section 2).
const maxCredential = 255

// Login authenticates with AUTH PLAIN (RFC 4954, RFC 4616), or AUTH LOGIN where
// PLAIN is not offered. It must be called before the first transaction, and
// after the certificate was judged: name and password are sent as they are,
// inside TLS and never outside. The password is in no error and no log line;
// a reply that quotes it is kept without its text.
//
// Errors: ErrClearLogin, ErrNoLogin and ErrCredentials, after which the
// connection is as before; *ReplyError with Command "AUTH" when the server says
// no (535) or not now (454), after which it may be tried without login;
// *NetError and *ProtocolError, after which it is closed. All speak of the
// settings or the server, never of a message.
func (c *Conn) Login(ctx context.Context, user, password string) error {
	switch {
	case !c.usable():
		return ErrClosed
	case c.state == nil:
		return ErrClearLogin
	case !credential(user) || !credential(password):
		return ErrCredentials
	}
	defer c.watch(ctx)()
	var err error
	switch {
	case slices.Contains(c.ext.Auth, "PLAIN"):
		err = c.authenticate(ctx, "PLAIN", "\x00"+user+"\x00"+password)
	case slices.Contains(c.ext.Auth, "LOGIN"):
		err = c.authenticate(ctx, "LOGIN", user, password)
	default:
		return ErrNoLogin
	}
	return withhold(err, user, password)
}

func credential(s string) bool {
	return s != "" && len(s) <= maxCredential && !strings.Contains(s, "\x00")
}

// maxCommand is the length of a command line without its line end (RFC 5321,
// Section 4.5.3.1.4). An initial response that does not fit must not be sent
// with the command (RFC 4954, Section 4).
const maxCommand = 510

// authenticate does one exchange: the answers go out one for each challenge,
// the only one of PLAIN with the command where it fits. What a challenge says
// does not matter: PLAIN has none, and that of LOGIN is a prompt for people.
func (c *Conn) authenticate(ctx context.Context, mechanism string, answers ...string) error {
	line := "AUTH " + mechanism
	given := 0
	if first := base64.StdEncoding.EncodeToString([]byte(answers[0])); len(answers) == 1 && len(line)+1+len(first) <= maxCommand {
		line += " " + first
		given = 1
	}
	rep, err := c.command(ctx, "AUTH", c.t.Auth, line)
	for err == nil && rep.class() == 3 {
		if given == len(answers) {
			// It asks for more than the mechanism has: cancel (RFC 4954, Section 4).
			// Whatever the answer, this was no login.
			if _, err = c.command(ctx, "AUTH", c.t.Auth, "*"); err == nil {
				err = &ProtocolError{Phase: "AUTH", Detail: "a challenge that does not belong to the mechanism"}
			}
			break
		}
		line = base64.StdEncoding.EncodeToString([]byte(answers[given]))
		given++
		rep, err = c.command(ctx, "AUTH", c.t.Auth, line)
	}
	switch {
	case err != nil:
		return c.kill(err)
	case rep.class() == 2 && given == len(answers):
		return nil
	case rep.class() < 4:
		return c.kill(&ProtocolError{Phase: "AUTH", Detail: "a reply that does not fit the login"})
	}
	return c.refused(rep, "AUTH")
}

// withhold takes the text out of an error that holds the password.
func withhold(err error, user, password string) error {
	var re *ReplyError
	if !errors.As(err, &re) {
		return err
	}
	enc := base64.StdEncoding.EncodeToString
	for _, secret := range []string{password, enc([]byte(password)), enc([]byte("\x00" + user + "\x00" + password))} {
		if strings.Contains(re.Text, secret) {
			re.Text = "(a text that quotes the password)"
		}
	}
	return err
}
