package smtpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// countingConn counts the writes of a connection, and keeps their bytes.
type countingConn struct {
	net.Conn
	mu     sync.Mutex
	writes []string
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.writes = append(c.writes, string(p))
	c.mu.Unlock()
	return c.Conn.Write(p)
}

// The envelope and DATA go out in one write, and so do a body and its end (RFC
// 2920, Section 3.1).
func TestSendOneWriteForAGroup(t *testing.T) {
	addr := serve(t, func(p *peer) {
		p.send("220 hi\n")
		p.want("EHLO gate.office.example", plainEHLO)
		for range 2 {
			for range 4 {
				p.line()
			}
			p.send("250 ok\n250 ok\n250 ok\n354 go\n")
			p.body()
			p.send("250 ok\n")
		}
	})
	var cc *countingConn
	cfg := testConfig
	cfg.Dial = func(ctx context.Context, network, a string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, a)
		cc = &countingConn{Conn: nc}
		return cc, err
	}
	c, err := cfg.Connect(context.Background(), "mx", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := []string{
		"EHLO gate.office.example\r\n",
		"MAIL FROM:<b@office.example>\r\nRCPT TO:<a@x.example>\r\nRCPT TO:<b@x.example>\r\nDATA\r\n", "..\r\nhi\r\n.\r\n",
		"MAIL FROM:<b@office.example>\r\nRCPT TO:<a@x.example>\r\nRCPT TO:<b@x.example>\r\nDATA\r\n", "..\r\nhi\r\n.\r\n",
	}
	for range 2 {
		results, err := c.Send(context.Background(), Transaction{From: "b@office.example", Rcpts: rcpts("a@x.example", "b@x.example")}, strings.NewReader(".\r\nhi\r\n"))
		if err != nil || brief(results) != "250, 250" {
			t.Fatalf("got %s, %v", brief(results), err)
		}
	}
	if got := fmt.Sprintf("%q", cc.writes); got != fmt.Sprintf("%q", want) {
		t.Errorf("got writes %s\nwant %q", got, want)
	}
}

// RFC 2920, Section 3.1: a 354 to a DATA that was sent before every recipient
// was refused is answered with a single dot, and never with the message.
func TestSendNobodyButGoAhead(t *testing.T) {
	tests := []struct {
		name  string
		group string
		dot   string // the reply to the dot
		want  string
		alive bool
	}{
		{"RCPT refused", "250 ok\n550 no\n452 full\n354 go\n", "554 no valid recipients\n", "550 RCPT, 452 RCPT", true},
		{"MAIL refused", "451 later\n503 a\n503 b\n354 go\n", "503 what\n", "451 MAIL, 451 MAIL", true},
		{"the empty message is taken", "250 ok\n550 no\n550 no\n354 go\n", "250 thanks\n", "550 RCPT, 550 RCPT", true},
		{"421 to the dot", "250 ok\n550 no\n550 no\n354 go\n", "421 bye\n", "550 RCPT, 550 RCPT", false},
		{"a further 354", "250 ok\n550 no\n550 no\n354 go\n", "354 more\n", "550 RCPT, 550 RCPT", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, plainEHLO, func(p *peer) {
				for range 4 {
					p.line()
				}
				p.send(tt.group)
				p.want(".", tt.dot)
				if !tt.alive {
					if rest := p.line(); rest != "" {
						t.Errorf("peer: got %q after the end", rest)
					}
					return
				}
				// The transaction is over with the dot: no RSET.
				p.want("MAIL FROM:<>", "550 no\n503 a\n503 b\n")
				p.line()
				p.line()
			})
			results, err := c.Send(context.Background(), Transaction{Rcpts: rcpts("a@x.example", "b@x.example")}, strings.NewReader("secret\r\n"))
			if err != nil || brief(results) != tt.want {
				t.Errorf("got %s, %v; want %s", brief(results), err, tt.want)
			}
			if c.Alive() != tt.alive {
				t.Errorf("got alive %v, want %v", c.Alive(), tt.alive)
			}
			if tt.alive {
				if results, err = c.Send(context.Background(), Transaction{Rcpts: rcpts("a@x.example")}, nil); err != nil || brief(results) != "550 MAIL" {
					t.Errorf("got %s, %v for the next", brief(results), err)
				}
			}
		})
	}
}

