package smtpd

import (
	"bytes"
	"strings"
	"time"
)

// next finds the next command that go-smtp must see and puts it into feed.
// All others are answered here.
func (d *dialog) next() error {
	if d.msg.open {
		if err := d.drainMessage(); err != nil {
			return err
		}
		d.hand(".")
		return nil
	}
	if again := d.again; again != nil && !d.mute {
		d.again = nil
		if d.command(again) {
			return nil
		}
	}
	for {
		if d.mute {
			return errOver
		}
		line, tooLong, err := d.readLine()
		if err != nil {
			return err
		}
		if d.sasl {
			d.response(line, tooLong)
			return nil
		}
		if tooLong {
			d.sayReply(replyLongLine)
			continue
		}
		if d.command(line) {
			return nil
		}
	}
}

// Replies of the filter.
var (
	replyLongLine = Reply{500, [3]int{5, 5, 2}, "The line is too long"}
	replyControl  = Reply{500, [3]int{5, 5, 2}, "The line holds a control character"}
	replyUnknown  = Reply{500, [3]int{5, 5, 1}, "The command is not known here"}
	replyNoHello  = Reply{503, [3]int{5, 5, 1}, "Send EHLO first"}
	replyNoMail   = Reply{503, [3]int{5, 5, 1}, "Send MAIL first"}
	replyNoRcpt   = Reply{554, [3]int{5, 5, 1}, "There is no valid recipient"}
	replyArgument = Reply{501, [3]int{5, 5, 4}, "The command takes no argument"}
	replyMissing  = Reply{501, [3]int{5, 5, 4}, "The command needs an argument"}
	replyNotSync  = Reply{554, [3]int{5, 5, 0}, "You did not wait for the reply (RFC 2920), closing the connection"}
	replyWeb      = Reply{554, [3]int{5, 5, 1}, "This is no web server, closing the connection"}
	replyTurned   = Reply{503, [3]int{5, 5, 1}, replyStranger.Text}
)

// readLine reads one line without its line end, which is CRLF or, for old
// devices, LF alone: commands are the one place where that is harmless, since
// no other server reads them. The line is good until the next call. A line
// beyond maxSASL is thrown away as it comes, in no memory, and reported.
func (d *dialog) readLine() (line []byte, tooLong bool, err error) {
	var due time.Time
	scanned, flood := d.r, 0
	for {
		if i := bytes.IndexByte(d.in[scanned:d.w], '\n'); i >= 0 {
			line = bytes.TrimSuffix(d.in[d.r:scanned+i], []byte{'\r'})
			d.r = scanned + i + 1
			return line, flood > 0 || len(line) > maxSASL, nil
		}
		if d.w-d.r > maxSASL+2 {
			flood += d.w - d.r
			d.r = d.w
			if flood > maxFlood {
				d.lastWords(replyErrors)
				return nil, false, errOver
			}
		}
		if due.IsZero() {
			due = d.commandDue()
		}
		held := d.w - d.r
		if err := d.fill(due); err != nil {
			return nil, false, err
		}
		scanned = d.r + held
	}
}

// commandDue is when a command that is awaited from now on must be complete.
func (d *dialog) commandDue() time.Time {
	if d.turned {
		return d.born.Add(turnedWait)
	}
	return d.msg.limit(d.conn, time.Now().Add(d.wait()))
}

// hand gives go-smtp a command.
func (d *dialog) hand(parts ...string) {
	b := d.scratch[:0]
	for _, p := range parts {
		b = append(b, p...)
	}
	b = append(b, "\r\n"...)
	d.scratch, d.feed = b, b
}

// pass hands a command on; its answer is expected as that of verb.
func (d *dialog) pass(verb string, parts ...string) bool {
	d.verb = verb
	d.hand(parts...)
	return true
}

// command carries a line out. It is true when go-smtp must go on with feed.
func (d *dialog) command(line []byte) bool {
	verb, arg, bad := split(line)
	switch {
	case d.isEnding():
		d.lastWords(replyShutdown)
		return false
	case bad != nil:
		d.sayReply(*bad)
		return false
	case d.turned && verb != "QUIT":
		d.sayReply(replyTurned)
		return false
	}
	switch verb {
	case "EHLO", "HELO":
		return d.commandHello(verb, arg)
	case "STARTTLS":
		d.commandStartTLS(arg)
	case "MAIL":
		return d.commandMail(arg)
	case "RCPT":
		return d.commandRcpt(arg)
	case "DATA":
		return d.commandData(arg)
	case "BDAT":
		return d.commandChunk(arg)
	case "AUTH":
		return d.commandAuth(arg)
	case "RSET", "QUIT":
		if arg != "" {
			d.sayReply(replyArgument)
			return false
		}
		d.count(verb)
		return d.pass(verb, verb)
	default:
		d.small(verb, arg)
	}
	return false
}

