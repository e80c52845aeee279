package lab

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Limits of an MX host, those of a patient and roomy server.
const (
	mxLine    = 4096     // bytes of a command line
	mxMessage = 32 << 20 // bytes of a message
	mxRcpts   = 1000
	mxIdle    = 5 * time.Minute
)

// mxSession is one SMTP session at an MX host (RFC 5321). It records and
// obliges: it takes mail for any recipient but those that the world refuses.
type mxSession struct {
	lab      *Lab
	domain   string
	mx       MX
	cert     *tls.Certificate
	conn     net.Conn
	r        *bufio.Reader
	tls      *tls.ConnectionState
	stripped bool

	hello    string
	from     string
	params   string
	inMail   bool
	began    bool // a MAIL command was taken in this session
	rcpts    []string
	messages int
	failure  string // why the TLS handshake failed
}

// serveMX serves a connection to an MX host, through the attacker's hands
// when he strips STARTTLS there.
func (l *Lab) serveMX(ctx context.Context, c net.Conn, domain, host string) {
	l.mu.Lock()
	st := l.domains[domain]
	var mx MX
	for _, m := range st.d.MX {
		if m.Host == host {
			mx = m
		}
	}
	s := &mxSession{lab: l, domain: domain, mx: mx, cert: st.mxCerts[host], conn: c, stripped: st.attack == Strip}
	l.mu.Unlock()
	if s.stripped {
		near, far := newPipe(addrPortOf(c.RemoteAddr()), addrPortOf(c.LocalAddr()))
		s.conn = far
		done := make(chan struct{})
		go func() {
			defer close(done)
			stripper{client: c, server: near, told: func() {
				l.opts.Events(STARTTLSStripped{l.stamp(), domain, host})
			}}.run(ctx)
		}()
		defer func() { <-done }()
		defer func() { _ = far.Close() }()
	}
	s.serve()
	if s.messages == 0 {
		e := MXLeft{Stamp: l.stamp(), Domain: domain, Host: host, Handshake: s.failure, Stripped: s.stripped, MailFrom: s.began}
		if s.tls != nil {
			e.TLS = tls.VersionName(s.tls.Version)
		}
		l.clientLeft(e)
	}
}

func (s *mxSession) serve() {
	s.r = bufio.NewReaderSize(s.conn, mxLine)
	if !s.reply("220 " + s.mx.Host + " ESMTP lab") {
		return
	}
	for {
		_ = s.conn.SetDeadline(time.Now().Add(mxIdle))
		line, err := s.r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			s.reply("500 5.5.6 line too long")
			return
		}
		if err != nil {
			return
		}
		if !s.command(strings.TrimRight(string(line), "\r\n")) {
			return
		}
	}
}

// reply sends one reply, given as its lines; it reports false when the
// session is over.
func (s *mxSession) reply(lines ...string) bool {
	_, err := io.WriteString(s.conn, strings.Join(lines, "\r\n")+"\r\n")
	return err == nil
}

// command does one command and reports false when the session is over.
func (s *mxSession) command(line string) bool {
	verb, arg, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "EHLO":
		s.hello = arg
		s.reset()
		return s.reply(s.capabilities()...)
	case "HELO":
		s.hello = arg
		s.reset()
		return s.reply("250 " + s.mx.Host)
	case "STARTTLS":
		return s.startTLS()
	case "MAIL":
		return s.mail(arg)
	case "RCPT":
		return s.rcpt(arg)
	case "DATA":
		return s.data()
	case "RSET":
		s.reset()
		return s.reply("250 2.0.0 reset")
	case "NOOP":
		return s.reply("250 2.0.0 ok")
	case "VRFY":
		return s.reply("252 2.5.0 send it and see")
	case "QUIT":
		s.reply("221 2.0.0 bye")
		return false
	}
	return s.reply("500 5.5.1 unknown command")
}

func (s *mxSession) capabilities() []string {
	caps := []string{"PIPELINING", "SIZE 33554432"}
	if s.mx.TLS && s.tls == nil {
		caps = append(caps, "STARTTLS")
	}
	caps = append(caps, "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")
	lines := []string{"250-" + s.mx.Host + " at your service"}
	for i, c := range caps {
		sep := "-"
		if i == len(caps)-1 {
			sep = " "
		}
		lines = append(lines, "250"+sep+c)
	}
	return lines
}

func (s *mxSession) reset() {
	s.from, s.params, s.inMail, s.rcpts = "", "", false, nil
}