// The state that a refused transaction leaves behind decides whether RSET goes
// before the next MAIL; with PIPELINING it goes in the same group.
func TestSendResetOnlyWhenNeeded(t *testing.T) {
	tests := []struct {
		name   string
		group  string // answers to MAIL, RCPT, DATA
		finish string // answer to the message, "" when none is sent
		reset  bool
	}{
		{"delivered", "250 a\n250 b\n354 c\n", "250 ok\n", false},
		{"message refused", "250 a\n250 b\n354 c\n", "550 no\n", false},
		{"message deferred", "250 a\n250 b\n354 c\n", "451 no\n", false},
		{"MAIL refused", "550 a\n503 b\n503 c\n", "", false},
		{"MAIL refused, RCPT taken all the same", "550 a\n250 b\n503 c\n", "", true},
		{"RCPT refused", "250 a\n550 b\n554 c\n", "", true},
		{"DATA refused", "250 a\n250 b\n451 c\n", "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, plainEHLO, func(p *peer) {
				for range 3 {
					p.line()
				}
				p.send(tt.group)
				if tt.finish != "" {
					p.body()
					p.send(tt.finish)
				}
				if tt.reset {
					p.want("RSET", "250 reset\n")
				}
				p.want("MAIL FROM:<>", "250 ok\n")
				p.want("RCPT TO:<b@x.example>", "250 ok\n")
				p.want("DATA", "354 go\n")
				p.body()
				p.send("250 2.0.0 second\n")
				p.want("QUIT", "221 bye\n")
			})
			if _, err := c.Send(context.Background(), Transaction{Rcpts: rcpts("a@x.example")}, strings.NewReader("x\r\n")); err != nil {
				t.Fatal(err)
			}
			results, err := c.Send(context.Background(), Transaction{Rcpts: rcpts("b@x.example")}, strings.NewReader("x\r\n"))
			if err != nil || brief(results) != "250 2.0.0" || results[0].Text != "second" {
				t.Errorf("got %s %q, %v", brief(results), results[0].Text, err)
			}
			c.Quit()
		})
	}
}

// A server that does not take RSET is left, and nothing is sent to it.
func TestSendResetRefused(t *testing.T) {
	c := dial(t, plainEHLO, func(p *peer) {
		p.line()
		p.line()
		p.line()
		p.send("250 a\n550 b\n503 c\n")
		p.want("RSET", "500 what\n250 ok\n250 ok\n354 go\n")
		io.Copy(io.Discard, p.br)
	})
	tx := Transaction{Rcpts: rcpts("a@x.example")}
	if _, err := c.Send(context.Background(), tx, nil); err != nil {
		t.Fatal(err)
	}
	results, err := c.Send(context.Background(), tx, strings.NewReader("x\r\n"))
	var re *ReplyError
	if !errors.As(err, &re) || re.Command != "RSET" || !re.Host() || results[0].Err != err || c.Alive() {
		t.Errorf("got %v, %v, want a refusal of RSET", results, err)
	}
}

// LIMITS (RFC 9422): MAILMAX ends the connection's usefulness, RCPTDOMAINMAX
// leaves recipients over.
func TestSendLimits(t *testing.T) {
	c := dial(t, "250-x\n250-PIPELINING\n250 LIMITS mailmax=2 RCPTDOMAINMAX=1\n", func(p *peer) {
		for range 4 {
			p.line()
		}
		p.send("250 ok\n250 ok\n250 ok\n354 go\n")
		p.body()
		p.send("250 ok\n")
		p.want("MAIL FROM:<>", "550 no\n503 no\n503 no\n")
		p.line()
		p.line()
		p.want("QUIT", "221 bye\n")
	})
	results, err := c.Send(context.Background(), Transaction{Rcpts: rcpts("a@x.example", "b@y.example", "c@X.example")}, strings.NewReader("hi\r\n"))
	if err != nil || results[0].Err != nil || !errors.Is(results[1].Err, ErrRcptLimit) || results[2].Err != nil {
		t.Errorf("got %v, %v", results, err)
	}
	if !c.Alive() || c.Sent() != 1 {
		t.Errorf("got alive %v after %d", c.Alive(), c.Sent())
	}
	if results, err = c.Send(context.Background(), Transaction{Rcpts: rcpts("a@x.example")}, nil); err != nil || brief(results) != "550 MAIL" {
		t.Errorf("got %s, %v", brief(results), err)
	}
	if c.Alive() || c.Sent() != 2 {
		t.Errorf("got alive %v after %d, want the limit reached", c.Alive(), c.Sent())
	}
	if results, err = c.Send(context.Background(), Transaction{Rcpts: rcpts("a@x.example")}, nil); !errors.Is(err, ErrMailLimit) || results[0].Err != err {
		t.Errorf("got %v, %v, want ErrMailLimit", results, err)
	}
	c.Quit()
}

