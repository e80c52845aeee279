package smtpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

func rcpts(addrs ...string) []Rcpt {
	var out []Rcpt
	for _, a := range addrs {
		out = append(out, Rcpt{Addr: a})
	}
	return out
}

// brief writes results as "250 2.0.0, 550 5.1.1 RCPT, ..." for comparison.
func brief(results []RcptResult) string {
	var out []string
	for _, r := range results {
		s := strings.TrimSpace(fmt.Sprintf("%d %s", r.Code, r.Enhanced))
		var re *ReplyError
		switch {
		case errors.As(r.Err, &re):
			s += " " + re.Command
		case r.Err != nil:
			s += fmt.Sprintf(" %T", r.Err)
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func TestSendPipelined(t *testing.T) {
	body := "Subject: dots\r\n\r\n.one\r\n..two\r\n\r\n.\r\nlast\r\n"
	want := "Subject: dots\r\n\r\n..one\r\n...two\r\n\r\n..\r\nlast\r\n.\r\n"
	c := dial(t, plainEHLO, func(p *peer) {
		// Nothing is answered before the whole group is there.
		for _, line := range []string{
			"MAIL FROM:<bob@office.example> SIZE=45 BODY=8BITMIME RET=HDRS ENVID=a+2Bb+20c",
			"RCPT TO:<anna@good.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;anna+2Bx@good.example",
			"RCPT TO:<nobody@good.example>",
			"RCPT TO:<full@good.example>",
		} {
			p.want(line, "")
		}
		p.send("250 2.1.0 ok\n250 2.1.5 ok\n550 5.1.1 no such user\n452 4.2.2 full\n")
		p.want("DATA", "354 go\n")
		if got := p.body(); got != want {
			t.Errorf("peer: got body %q, want %q", got, want)
		}
		p.send("250-2.0.0 thank\n250 2.0.0 you\n")
		p.want("QUIT", "221 bye\n")
	})
	results, err := c.Send(context.Background(), Transaction{
		From: "bob@office.example",
		Rcpts: []Rcpt{
			{Addr: "anna@good.example", Notify: []string{"FAILURE", "DELAY"}, ORcpt: "rfc822;anna+x@good.example"},
			{Addr: "nobody@good.example"},
			{Addr: "full@good.example"},
		},
		Size: 45, EightBit: true, Ret: "HDRS", EnvelopeID: "a+b c",
	}, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := brief(results), "250 2.0.0, 550 5.1.1 RCPT, 452 4.2.2 RCPT"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if results[0].Text != "thank you" {
		t.Errorf("got text %q, want the lines joined", results[0].Text)
	}
	c.Quit()
}

// A server that offers nothing gets one command at a time and no parameter.
func TestSendPlain(t *testing.T) {
	c := dial(t, "250 mx.good.example\n", func(p *peer) {
		p.want("MAIL FROM:<>", "250 ok\n")
		p.want("RCPT TO:<a@good.example>", "251 will forward\n")
		p.want("RCPT TO:<b@good.example>", "550 no\n")
		p.want("DATA", "399 go on\n") // read by its first digit
		if got, want := p.body(), "x\r\n.\r\n"; got != want {
			t.Errorf("peer: got body %q, want %q", got, want)
		}
		p.send("299 fine\n")
		// A second transaction on the same connection.
		p.want("MAIL FROM:<>", "250 ok\n")
		p.want("RCPT TO:<b@good.example>", "550 no\n")
		// It was left open: the next one begins with RSET, and no other does.
		p.want("RSET", "250 ok\n")
		p.want("MAIL FROM:<>", "550 no\n")
		p.want("MAIL FROM:<>", "250 ok\n")
		p.want("RCPT TO:<c@good.example>", "250 ok\n")
		p.want("DATA", "354 go\n")
		p.body()
		p.send("550 no\n")
		p.want("QUIT", "221 bye\n")
	})
	tx := Transaction{Rcpts: rcpts("a@good.example", "b@good.example"), Size: 1, Ret: "FULL", EnvelopeID: "x"}
	tx.Rcpts[0].Notify = []string{"NEVER"}
	results, err := c.Send(context.Background(), tx, strings.NewReader("x"))
	if err != nil || brief(results) != "299, 550 RCPT" {
		t.Errorf("got %s, %v", brief(results), err)
	}
	results, err = c.Send(context.Background(), Transaction{Rcpts: rcpts("b@good.example")}, strings.NewReader("x"))
	if err != nil || brief(results) != "550 RCPT" || !c.Alive() {
		t.Errorf("got %s, %v, alive %v", brief(results), err, c.Alive())
	}
	for _, want := range []string{"550 MAIL", "550 body"} {
		results, err = c.Send(context.Background(), Transaction{Rcpts: rcpts("c@good.example")}, strings.NewReader("x"))
		if err != nil || brief(results) != want || !c.Alive() {
			t.Errorf("got %s, %v, alive %v; want %s", brief(results), err, c.Alive(), want)
		}
	}
	if c.Sent() != 4 {
		t.Errorf("got %d transactions, want 4", c.Sent())
	}
	c.Quit()
}

func TestSendReplies(t *testing.T) {
	group := func(p *peer) {
		for range 3 {
			p.line()
		}
	}
	tests := []struct {
		name   string
		script func(p *peer)
		want   string
		dead   bool
	}{
		{"MAIL refused", func(p *peer) {
			group(p)
			p.send("550 5.7.1 no\n503 a\n503 b\n503 c\n")
			p.want("DATA", "")
			p.want("QUIT", "221 bye\n")
		}, "550 5.7.1 MAIL, 550 5.7.1 MAIL", false},
		{"MAIL 421", func(p *peer) { group(p); p.send("421 4.3.2 bye\n") }, "421 4.3.2 MAIL, 421 4.3.2 MAIL", true},
		{"MAIL 354", func(p *peer) { group(p); p.send("354 go\n") }, "0 *smtpc.ProtocolError, 0 *smtpc.ProtocolError", true},
		{"RCPT 421 keeps the answer before it", func(p *peer) { group(p); p.send("250 ok\n550 5.1.1 no\n421 bye\n") }, "550 5.1.1 RCPT, 421 RCPT", true},
		{"RCPT 421 takes the accepted with it", func(p *peer) { group(p); p.send("250 ok\n250 ok\n421 bye\n") }, "421 RCPT, 421 RCPT", true},
		{"an unasked reply", func(p *peer) { group(p); p.send("250 ok\n250 ok\n250 ok\n250 queued\n"); p.line() }, "0 *smtpc.ProtocolError, 0 *smtpc.ProtocolError", true},
		{"an unasked reply with 354", func(p *peer) {
			group(p)
			p.send("250 ok\n250 ok\n250 ok\n")
			p.want("DATA", "354 go\n250 queued\n")
		}, "0 *smtpc.ProtocolError, 0 *smtpc.ProtocolError", true},
		{"an unasked 421", func(p *peer) { group(p); p.send("250 ok\n250 ok\n550 ok\n421 4.3.2 bye\n"); p.line() }, "421 4.3.2 DATA, 550 RCPT", true},
		{"RCPT 552 is 452", func(p *peer) {
			group(p)
			p.send("250 ok\n552 5.5.3 too many\n552 x\n554 no\n")
			p.want("DATA", "")
			p.want("QUIT", "221 bye\n")
		}, "452 4.5.3 RCPT, 452 RCPT", false},
		{"RCPT lost", func(p *peer) { group(p); p.send("250 ok\n550 no\n") }, "550 RCPT, 0 *smtpc.NetError", true},
		{"DATA refused", func(p *peer) {
			group(p)
			p.send("250 ok\n250 ok\n550 no\n")
			p.want("DATA", "451 4.3.0 later\n")
			p.want("QUIT", "221 bye\n")
		}, "451 4.3.0 DATA, 550 RCPT", false},
		{"DATA 250", func(p *peer) { group(p); p.send("250 ok\n250 ok\n250 ok\n"); p.want("DATA", "250 ok\n") }, "0 *smtpc.ProtocolError, 0 *smtpc.ProtocolError", true},
		{"body refused", func(p *peer) {
			group(p)
			p.send("250 ok\n250 ok\n550 no\n")
			p.want("DATA", "354 go\n")
			p.body()
			p.send("554 5.6.0 spam\n")
			p.want("QUIT", "221 bye\n")
		}, "554 5.6.0 body, 550 RCPT", false},
		{"body 421", func(p *peer) {
			group(p)
			p.send("250 ok\n250 ok\n250 ok\n")
			p.want("DATA", "354 go\n")
			p.body()
			p.send("421 bye\n")
		}, "421 body, 421 body", true},
		{"lost after the dot", func(p *peer) {
			group(p)
			p.send("250 ok\n250 ok\n250 ok\n")
			p.want("DATA", "354 go\n")
			p.body()
		}, "0 *smtpc.NetError, 0 *smtpc.NetError", true},
		{"enhanced code of another class", func(p *peer) {
			group(p)
			p.send("250 ok\n250 ok\n250 ok\n")
			p.want("DATA", "354 go\n")
			p.body()
			p.send("450 5.1.1 odd\n")
			p.want("QUIT", "221 bye\n")
		}, "450 body, 450 body", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, plainEHLO, tt.script)
			results, err := c.Send(context.Background(), Transaction{From: "x@office.example", Rcpts: rcpts("a@good.example", "b@good.example")}, strings.NewReader("hi\r\n"))
			if got := brief(results); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if (err != nil) != tt.dead || c.Alive() == tt.dead {
				t.Errorf("got error %v alive %v, want dead %v", err, c.Alive(), tt.dead)
			}
			if !tt.dead {
				c.Quit()
			}
		})
	}
}

// Not a byte may be sent when the message does not fit the server.
func TestSendUnsupported(t *testing.T) {
	tests := []struct {
		name string
		ehlo string
		tx   Transaction
		want string
	}{
		{"too big", "250-x\n250 SIZE 10\n", Transaction{Size: 11}, "5.3.4"},
		{"8-bit", "250 x\n", Transaction{EightBit: true}, "5.6.3"},
		{"SMTPUTF8 flag", "250-x\n250 8BITMIME\n", Transaction{SMTPUTF8: true}, "5.6.7"},
		{"SMTPUTF8 address", "250-x\n250 8BITMIME\n", Transaction{From: "jürgen@office.example"}, "5.6.7"},
		{"REQUIRETLS in clear", "250-x\n250 REQUIRETLS\n", Transaction{RequireTLS: true}, "5.7.10"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, tt.ehlo, func(p *peer) { p.want("QUIT", "221 bye\n") })
			tt.tx.Rcpts = rcpts("a@good.example")
			results, err := c.Send(context.Background(), tt.tx, nil)
			var ue *UnsupportedError
			if err != nil || !errors.As(results[0].Err, &ue) || ue.Enhanced != tt.want {
				t.Errorf("got %v, %v; want %s", results[0].Err, err, tt.want)
			}
			c.Quit()
		})
	}
}

