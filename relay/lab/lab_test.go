package lab

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/smtp"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// running is a lab under test with a guest's eyes and hands.
type running struct {
	*Lab
	t       *testing.T
	network Network

	mu     sync.Mutex
	events []Event
}

// start runs a world until the test ends.
func start(t *testing.T, world World, network Network, opts Options) *running {
	t.Helper()
	r := &running{t: t, network: network}
	opts.Events = func(e Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, e)
	}
	var err error
	r.Lab, err = New(world, network, opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
	return r
}

// happened returns the events of type E.
func happened[E Event](r *running) []E {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []E
	for _, e := range r.events {
		if e, ok := e.(E); ok {
			found = append(found, e)
		}
	}
	return found
}

// everywhere runs a test on the networks of this package.
func everywhere(t *testing.T, test func(t *testing.T, n Network)) {
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, NewMemory()) })
	})
	t.Run("loopback", func(t *testing.T) { test(t, NewLoopback()) })
}

// within bounds what a test does.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// ask puts one DNS question as the guest.
func (r *running) ask(network, name string, qtype uint16) *dns.Msg {
	r.t.Helper()
	reply, err := r.exchange(network, name, qtype, 5*time.Second)
	if err != nil {
		r.t.Fatalf("asking for %s of %s: %v", dns.TypeToString[qtype], name, err)
	}
	return reply
}

// exchange asks with little patience. (The standard library's resolver keeps
// global channels and cannot be used inside synctest.)
func (r *running) exchange(network, name string, qtype uint16, patience time.Duration) (*dns.Msg, error) {
	conn, err := r.DialContext(within(r.t), network, r.Resolver().String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), qtype)
	reply, _, err := (&dns.Client{Net: network, Timeout: patience}).ExchangeWithConn(m, &dns.Conn{Conn: conn})
	return reply, err
}

// fetch gets a domain's policy as the guest.
func (r *running) fetch(domain string) (body string, status int, err error) {
	d, _ := r.Domain(domain)
	c := &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return r.DialContext(ctx, network, fmt.Sprintf("%v:443", d.Policy.Addr))
			},
			TLSClientConfig:   &tls.Config{RootCAs: r.CA().Pool()},
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(within(r.t), "GET", "https://mta-sts."+domain+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		return "", 0, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), resp.StatusCode, err
}

// deliver sends a message as a trusting relay in the guest would: to the MX
// host that DNS names, with TLS when it is offered, never minding by whom. It
// returns the error of checking the certificate for the MX host's name.
func (r *running) deliver(domain string, message []byte) (certErr error) {
	r.t.Helper()
	reply := r.ask("udp", domain, dns.TypeMX)
	host := strings.TrimSuffix(reply.Answer[0].(*dns.MX).Mx, ".")
	addr := r.ask("udp", host, dns.TypeA).Answer[0].(*dns.A).A
	conn, err := r.DialContext(within(r.t), "tcp", addr.String()+":25")
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	if err := c.Hello("guest.office.example"); err != nil {
		r.t.Fatal(err)
	}
	certErr = errNotOffered
	if ok, _ := c.Extension("STARTTLS"); ok {
		cfg := &tls.Config{ServerName: host, InsecureSkipVerify: true, VerifyConnection: func(cs tls.ConnectionState) error {
			_, certErr = cs.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: host, Roots: r.CA().Pool(), CurrentTime: time.Now()})
			return nil
		}}
		if err := c.StartTLS(cfg); err != nil {
			r.t.Fatal(err)
		}
	}
	for _, line := range []string{"MAIL FROM:<anna@office.example> SIZE=99", "RCPT TO:<sales@" + domain + ">"} {
		if _, err := command(c, 25, "%s", line); err != nil {
			r.t.Fatalf("%s: %v", line, err)
		}
	}
	if _, err := command(c, 354, "DATA"); err != nil {
		r.t.Fatal(err)
	}
	if _, err := c.Text.W.Write(append(stuff(message), ".\r\n"...)); err != nil {
		r.t.Fatal(err)
	}
	if err := c.Text.W.Flush(); err != nil {
		r.t.Fatal(err)
	}
	if _, _, err := c.Text.ReadResponse(250); err != nil {
		r.t.Fatal(err)
	}
	_ = c.Quit()
	return certErr
}

var errNotOffered = errors.New("STARTTLS not offered")

// stuff doubles the dots that begin lines.
func stuff(b []byte) []byte {
	if bytes.HasPrefix(b, []byte(".")) {
		b = append([]byte("."), b...)
	}
	return bytes.ReplaceAll(b, []byte("\r\n."), []byte("\r\n.."))
}

// relay is a guest that takes mail on port 25 and keeps it.
type relay struct {
	mu    sync.Mutex
	mails [][]byte
	// refuse is said to RCPT instead of 250 while it is not empty.
	refuse []string
}

func (g *relay) serve(t *testing.T, n Network, l *Lab) {
	t.Helper()
	ln, err := n.Listen(l.GuestSMTP())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { g.session(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
}

func (g *relay) session(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	fmt.Fprint(c, "220 guest\r\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch strings.ToUpper(strings.Fields(line + " x")[0]) {
		case "QUIT":
			fmt.Fprint(c, "221 bye\r\n")
			return
		case "RCPT":
			g.mu.Lock()
			reply := "250 ok"
			if len(g.refuse) > 0 {
				reply, g.refuse = g.refuse[0], g.refuse[1:]
			}
			g.mu.Unlock()
			fmt.Fprint(c, reply+"\r\n")
		case "DATA":
			fmt.Fprint(c, "354 go on\r\n")
			b, err := textproto.NewReader(r).ReadDotBytes()
			if err != nil {
				return
			}
			g.mu.Lock()
			g.mails = append(g.mails, b)
			g.mu.Unlock()
			fmt.Fprint(c, "250 2.0.0 kept\r\n")
		default:
			fmt.Fprint(c, "250 ok\r\n")
		}
	}
}
