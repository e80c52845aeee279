package smtpd

import (
	"crypto/tls"
	"strconv"
	"strings"
	"time"
)

// commandHello takes EHLO and HELO. A client that sends on without the reply
// cannot know what we offer (RFC 2920, Section 3.1).
func (d *dialog) commandHello(verb, arg string) bool {
	name, _, _ := strings.Cut(arg, " ")
	switch {
	case d.pipelined():
		d.notSync()
		return false
	case name == "":
		d.sayReply(Reply{501, [3]int{5, 5, 4}, verb + " needs your name"})
		return false
	}
	d.count(verb)
	d.hello, d.plain = cleanHello(name), verb == "HELO"
	return d.pass(verb, verb, " ", d.hello)
}

// sayHello is the reply to EHLO and HELO, in place of the library's: the name
// comes first (RFC 5321, Section 4.1.1.1), SIZE is our limit and not one more, and
// TLS is known to us alone.
func (d *dialog) sayHello() {
	d.greeted = true
	if d.plain {
		d.say("250 " + d.srv.cfg.Hostname + "\r\n")
		return
	}
	b := append(d.scratch[:0], "250-"...)
	b = append(append(append(b, d.srv.cfg.Hostname...), " greets "...), d.hello...)
	b = append(b, "\r\n250-PIPELINING\r\n250-SIZE "...)
	b = strconv.AppendInt(b, d.srv.cfg.MaxSize, 10)
	b = append(b, "\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n250-DSN\r\n"...)
	switch {
	case d.tls != nil:
		b = append(b, "250-REQUIRETLS\r\n"...) // RFC 8689, Section 2: in TLS only
		if d.ses.mayLogin() {
			b = append(b, "250-AUTH PLAIN LOGIN\r\n"...) // RFC 8314: in TLS only
		}
	case d.srv.tls != nil:
		b = append(b, "250-STARTTLS\r\n"...)
	}
	b = append(b, "250-LIMITS RCPTMAX="...) // RFC 9422
	b = strconv.AppendInt(b, int64(d.srv.cfg.MaxRcpts), 10)
	b = append(b, "\r\n250 ENHANCEDSTATUSCODES\r\n"...)
	d.scratch = b
	d.say(string(b))
}

// commandStartTLS takes STARTTLS (RFC 3207).
func (d *dialog) commandStartTLS(arg string) {
	switch {
	case d.pipelined():
		// What was sent in clear behind the command must never be carried out inside
		// TLS (Section 4.2), and who sends it is up to something.
		d.notSync()
	case arg != "":
		d.sayReply(replyArgument)
	case d.tls != nil:
		d.sayReply(Reply{503, [3]int{5, 5, 1}, "TLS is on already"})
	case d.srv.tls == nil:
		d.sayReply(Reply{502, [3]int{5, 5, 1}, "TLS is not offered"})
	default:
		d.say("220 2.0.0 Ready to start TLS\r\n")
		if d.flush(d.writeLimit()) != nil {
			_ = d.over(nil)
			return
		}
		d.handshake()
	}
}

// maxHandshake is for a whole handshake, however many pieces it comes in.
const maxHandshake = time.Minute

// handshake begins TLS and forgets all that was said before it. A session
// whose handshake failed does not go on (RFC 3207, Section 4.1).
func (d *dialog) handshake() bool {
	d.patience = d.writeLimit()
	tc := tls.Server(d.conn, d.srv.tls)
	if !d.until(time.Now().Add(min(d.wait(), maxHandshake))) || tc.Handshake() != nil {
		d.mute = true
		d.end()
		return false
	}
	d.tls, d.rw = tc, tc
	d.greeted = false
	if d.ses != nil {
		d.ses.forget()
	}
	return true
}
