package smtpd

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener of connections inside this process, so that time can be
// that of a synctest bubble. It stands for the network.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.conns) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// The default limits, with a client that sends a byte a minute, or reads none.
func TestDefaultTimes(t *testing.T) {
	begin := "EHLO a\r\n>MAIL FROM:<bob@other.example>\r\nRCPT TO:<anna@office.example>\r\n>"
	for _, tt := range []struct {
		name   string
		first  string // pieces that are sent one after the other
		text   string // sent a byte a minute
		silent bool   // reads nothing
		want   time.Duration
		says   string
	}{
		{"silence", "", "", false, 5 * time.Minute, "421 4.4.2 "},
		{"a byte of a command a minute", "", strings.Repeat("x", 1000), false, 5 * time.Minute, "421 4.4.2 "},
		{"a byte of DATA a minute", begin + "DATA\r\n", strings.Repeat("x", 1000), false, 5 * time.Minute, "421 4.4.2 "},
		{"a byte of a chunk a minute", begin + "BDAT 1000 LAST\r\n", strings.Repeat("x", 1000), false, 5 * time.Minute, "421 4.4.2 "},
		{"a NOOP a minute", "", strings.Repeat("NOOP\r\n", 1000), false, 5 * time.Minute, "421 4.4.2 "},
		{"reads nothing", "", "", true, 5 * time.Minute, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &pipes{conns: make(chan net.Conn)}
				s := New(Config{Hostname: "gate.office.example", Listeners: []Listener{{Listener: l}}, Local: ownDomains(""), Accept: drop})
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan error, 1)
				go func() { done <- s.Run(ctx) }()
				us, them := net.Pipe()
				l.conns <- us
				began := time.Now()
				var said strings.Builder
				over := make(chan time.Time, 1)
				if !tt.silent {
					go func() {
						_, _ = io.Copy(&said, them)
						over <- time.Now()
					}()
				}
				for piece := range strings.SplitSeq(tt.first, ">") {
					synctest.Wait() // the client waits for the reply
					_, _ = io.WriteString(them, piece)
				}
				wrote := make(chan struct{})
				go func() {
					defer close(wrote)
					for i := range len(tt.text) {
						time.Sleep(time.Minute)
						if _, err := io.WriteString(them, tt.text[i:i+1]); err != nil {
							return
						}
					}
				}()
				if tt.silent {
					time.Sleep(5*time.Minute + 10*time.Second)
					synctest.Wait()
					if _, err := them.Write([]byte("x")); err == nil {
						t.Error("the connection is still open")
					}
				} else if took := (<-over).Sub(began); took < tt.want || took > tt.want+10*time.Second || !strings.Contains(said.String(), "\r\n"+tt.says) {
					t.Errorf("got %q after %v, want %q after %v", said.String(), took, tt.says, tt.want)
				}
				them.Close()
				<-wrote
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