// startTLS is RFC 3207, Section 4: what came before it is forgotten.
func (s *mxSession) startTLS() bool {
	if !s.mx.TLS || s.tls != nil {
		return s.reply("502 5.5.1 no STARTTLS here")
	}
	if s.r.Buffered() > 0 {
		s.reply("503 5.5.1 wait for the reply before speaking on")
		return false
	}
	if _, err := io.WriteString(s.conn, "220 2.0.0 go ahead\r\n"+s.mx.Inject); err != nil {
		return false
	}
	conn := tls.Server(s.conn, &tls.Config{
		Certificates: []tls.Certificate{*s.cert},
		MinVersion:   s.mx.MinTLS,
		MaxVersion:   s.mx.MaxTLS,
		Time:         s.lab.opts.Now,
	})
	if err := conn.Handshake(); err != nil {
		s.failure = err.Error()
		return false
	}
	state := conn.ConnectionState()
	s.tls, s.conn, s.hello = &state, conn, ""
	s.r = bufio.NewReaderSize(conn, mxLine)
	s.reset()
	return true
}

func (s *mxSession) mail(arg string) bool {
	path, params, ok := cutPath(arg, "FROM:")
	switch {
	case s.hello == "":
		return s.reply("503 5.5.1 say EHLO first")
	case !ok:
		return s.reply("501 5.5.4 syntax: MAIL FROM:<address>")
	case s.inMail:
		return s.reply("503 5.5.1 one message at a time")
	}
	s.from, s.params, s.inMail, s.began = path, params, true, true
	return s.reply("250 2.1.0 ok")
}

func (s *mxSession) rcpt(arg string) bool {
	path, _, ok := cutPath(arg, "TO:")
	switch {
	case !s.inMail:
		return s.reply("503 5.5.1 MAIL first")
	case !ok || path == "":
		return s.reply("501 5.5.4 syntax: RCPT TO:<address>")
	case len(s.rcpts) >= mxRcpts:
		return s.reply("452 4.5.3 too many recipients")
	}
	local, _, _ := strings.Cut(path, "@")
	for _, u := range s.mx.Unknown {
		if strings.EqualFold(u, local) {
			return s.reply("550 5.1.1 no such user here")
		}
	}
	if s.mx.Greylist > 0 && s.lab.greylisted(s.domain, path, s.mx.Greylist) {
		return s.reply("450 4.7.1 greylisted, come back later")
	}
	s.rcpts = append(s.rcpts, path)
	return s.reply("250 2.1.5 ok")
}

func (s *mxSession) data() bool {
	if len(s.rcpts) == 0 {
		return s.reply("503 5.5.1 RCPT first")
	}
	if !s.reply("354 end with a dot on a line of its own") {
		return false
	}
	data, err := readData(s.conn, s.r)
	if err != nil {
		if errors.Is(err, errTooBig) {
			s.reset()
			return s.reply("552 5.3.4 message too big")
		}
		return false
	}
	m := Mail{
		Time: s.lab.opts.Now(), Domain: s.domain, Host: s.mx.Host, Client: addrPortOf(s.conn.RemoteAddr()),
		Hello: s.hello, From: s.from, Rcpts: s.rcpts, MailParams: s.params, Data: data,
		Stripped: s.stripped, Canaries: findCanaries(data),
	}
	if s.tls != nil {
		m.TLS, m.Cipher, m.SNI = tls.VersionName(s.tls.Version), tls.CipherSuiteName(s.tls.CipherSuite), s.tls.ServerName
	}
	s.messages++
	s.reset()
	s.lab.receive(m)
	return s.reply(fmt.Sprintf("250 2.0.0 taken as %d", s.messages))
}

var errTooBig = errors.New("lab: message too big")

// readData reads to the line with the single dot. Only CRLF ends a line: what
// else a client may take for a line end stays in the message as it is.
func readData(c net.Conn, r *bufio.Reader) ([]byte, error) {
	var data []byte
	big := false
	atStart := true // at the beginning of a line
	for {
		_ = c.SetDeadline(time.Now().Add(mxIdle))
		piece, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if atStart && bytes.Equal(piece, []byte(".\r\n")) {
			if big {
				return nil, errTooBig
			}
			return data, nil
		}
		if atStart && piece[0] == '.' {
			piece = piece[1:]
		}
		if big = big || len(data)+len(piece) > mxMessage; !big {
			data = append(data, piece...)
		}
		tail := data
		if big {
			tail = piece
		}
		atStart = bytes.HasSuffix(tail, []byte("\r\n"))
	}
}

// cutPath splits the argument of MAIL and RCPT into path and parameters.
func cutPath(arg, keyword string) (path, params string, ok bool) {
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		return "", "", false
	}
	arg = strings.TrimLeft(arg[len(keyword):], " ")
	if !strings.HasPrefix(arg, "<") {
		return "", "", false
	}
	end := strings.LastIndex(arg, ">")
	if end < 0 {
		return "", "", false
	}
	return arg[1:end], strings.TrimSpace(arg[end+1:]), true
}

// greylisted reports whether the recipient must be tried again later.
func (l *Lab) greylisted(domain, rcpt string, wait time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := l.domains[domain]
	first, ok := st.greylist[rcpt]
	if !ok {
		if len(st.greylist) < 10_000 {
			st.greylist[rcpt] = l.opts.Now()
		}
		return true
	}
	return l.opts.Now().Sub(first) < wait
}
