package smtpd

import (
	"bytes"
	"crypto/tls"
	"io"
	"time"
)

// dialog is what go-smtp takes for the network: the line-level filter between
// a stranger and the library. It stands above TLS, which it does itself, and
// frames the input: go-smtp is given one checked command at a time, never a
// byte beyond it, and never a byte of a message.
//
//   - Lines that are too long, hold control characters or no command of ours
//     are answered here (command.go), and so is everything about order.
//   - MAIL and RCPT are parsed here and handed on in one canonical form (path.go).
//   - Message text is read by Session.Data straight from here (message.go): the
//     dotted text of DATA, and the chunks of BDAT, of which go-smtp sees one plain
//     DATA. The reply to that DATA, 354, is then kept back.
//   - EHLO's reply and STARTTLS are ours (hello.go).
//   - Replies are collected until input is awaited, so that a pipelined group is
//     answered in one packet; every one passes through say, which counts errors.
//
// All methods are called by the goroutine that serves the connection.
type dialog struct {
	*conn
	rw  io.ReadWriter // conn, or the TLS connection above it
	tls *tls.Conn     // nil in clear

	lent    *buffers
	in      []byte // input that was read and not yet used is in[r:w]
	r, w    int
	out     []byte // replies not yet sent
	scratch []byte // the command that go-smtp reads
	feed    []byte // the part of it that is still to be read

	ses      *session
	implicit bool // TLS from the first byte
	opened   bool // the greeting has had its turn
	turned   bool // this client was turned away, only QUIT is heard
	greeted  bool // EHLO or HELO was answered with 250
	plain    bool // it was HELO
	hello    string
	verb     string // the command that go-smtp answers
	instead  *Reply // what is said in place of its answer
	sasl     bool   // the next line is a response within AUTH
	again    []byte // a command that broke a transfer off and is to be carried out now
	size     int64  // SIZE of the latest MAIL
	msg      message

	errs   int  // refused commands
	junk   int  // commands without effect since the last message
	pardon bool // the next refusal is no error of the client
	mute   bool // the last words are said
	linger bool // wait a moment at Close, so that the last words are not lost
}

const (
	inputSize  = 32 << 10
	maxCommand = 2048    // bytes of a command line; RFC 5321, Section 4.5.3.1.4, and the extensions, ask for less
	maxSASL    = 12288   // bytes of a line within AUTH (RFC 4954, Section 4)
	maxJunk    = 100     // commands without effect in a row
	maxFlood   = 1 << 20 // bytes of one line before the session ends
	maxHeld    = 4 << 10 // bytes of output collected before they are sent
	turnedWait = 10 * time.Second
)

// Read implements io.Reader for go-smtp: one command at a time. Every error is
// io.EOF, for the library would have something to say about all others.
func (d *dialog) Read(p []byte) (int, error) {
	if len(d.feed) == 0 {
		if err := d.next(); err != nil {
			return 0, io.EOF
		}
	}
	n := copy(p, d.feed)
	d.feed = d.feed[n:]
	return n, nil
}

// Write implements io.Writer for go-smtp, which writes one line of a reply at
// a time.
func (d *dialog) Write(p []byte) (int, error) {
	switch {
	case d.mute:
	case !d.opened:
		d.open(p)
	case len(p) < 4:
		d.say(string(p))
	default:
		d.answer(p)
	}
	return len(p), nil
}

// answer passes a line of go-smtp's reply to the current command on.
func (d *dialog) answer(p []byte) {
	last := p[3] != '-'
	switch {
	case d.instead != nil:
		if last {
			r := *d.instead
			d.instead = nil
			d.sasl = false
			d.sayReply(r)
		}
		return
	case (d.verb == "EHLO" || d.verb == "HELO") && p[0] == '2':
		if last {
			d.sayHello()
		}
		return
	case d.verb == "MAIL" && p[0] == '2': // the library repeats the address, which may not be ASCII
		d.say("250 2.1.0 The sender is fine\r\n")
		return
	case d.verb == "RCPT" && p[0] == '2':
		d.say("250 2.1.5 The recipient is fine\r\n")
		return
	case d.verb == "DATA" && p[0] == '3':
		d.beginMessage()
		if d.msg.chunked {
			return
		}
	case d.verb == "DATA" && d.msg.aborted:
		d.msg = message{}
		return
	}
	if d.verb == "DATA" && d.msg.odd {
		d.say(string(p))
		d.end()
		d.mute, d.linger = true, true
		return
	}
	d.sasl = d.verb == "AUTH" && p[0] == '3'
	if r, ok := better(p); ok {
		d.sayReply(r)
		return
	}
	d.say(string(p))
}

