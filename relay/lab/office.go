package lab

import (
	"context"
	"errors"
	"fmt"
	"net/smtp"
	"net/textproto"
	"slices"
	"strings"
	"time"
)

// Sent is a message that an office client handed, or tried to hand, to the
// guest.
type Sent struct {
	Time   time.Time
	Client string
	From   string
	To     string
	Domain string // of To
	Canary string
	// Message is what the client sent, with CRLF line ends.
	Message []byte
	Reply   string // the guest's last reply
	Tries   int
}

// maxSent bounds what Sent returns; older messages are forgotten first.
const maxSent = 10_000

// Sent returns what the guest has accepted from the office, oldest first.
func (l *Lab) Sent() []Sent {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Sent(nil), l.sent...)
}

// WaitSent waits until the guest has accepted at least n messages for the
// domain from the office ("" for any domain) and returns all of them.
func (l *Lab) WaitSent(ctx context.Context, domain string, n int) ([]Sent, error) {
	var found []Sent
	err := l.wait(ctx, func() bool {
		found = found[:0]
		for _, s := range l.sent {
			if domain == "" || s.Domain == domain {
				found = append(found, s)
			}
		}
		return len(found) >= n
	})
	if err != nil {
		return found, fmt.Errorf("lab: the guest took %d of %d messages for %q: %w", len(found), n, domain, err)
	}
	return found, nil
}

// Send lets an office client (by name; "" takes the first) send one message
// to a user of the domain and returns what was sent. It tries until the guest
// accepts, refuses for good (the error is then a *textproto.Error) or ctx is
// done.
func (l *Lab) Send(ctx context.Context, client, domain string) (Sent, error) {
	i := slices.IndexFunc(l.world.Clients, func(c Client) bool { return client == "" || c.Name == client })
	if i < 0 {
		return Sent{}, fmt.Errorf("lab: the office has no client %q", client)
	}
	return l.send(ctx, l.world.Clients[i], domain)
}

func (l *Lab) send(ctx context.Context, c Client, domain string) (Sent, error) {
	s := l.compose(c, domain)
	waiting := false
	for pause := time.Second; ; pause = min(2*pause, 10*time.Second) {
		s.Tries++
		reply, err := l.handOver(ctx, c, s)
		if err == nil {
			s.Time, s.Reply = l.opts.Now(), reply
			l.mu.Lock()
			if len(l.sent) >= maxSent {
				l.sent = slices.Delete(l.sent, 0, 1)
			}
			l.sent = append(l.sent, s)
			l.signal()
			l.mu.Unlock()
			l.opts.Events(MailSent{
				Stamp: l.stamp(), Client: c.Name, From: s.From, To: s.To, Domain: domain,
				Canary: s.Canary, Reply: reply, Tries: s.Tries,
			})
			return s, nil
		}
		var refused *textproto.Error
		if errors.As(err, &refused) && refused.Code >= 500 {
			s.Reply = fmt.Sprintf("%d %s", refused.Code, refused.Msg)
			l.opts.Events(MailRefused{l.stamp(), c.Name, s.To, domain, s.Canary, s.Reply})
			return s, err
		}
		if !waiting {
			waiting = true
			l.opts.Events(OfficeWaits{l.stamp(), c.Name, err.Error()})
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return s, fmt.Errorf("lab: the guest did not take the message: %w", errors.Join(ctx.Err(), err))
		}
	}
}

// handOver makes one attempt and returns the reply to the message.
func (l *Lab) handOver(ctx context.Context, c Client, s Sent) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	dial, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	conn, err := l.net.Dial(dial, c.Addr, l.opts.GuestSMTP)
	if err != nil {
		return "", err
	}
	cut := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer cut()
	client, err := smtp.NewClient(conn, l.opts.GuestSMTP.Addr().String())
	if err != nil {
		_ = conn.Close()
		return "", err
	}
	defer func() { _ = client.Close() }()
	if err := client.Hello(c.Hello); err != nil {
		return "", err
	}
	if _, err := command(client, 250, "MAIL FROM:<%s>", s.From); err != nil {
		return "", err
	}
	if _, err := command(client, 25, "RCPT TO:<%s>", s.To); err != nil {
		return "", err
	}
	if _, err := command(client, 354, "DATA"); err != nil {
		return "", err
	}
	w := client.Text.DotWriter()
	if _, err := w.Write(s.Message); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	code, text, err := client.Text.ReadResponse(250)
	if err != nil {
		return "", err
	}
	_ = client.Quit() // the message is handed over, whatever the guest says now
	return fmt.Sprintf("%d %s", code, text), nil
}

// command sends a command and returns the reply, which must have the wanted
// code. net/smtp's own commands add parameters that an old mail server would
// not, and do not give the reply to DATA away.
func command(c *smtp.Client, want int, format string, args ...any) (string, error) {
	if err := c.Text.PrintfLine(format, args...); err != nil {
		return "", err
	}
	_, text, err := c.Text.ReadResponse(want)
	return text, err
}

// compose writes the client's next message to a domain.
func (l *Lab) compose(c Client, domain string) Sent {
	l.mu.Lock()
	l.counter++
	n := l.counter
	l.mu.Unlock()
	label, _, _ := strings.Cut(domain, ".")
	s := Sent{
		Client: c.Name, Domain: domain, To: "sales@" + domain,
		From:   pick(c.From, n),
		Canary: fmt.Sprintf("%s%s-%s-%d", canaryPrefix, label, l.run, n),
	}
	now := l.opts.Now()
	var b strings.Builder
	for _, line := range []string{
		"Date: " + now.Format(time.RFC1123Z),
		"From: <" + s.From + ">",
		"To: <" + s.To + ">",
		"Subject: " + pick(c.Subjects, n) + " " + s.Canary,
		fmt.Sprintf("Message-ID: <%s.%d@%s>", l.run, n, l.world.LAN.Domain),
		"MIME-Version: 1.0",
		"Content-Type: text/plain; charset=us-ascii",
		"",
		"Good day,",
		"",
		"this is message " + fmt.Sprint(n) + " of the " + c.Name + ".",
		"Its mark is " + s.Canary + ".",
		"",
		".A line that begins with a dot must arrive with it.",
		"..",
		"Kind regards",
	} {
		b.WriteString(line)
		b.WriteString("\r\n")
	}
	s.Message = []byte(b.String())
	return s
}

func pick(list []string, n int) string {
	if len(list) == 0 {
		return ""
	}
	return list[n%len(list)]
}

// sendOnSchedule is an office client at work: one message to each domain as
// soon as the guest takes mail, then one to the next domain every c.Every.
func (l *Lab) sendOnSchedule(ctx context.Context, c Client) error {
	domains := l.world.Domains
	if len(domains) == 0 {
		return nil
	}
	const between = 200 * time.Millisecond
	for i := 0; ; i++ {
		if _, err := l.send(ctx, c, domains[i%len(domains)].Name); err != nil && ctx.Err() != nil {
			return nil
		}
		pause := between
		if i+1 >= len(domains) {
			if c.Every <= 0 {
				return nil
			}
			pause = c.Every
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil
		}
	}
}