func TestSendRequireTLS(t *testing.T) {
	cert := selfSigned(t, "mx.good.example", time.Now().Add(time.Hour))
	for _, offered := range []bool{true, false} {
		t.Run(fmt.Sprint(offered), func(t *testing.T) {
			c := dial(t, tlsEHLO, func(p *peer) {
				p.want("STARTTLS", "220 go\n")
				if err := p.startTLS(cert); err != nil {
					t.Errorf("peer: %v", err)
					return
				}
				if !offered {
					p.want("EHLO gate.office.example", "250-x\n250 SIZE\n")
					p.want("QUIT", "221 bye\n")
					return
				}
				p.want("EHLO gate.office.example", "250-x\n250 requiretls\n")
				p.want("MAIL FROM:<b@office.example> REQUIRETLS", "250 ok\n")
				p.want("RCPT TO:<a@good.example>", "250 ok\n")
				p.want("DATA", "354 go\n")
				p.body()
				p.send("250 ok\n")
				p.want("QUIT", "221 bye\n")
			})
			if err := c.StartTLS(context.Background(), nil); err != nil {
				t.Fatal(err)
			}
			results, err := c.Send(context.Background(), Transaction{From: "b@office.example", RequireTLS: true, Rcpts: rcpts("a@good.example")}, strings.NewReader("hi\r\n"))
			if err != nil {
				t.Fatal(err)
			}
			var ue *UnsupportedError
			if offered && results[0].Err != nil || !offered && (!errors.As(results[0].Err, &ue) || ue.Enhanced != "5.7.30") {
				t.Errorf("got %v with REQUIRETLS offered %v", results[0].Err, offered)
			}
			c.Quit()
		})
	}
}