// A server that closes, or says anything, between two transactions is noticed
// before the next one.
func TestAliveNoticesGoodbye(t *testing.T) {
	for _, say := range []string{"", "421 4.4.2 idle too long\r\n", "250 what?\r\n"} {
		t.Run(say, func(t *testing.T) {
			next := make(chan struct{})
			c := dial(t, plainEHLO, func(p *peer) {
				<-next
				io.WriteString(p.nc, say)
				if say != "" {
					p.line()
				}
			})
			for range 3 {
				if !c.Alive() {
					t.Fatal("got a dead connection, want one that is idle")
				}
			}
			close(next)
			for end := time.Now().Add(5 * time.Second); c.Alive(); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("got an alive connection after the server's goodbye")
				}
			}
			if c.Sent() != 0 {
				t.Errorf("got %d transactions", c.Sent())
			}
			c.Quit()
		})
	}
}

// A deadline of a step that is long past does not make an idle connection look dead.
func TestAliveAfterDeadline(t *testing.T) {
	addr := serve(t, func(p *peer) {
		p.send("220 hi\n")
		p.want("EHLO gate.office.example", plainEHLO)
		p.line()
		p.line()
		p.line()
		p.send("550 no\n503 no\n503 no\n")
		p.line()
	})
	cfg := testConfig
	cfg.Timeouts.Rcpt, cfg.Timeouts.DataInit = 50*time.Millisecond, 50*time.Millisecond
	c, err := cfg.Connect(context.Background(), "mx", addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Send(context.Background(), Transaction{Rcpts: rcpts("a@x.example")}, nil); err != nil {
		t.Fatal(err)
	}
	time.Sleep(80 * time.Millisecond)
	if !c.Alive() {
		t.Error("got a dead connection, want one that is idle")
	}
	c.Quit()
}

func TestProbe(t *testing.T) {
	tests := []struct {
		name, from, group, want string
		alive                   bool
	}{
		{"yes", "", "250 ok\n250 2.1.5 ok\n", "250 2.1.5", true},
		{"forwarded", "", "250 ok\n251 2.1.5 ok\n", "251 2.1.5", true},
		{"cannot say", "", "250 ok\n252 2.1.5 ok\n", "252 2.1.5", true},
		{"no", "", "250 ok\n550 5.1.1 who?\n", "550 5.1.1 RCPT", true},
		{"later", "b@office.example", "250 ok\n450 4.2.0 later\n", "450 4.2.0 RCPT", true},
		{"null path refused", "", "550 5.7.1 no bounces\n503 no\n", "550 5.7.1 MAIL", true},
		{"421", "", "250 ok\n421 bye\n", "421 RCPT", false},
		{"354", "", "250 ok\n354 go\n", "0 *smtpc.ProtocolError", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, plainEHLO, func(p *peer) {
				p.want("MAIL FROM:<"+tt.from+">", "")
				p.want("RCPT TO:<a@x.example>", tt.group)
				if line := p.line(); tt.alive && line != "QUIT" || !tt.alive && line != "" {
					t.Errorf("peer: got %q", line)
				}
			})
			res, err := c.Probe(context.Background(), tt.from, Rcpt{Addr: "a@x.example"})
			if got := brief([]RcptResult{res}); got != tt.want || (err == nil) != tt.alive {
				t.Errorf("got %s, %v; want %s", got, err, tt.want)
			}
			if c.Alive() != tt.alive {
				t.Errorf("got alive %v", c.Alive())
			}
			c.Quit()
		})
	}
}
