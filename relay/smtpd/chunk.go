package smtpd

import (
	"bytes"
	"io"
	"math"
	"strconv"
	"strings"
)

// BDAT (RFC 3030). The octets of a chunk are counted and never parsed.

// badChunk is what a malformed BDAT means: since nobody knows how many octets
// belong to it, nothing that follows can be told from commands.
var badChunk = Reply{501, [3]int{5, 5, 4}, "BDAT takes a size and perhaps LAST; closing the connection"}

// parseChunk reads the argument of BDAT.
func parseChunk(arg string) (size uint64, last, ok bool) {
	number, rest, more := strings.Cut(arg, " ")
	if more {
		if last = strings.EqualFold(strings.TrimSpace(rest), "LAST"); !last {
			return 0, false, false
		}
	}
	size, err := strconv.ParseUint(number, 10, 63)
	return size, last, err == nil
}

// commandChunk takes a BDAT that is not the continuation of a transfer.
func (d *dialog) commandChunk(arg string) bool {
	size, last, ok := parseChunk(arg)
	var why Reply
	switch {
	case !ok:
		d.srv.refused(d.peer, badChunk)
		d.lastWords(badChunk)
		return false
	case !d.greeted:
		why = replyNoHello
	case d.ses.tx == nil:
		why = replyNoMail // also when an earlier chunk was refused
	case len(d.ses.tx.Rcpts) == 0:
		why = replyNoRcpt
	default:
		d.msg = message{chunked: true, left: size, last: last}
		return d.pass("DATA", "DATA")
	}
	// The chunk follows the command even when the command is refused.
	d.msg = message{chunked: true, left: size, last: true}
	d.beginMessage()
	if d.drainMessage() == nil {
		d.sayReply(why)
	}
	return false
}

// readChunk reads octets of the current chunk, and when there are none left
// answers it and waits for the next.
func (d *dialog) readChunk(p []byte) (int, error) {
	m := &d.msg
	for m.left == 0 {
		if m.last {
			m.done = true
			return 0, io.EOF
		}
		if err := d.nextChunk(); err != nil {
			return 0, err
		}
	}
	if d.r == d.w {
		if err := d.fillMessage(); err != nil {
			return 0, err
		}
	}
	n := copy(p[:min(uint64(len(p)), m.left, math.MaxInt32)], d.in[d.r:d.w])
	d.r += n
	m.left -= uint64(n)
	return n, nil
}

// nextChunk says that a chunk has come in and waits for the next BDAT. Until
// then only commands that change nothing may come; those that begin something
// else break the transfer off and are carried out after it.
func (d *dialog) nextChunk() error {
	d.say("250 2.0.0 Chunk received\r\n")
	for {
		if d.mute {
			return errOver
		}
		line, tooLong, err := d.readLine()
		if err != nil {
			return err
		}
		verb, arg, bad := split(line)
		switch {
		case tooLong:
			d.sayReply(replyLongLine)
			continue
		case bad != nil:
			d.sayReply(*bad)
			continue
		}
		switch verb {
		case "BDAT":
			size, last, ok := parseChunk(arg)
			if !ok {
				d.srv.refused(d.peer, badChunk)
				d.lastWords(badChunk)
				return errOver
			}
			d.msg.left, d.msg.last = size, last
			return nil
		case "RSET", "QUIT", "EHLO", "HELO":
			d.msg.aborted = true
			d.again = bytes.Clone(line)
			return errAborted
		case "MAIL", "RCPT", "DATA", "AUTH", "STARTTLS":
			d.sayReply(Reply{503, [3]int{5, 5, 1}, "A message is being sent in chunks, send RSET first"})
		default:
			d.small(verb, arg)
		}
	}
}