// split cuts a line into its verb, in upper case, and its argument. bad is the
// answer to a line that is no command at all.
func split(line []byte) (verb, arg string, bad *Reply) {
	for _, c := range line {
		if c < ' ' || c == 0x7f {
			return "", "", &replyControl
		}
	}
	verb, arg, _ = strings.Cut(string(line), " ")
	verb, arg = strings.ToUpper(verb), strings.TrimSpace(arg)
	switch {
	case verb == "":
		return "", "", &Reply{500, [3]int{5, 5, 2}, "The line is empty"}
	case len(line) > maxCommand && verb != "AUTH":
		return "", "", &replyLongLine
	}
	return verb, arg, nil
}

// small answers the commands that change nothing.
func (d *dialog) small(verb, arg string) {
	d.count(verb)
	switch verb {
	case "NOOP":
		d.say("250 2.0.0 OK\r\n")
	case "VRFY": // RFC 5321, Section 3.5.3
		if arg == "" {
			d.sayReply(replyMissing)
			return
		}
		d.say("252 2.5.0 Send the mail and see\r\n")
	case "HELP":
		d.say("214 2.0.0 See RFC 5321\r\n")
	case "EXPN", "TURN", "ETRN", "ATRN", "SEND", "SOML", "SAML":
		d.sayReply(Reply{502, [3]int{5, 5, 1}, "The command is not offered here"})
	case "GET", "HEAD", "POST", "PUT", "CONNECT", "OPTIONS":
		// Another protocol's client was made to talk to us; what follows is not its
		// own words.
		d.srv.refused(d.peer, replyWeb)
		d.lastWords(replyWeb)
	default:
		d.sayReply(replyUnknown)
	}
}

// count ends a session that goes on without sending mail. MAIL does not count,
// the messages have limits of their own.
func (d *dialog) count(verb string) {
	if verb == "QUIT" {
		return
	}
	if d.junk++; d.junk > maxJunk {
		d.lastWords(replyErrors)
	}
}

// commandData takes DATA. What came behind it came before our 354, and can be
// meant as commands as well as text: nobody who waits for replies does that
// (RFC 2920, Section 3.1), but those who smuggle do.
func (d *dialog) commandData(arg string) bool {
	switch {
	case d.pipelined():
		d.notSync()
	case !d.greeted:
		d.sayReply(replyNoHello)
	case arg != "":
		d.sayReply(replyArgument)
	case d.ses.tx == nil:
		d.sayReply(replyNoMail)
	case len(d.ses.tx.Rcpts) == 0:
		d.sayReply(replyNoRcpt)
	default:
		d.msg = message{}
		return d.pass("DATA", "DATA")
	}
	return false
}

// notSync ends a session in which commands were not what they seemed.
func (d *dialog) notSync() {
	d.srv.refused(d.peer, replyNotSync)
	d.lastWords(replyNotSync)
}

// commandAuth takes AUTH (RFC 4954).
func (d *dialog) commandAuth(arg string) bool {
	mech, initial, _ := strings.Cut(arg, " ")
	switch {
	case !d.greeted:
		d.sayReply(replyNoHello)
	case arg == "":
		d.sayReply(replyMissing)
	case strings.Contains(initial, " "):
		d.sayReply(Reply{501, [3]int{5, 5, 4}, "AUTH takes one initial response"})
	default:
		return d.pass("AUTH", "AUTH ", mech, " ", initial)
	}
	return false
}

// response hands a line within AUTH on.
func (d *dialog) response(line []byte, tooLong bool) {
	d.sasl = false
	if tooLong {
		d.instead = &Reply{500, [3]int{5, 5, 6}, "The line is too long"} // RFC 4954, Section 6
		d.hand("*")
		return
	}
	if _, _, bad := split(line); bad == &replyControl {
		d.instead = bad
		d.hand("*")
		return
	}
	d.hand(string(line))
}
