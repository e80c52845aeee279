package relay_test

import (
	"bufio"
	"flag"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/relay"
	"gatepost/relay/event"
	"gatepost/relay/lab"
)

var flood = flag.Int("flood", 500, "messages to the dead domain in TestFlood; a tenth of them go to the live one")

// Mail to a domain whose server does not answer does not hold up mail to
// another: the same messages to the live domain, beside an empty queue and
// beside the flood, over real sockets and a real disk.
func TestFlood(t *testing.T) {
	live := max(*flood/10, 1)
	run := func(dead int) (median, worst time.Duration) {
		accepted := map[string]time.Time{}
		b := newBench(t, lab.Office(), func(c *relay.Config) {
			c.PerDomain, c.Retry = 4, []time.Duration{time.Hour}
		})
		b.burst(dead, "down.example")
		b.burst(live, "nopolicy.example")
		eventually(t, "the live domain has its mail", func() bool {
			return len(b.lab.Received("nopolicy.example")) == live
		})
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, e := range b.events {
			if a, ok := e.(event.Accepted); ok && strings.HasSuffix(a.Rcpts[0], "@nopolicy.example") {
				accepted[a.Rcpts[0]] = a.Time
			}
		}
		var waits []time.Duration
		for _, a := range b.delivered {
			if at, ok := accepted[a.Rcpt]; ok {
				waits = append(waits, a.Verdict.Time.Sub(at))
			}
		}
		if len(waits) != live {
			t.Fatalf("%d messages to the live domain were delivered, want %d", len(waits), live)
		}
		slices.Sort(waits)
		return waits[len(waits)/2], waits[len(waits)-1]
	}
	median, worst := run(0)
	fmedian, fworst := run(*flood)
	t.Logf("%d messages to a live domain, from acceptance to the attempt that delivered: empty queue median %v, longest %v; beside %d to a dead domain median %v, longest %v",
		live, median, worst, *flood, fmedian, fworst)
	// A dead domain that held up the live one would do so for as long as it has
	// messages; noise of the machine is far below that.
	if fworst > 20*worst+10*time.Second {
		t.Errorf("the longest wait grew from %v to %v", worst, fworst)
	}
}

// burst sends n messages to as many recipients of a domain over one connection.
func (b *bench) burst(n int, domain string) {
	b.t.Helper()
	c, err := net.Dial("tcp", b.real.Addr().String())
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * patience))
	br := bufio.NewReader(c)
	say := func(text, want string) {
		if _, err := fmt.Fprintf(c, "%s\r\n", text); err != nil {
			b.t.Fatal(err)
		}
		for {
			line, err := br.ReadString('\n')
			if err != nil {
				b.t.Fatal(err)
			}
			if strings.HasPrefix(line, want+"-") {
				continue
			}
			if !strings.HasPrefix(line, want) {
				b.t.Fatalf("%.60q: got %q", text, line)
			}
			return
		}
	}
	if _, err := br.ReadString('\n'); err != nil {
		b.t.Fatal(err)
	}
	say("EHLO office.example", "250")
	for i := range n {
		say("MAIL FROM:<anna@office.example>", "250")
		say(fmt.Sprintf("RCPT TO:<r%d@%s>", i, domain), "250")
		say("DATA", "354")
		say("Subject: flood\r\n\r\n"+strings.Repeat("0123456789abcdef\r\n", 200)+".", "250")
	}
}
