package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"gatepost/mtasts"
)

const (
	probeTimeout  = 30 * time.Second
	maxReplyBytes = 64 << 10 // of all replies before TLS
)

// probe connects to an MX host, asks for STARTTLS, makes the handshake and
// hangs up. An error means that the host could not be asked; what it did wrong
// with TLS is in the state.
func (c *checker) probe(ctx context.Context, host string) (st mtasts.TLSState, addr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := c.dial(ctx, host)
	if err != nil {
		return st, "", err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	addr = conn.RemoteAddr().String()

	s := smtp{r: bufio.NewReader(io.LimitReader(conn, maxReplyBytes)), w: conn}
	if _, err := s.reply(220); err != nil {
		return st, addr, fmt.Errorf("greeting: %w", err)
	}
	lines, err := s.command(250, "EHLO "+c.helo)
	if err != nil {
		return st, addr, fmt.Errorf("EHLO: %w", err)
	}
	for _, line := range lines[1:] {
		st.STARTTLS = st.STARTTLS || strings.EqualFold(strings.TrimSpace(line), "STARTTLS")
	}
	if !st.STARTTLS {
		return st, addr, nil
	}
	if _, err := s.command(220, "STARTTLS"); err != nil {
		st.HandshakeErr = fmt.Errorf("STARTTLS: %w", err)
		return st, addr, nil
	}
	if s.r.Buffered() > 0 {
		st.HandshakeErr = errors.New("text in clear after the reply to STARTTLS")
		return st, addr, nil
	}
	// The certificate is judged afterwards by mtasts.Judge, which names what is
	// wrong with it; nothing is sent over this connection.
	client := tls.Client(conn, &tls.Config{ServerName: host, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
	if err := client.HandshakeContext(ctx); err != nil {
		st.HandshakeErr = err
		return st, addr, nil
	}
	state := client.ConnectionState()
	st.Connection = &state
	return st, addr, nil
}

// dial connects to port 25 of a host, or to where the map says.
func (c *checker) dial(ctx context.Context, host string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: probeTimeout / 3}
	if to, ok := c.mapped[strings.ToLower(host)+":25"]; ok {
		return dialer.DialContext(ctx, "tcp", to.String())
	}
	addrs, err := c.resolver.LookupNetIP(ctx, "ip", host+".")
	if err != nil {
		return nil, err
	}
	err = errors.New("no address")
	for _, a := range addrs[:min(len(addrs), 4)] {
		var conn net.Conn
		if conn, err = dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(a.Unmap(), 25).String()); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// smtp reads replies and writes commands.
type smtp struct {
	r *bufio.Reader
	w io.Writer
}

func (s smtp) command(code int, line string) ([]string, error) {
	if _, err := io.WriteString(s.w, line+"\r\n"); err != nil {
		return nil, err
	}
	return s.reply(code)
}

// reply reads one reply of one or more lines and gives their texts.
func (s smtp) reply(want int) ([]string, error) {
	var lines []string
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		line = strings.TrimRight(line, "\r\n")
		if !strings.HasPrefix(line, fmt.Sprint(want)) || len(line) > 3 && line[3] != ' ' && line[3] != '-' {
			return nil, fmt.Errorf("the server said %.100q", line)
		}
		text := ""
		if len(line) > 4 {
			text = line[4:]
		}
		lines = append(lines, text)
		if len(line) < 4 || line[3] == ' ' {
			return lines, nil
		}
	}
}

func tlsName(cs *tls.ConnectionState) string {
	return tls.VersionName(cs.Version) + " " + tls.CipherSuiteName(cs.CipherSuite)
}

// refused reports whether a host answered that nothing listens there.
func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