// Replies of go-smtp whose code is not that of the RFC.
var betterReplies = []struct {
	begins []byte
	reply  Reply
}{
	{[]byte("454 4.7.0 Invalid base64"), Reply{501, [3]int{5, 5, 2}, "That is no base64"}}, // RFC 4954, Section 4
	{[]byte("501 5.0.0 Negotiation cancelled"), Reply{501, [3]int{5, 7, 0}, "Login cancelled"}},
	{[]byte("500 5.5.4 Unknown"), Reply{555, [3]int{5, 5, 4}, "Unknown parameter"}}, // RFC 5321, Section 4.1.1.11
	{[]byte("500 5.5.4 Malformed AUTH"), Reply{501, [3]int{5, 5, 4}, "Malformed AUTH parameter"}},
}

func better(p []byte) (Reply, bool) {
	if p[0] != '5' && p[0] != '4' {
		return Reply{}, false
	}
	for _, b := range betterReplies {
		if bytes.HasPrefix(p, b.begins) {
			return b.reply, true
		}
	}
	return Reply{}, false
}

// open says the greeting p, or why there is none.
func (d *dialog) open(p []byte) {
	d.opened = true
	if d.implicit && !d.handshake() {
		return
	}
	switch r, ok := d.greeting(); {
	case ok:
		d.say(string(p))
	case r.Code == 554 && r == replyStranger:
		d.turned = true
		d.sayReply(r)
	default:
		d.lastWords(r)
	}
}

var replyStranger = Reply{554, [3]int{5, 7, 1}, "No mail is taken from your address here"}

// greeting decides whether the greeting may be said (RFC 5321, Section 3.1).
func (d *dialog) greeting() (Reply, bool) {
	// While the box itself is not in order it is nobody's last word: a sender
	// that would be welcome otherwise must keep its mail.
	if ready := d.srv.cfg.Ready; ready != nil {
		if err := ready(); err != nil {
			if r, bye := goodbye(err); bye {
				return r, false
			}
		}
	}
	// A client that talks before the greeting is one that does not listen (RFC
	// 5321, Section 4.3.1). Inside of implicit TLS it had to wait for the handshake.
	if !d.implicit && d.spokeFirst(d.srv.cfg.Limits.GreetDelay) {
		r := Reply{554, [3]int{5, 5, 1}, "You spoke before the greeting, closing the connection"}
		d.srv.refused(d.peer, r)
		return r, false
	}
	if d.role == Internet && d.srv.cfg.Local == nil {
		d.srv.refused(d.peer, replyStranger)
		return replyStranger, false
	}
	return Reply{}, true
}

// refuse says r and tells of it.
func (d *dialog) refuse(r Reply) {
	d.srv.refused(d.peer, r)
	d.sayReply(r)
}

func (d *dialog) sayReply(r Reply) { d.say(r.line()) }

// say queues a line of a reply, its CRLF included. It is the one way out: it
// counts errors, and 421 ends the session.
func (d *dialog) say(line string) {
	if d.mute || len(line) < 4 {
		return
	}
	switch {
	case line[0] == '5' && line[3] != '-' && !d.pardon:
		d.errs++
		if d.errs >= d.srv.cfg.Limits.Errors {
			d.lastWords(replyErrors)
			return
		}
	case line[:3] == "421":
		d.end()
		d.out = append(d.out, line...)
		d.mute, d.linger = true, true
		return
	}
	d.pardon = false
	d.out = append(d.out, line...)
	if len(d.out) >= maxHeld && d.flush(d.writeLimit()) != nil {
		d.end()
		d.mute = true
	}
}

// flush sends the collected replies.
func (d *dialog) flush(limit time.Duration) error {
	if len(d.out) == 0 {
		return nil
	}
	d.patience = limit
	_, err := d.rw.Write(d.out)
	d.out = d.out[:0]
	return err
}

// fill reads more input, until due at the latest. It never fails without
// ending the dialog.
func (d *dialog) fill(due time.Time) error {
	if d.flush(d.writeLimit()) != nil {
		return d.over(nil)
	}
	switch {
	case d.r == d.w:
		d.r, d.w = 0, 0
	case d.w == len(d.in):
		d.w = copy(d.in, d.in[d.r:d.w])
		d.r = 0
	}
	for {
		if !d.until(due) {
			return d.over(nil)
		}
		n, err := d.rw.Read(d.in[d.w:])
		d.w += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return d.over(err)
		}
	}
}

// pipelined reports whether the client has sent more than the current command.
func (d *dialog) pipelined() bool { return d.r < d.w }
