package smtpd

import (
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-smtp"
)

// Reply is an answer to a client, usable as an error by the funcs of Config.
type Reply struct {
	Code     int    // 400 to 599
	Enhanced [3]int // RFC 3463; the zero value means X.0.0
	Text     string // one line of printable ASCII; other bytes are replaced
}

// Error implements error.
func (r Reply) Error() string {
	return fmt.Sprintf("%d %d.%d.%d %s", r.Code, r.Enhanced[0], r.Enhanced[1], r.Enhanced[2], r.Text)
}

// Replies that several places give.
var (
	replyLocal    = Reply{451, [3]int{4, 3, 0}, "Local error, please try again later"}
	replyShutdown = Reply{421, [3]int{4, 3, 2}, "The service is stopping, please try again soon"}
	replyTimeout  = Reply{421, [3]int{4, 4, 2}, "Nothing came for too long, closing the connection"}
	replyLost     = Reply{451, [3]int{4, 4, 2}, "The message ended too early"}
	replyErrors   = Reply{421, [3]int{4, 7, 0}, "Too many errors, closing the connection"}
)

// replyFor finds the answer to err. Whatever is not a Reply is a local error
// whose text stays here: ours is false then.
func replyFor(err error) (r Reply, ours bool) {
	var p *Reply
	switch {
	case errors.As(err, &r):
	case errors.As(err, &p) && p != nil:
		r = *p
	default:
		return replyLocal, false
	}
	if r.Code < 400 || r.Code > 599 {
		return replyLocal, false
	}
	if r.Enhanced[0] != r.Code/100 {
		r.Enhanced = [3]int{r.Code / 100, 0, 0}
	}
	r.Text = oneLine(r.Text)
	return r, true
}

// goodbye reports whether err asks for the connection to be closed at once.
func goodbye(err error) (Reply, bool) {
	r, _ := replyFor(err)
	return r, r.Code == 421
}

// smtpError is the one exit to go-smtp: it knows only bare *smtp.SMTPError
// values and makes permanent failures of everything else.
func (r Reply) smtpError() *smtp.SMTPError {
	return &smtp.SMTPError{Code: r.Code, EnhancedCode: smtp.EnhancedCode(r.Enhanced), Message: r.Text}
}

// line is the reply as it stands on the wire.
func (r Reply) line() string { return r.Error() + "\r\n" }

// oneLine makes s safe as the text of one reply line (RFC 5321, Section 4.2.1).
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), 400)]
}