// An address that would put a second command or parameter on the wire is
// never sent; the others are.
func TestSendRefusesAddresses(t *testing.T) {
	c := dial(t, plainEHLO, func(p *peer) {
		p.want("MAIL FROM:<b@office.example>", "")
		p.want("RCPT TO:<a@good.example>", "250 ok\n250 ok\n")
		p.want("DATA", "354 go\n")
		p.body()
		p.send("250 ok\n")
		p.want("QUIT", "221 bye\n")
	})
	bad := []string{
		"victim@other.example> NOTIFY=NEVER X@good.example", "a@good.example>\r\nRCPT TO:<v@other.example", "a b@good.example",
		"<a@good.example>", "a@good.example\n", "", "a", "@good.example", "a@", "a@good.example ", `"a"@good.example`, "a@good.example\x00", "@x:a@good.example", "a@b@good.example>",
	}
	tx := Transaction{From: "b@office.example", Rcpts: rcpts(append(bad, "a@good.example")...)}
	results, err := c.Send(context.Background(), tx, strings.NewReader("hi\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range bad {
		var ae *AddressError
		if !errors.As(results[i].Err, &ae) || ae.Sender {
			t.Errorf("%q: got %v, want an *AddressError", a, results[i].Err)
		}
	}
	if results[len(bad)].Err != nil {
		t.Errorf("got %v for the good address", results[len(bad)].Err)
	}
	results, err = c.Send(context.Background(), Transaction{From: "x@y.example> SIZE=1", Rcpts: rcpts("a@good.example")}, nil)
	var ae *AddressError
	if err != nil || !errors.As(results[0].Err, &ae) || !ae.Sender {
		t.Errorf("got %v, %v for a bad sender", results[0].Err, err)
	}
	c.Quit()
}

func TestSendRcptLimit(t *testing.T) {
	c := dial(t, "250-x\n250-PIPELINING\n250 LIMITS RCPTMAX=2\n", func(p *peer) {
		for range 3 {
			p.line()
		}
		p.send("250 ok\n250 ok\n250 ok\n")
		p.want("DATA", "354 go\n")
		p.body()
		p.send("250 ok\n")
	})
	results, err := c.Send(context.Background(), Transaction{Rcpts: rcpts("a@x.example", "b@x.example", "c@x.example")}, strings.NewReader("hi\r\n"))
	if err != nil || results[0].Err != nil || results[1].Err != nil || !errors.Is(results[2].Err, ErrRcptLimit) {
		t.Errorf("got %v, %v", results, err)
	}
}

// More recipients than fit a group, against a server that writes its answers
// slowly and with small buffers.
func TestSendManyRecipients(t *testing.T) {
	const n = 333
	c := dial(t, plainEHLO, func(p *peer) {
		p.line()
		p.send("250 ok\n")
		for i := range n {
			p.line()
			if i%3 == 0 {
				p.send("550 5.1.1 no\n")
			} else {
				p.send("250-2.1.5 " + strings.Repeat("x", 500) + "\n250 2.1.5 ok\n")
			}
		}
		p.want("DATA", "354 go\n")
		p.body()
		p.send("250 ok\n")
	})
	var addrs []string
	for i := range n {
		addrs = append(addrs, fmt.Sprintf("user%d@good.example", i))
	}
	results, err := c.Send(context.Background(), Transaction{Rcpts: rcpts(addrs...)}, strings.NewReader("hi\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if (r.Err != nil) != (i%3 == 0) {
			t.Fatalf("recipient %d: got %v", i, r.Err)
		}
	}
}

// A body that may not be sent, or cannot be read, ends without the dot.
func TestSendBadBody(t *testing.T) {
	broken := errors.New("disk gone")
	tests := []struct {
		name string
		body io.Reader
		want error
	}{
		{"bare LF", strings.NewReader("a\nb\r\n"), ErrBareLF},
		{"bare CR", strings.NewReader("a\rb\r\n"), ErrBareCR},
		{"CR at the end", strings.NewReader("a\r"), ErrBareCR},
		{"smuggled end", strings.NewReader("a\r\n.\nMAIL FROM:<x@y.example>\r\n"), ErrBareLF},
		{"read error", io.MultiReader(strings.NewReader("a\r\n"), errReader{broken}), broken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := make(chan string, 1)
			c := dial(t, plainEHLO, func(p *peer) {
				p.line()
				p.line()
				p.send("250 ok\n250 ok\n")
				p.want("DATA", "354 go\n")
				got <- p.body()
			})
			results, err := c.Send(context.Background(), Transaction{Rcpts: rcpts("a@x.example")}, tt.body)
			var be *BodyError
			if !errors.As(err, &be) || !errors.Is(err, tt.want) || results[0].Err != err {
				t.Errorf("got %v, %v; want a *BodyError of %v", results[0].Err, err, tt.want)
			}
			if c.Alive() {
				t.Error("the connection goes on")
			}
			if b := <-got; strings.Contains(b, "\r\n.\r\n") {
				t.Errorf("peer: got an end of data in %q", b)
			}
		})
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// The server answers 552 in the middle of a large body and hangs up: its words
// count, not the broken pipe.
func TestSendEarlyRefusal(t *testing.T) {
	c := dial(t, plainEHLO, func(p *peer) {
		p.line()
		p.line()
		p.send("250 ok\n250 ok\n")
		p.want("DATA", "354 go\n")
		for range 100 {
			p.line()
		}
		p.send("552 5.3.4 too big\n")
		io.CopyN(io.Discard, p.br, 1<<20)
	})
	body := strings.NewReader(strings.Repeat(strings.Repeat("x", 76)+"\r\n", 1<<19))
	results, err := c.Send(context.Background(), Transaction{Rcpts: rcpts("a@x.example")}, body)
	// Depending on when the reset arrives the reply may be gone; never a success.
	var ne *NetError
	if got := brief(results); err == nil || got != "552 5.3.4 body" && !errors.As(err, &ne) {
		t.Errorf("got %s, %v; want 552 or a network error", got, err)
	}
}

// A peer that stops reading does not hang the worker.
func TestSendStuckPeer(t *testing.T) {
	stop := make(chan struct{})
	addr := serve(t, func(p *peer) {
		p.send("220 hi\n")
		p.want("EHLO gate.office.example", plainEHLO)
		p.line()
		p.line()
		p.send("250 ok\n250 ok\n")
		p.want("DATA", "354 go\n")
		<-stop
	})
	defer close(stop)
	cfg := testConfig
	cfg.Timeouts.DataBlock = 200 * time.Millisecond
	c, err := cfg.Connect(context.Background(), "mx", addr)
	if err != nil {
		t.Fatal(err)
	}
	body := strings.NewReader(strings.Repeat(strings.Repeat("x", 76)+"\r\n", 1<<19))
	_, err = c.Send(context.Background(), Transaction{Rcpts: rcpts("a@x.example")}, body)
	if msg := wantNet("body", true)(err); msg != "" {
		t.Errorf("got %v: %s", err, msg)
	}
}

// The end of the context ends every wait, and the results say so.
func TestSendCancelled(t *testing.T) {
	for _, at := range []string{"MAIL", "RCPT", "DATA", "end of body"} {
		t.Run(at, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			c := dial(t, "250 mx.good.example\n", func(p *peer) {
				p.line()
				if at != "MAIL" {
					p.send("250 ok\n")
					p.line()
				}
				if at != "MAIL" && at != "RCPT" {
					p.send("250 ok\n")
					p.line()
				}
				if at == "end of body" {
					p.send("354 go\n")
					p.body()
				}
				cancel()
				p.line()
			})
			results, err := c.Send(ctx, Transaction{Rcpts: rcpts("a@x.example")}, strings.NewReader("hi\r\n"))
			var ne *NetError
			if !errors.As(err, &ne) || ne.Phase != at || !errors.Is(err, context.Canceled) || results[0].Err != err {
				t.Errorf("got %v, want a *NetError in %s", err, at)
			}
		})
	}
}

// A handshake that is broken off says nothing about the server's TLS.
func TestStartTLSCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	c := dial(t, tlsEHLO, func(p *peer) {
		p.want("STARTTLS", "220 go\n")
		p.br.ReadByte()
		cancel()
		io.Copy(io.Discard, p.br)
	})
	err := c.StartTLS(ctx, nil)
	var te *TLSError
	if !errors.As(err, &te) || !te.Network() || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want a *TLSError of the network", err)
	}
}
