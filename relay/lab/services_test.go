package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestDNS(t *testing.T) {
	type row struct {
		name  string
		qtype uint16
		rcode int
		want  string // the answers' data, sorted
	}
	rows := []row{
		{"good.example", dns.TypeMX, dns.RcodeSuccess, "10 mx.good.example."},
		{"GOOD.example", dns.TypeMX, dns.RcodeSuccess, "10 mx.good.example."},
		{"mx.good.example", dns.TypeA, dns.RcodeSuccess, "203.0.113.10"},
		{"mx.good.example", dns.TypeAAAA, dns.RcodeSuccess, ""},
		{"_mta-sts.good.example", dns.TypeTXT, dns.RcodeSuccess, `"v=STSv1; id=20260901;"`},
		{"mta-sts.good.example", dns.TypeA, dns.RcodeSuccess, "198.51.100.10"},
		{"_mta-sts.plain.example", dns.TypeTXT, dns.RcodeNameError, ""},
		{"nosuch.good.example", dns.TypeA, dns.RcodeNameError, ""},
		{"elsewhere.test", dns.TypeMX, dns.RcodeNameError, ""},
		{"broken.example", dns.TypeMX, dns.RcodeServerFailure, ""},
		{"broken.example", dns.TypeA, dns.RcodeNameError, ""},
		{"alias.example", dns.TypeA, dns.RcodeSuccess, "203.0.113.10 mx.good.example."},
		{"dangling.example", dns.TypeA, dns.RcodeNameError, "nobody.example."},
		{".", dns.TypeNS, dns.RcodeSuccess, "ns.lab.example."},
		{"example", dns.TypeA, dns.RcodeSuccess, ""},
		{"0.pool.ntp.org", dns.TypeA, dns.RcodeSuccess, "192.168.77.1"},
		{"pool.ntp.org", dns.TypeA, dns.RcodeSuccess, "192.168.77.1 203.0.113.123 203.0.113.124"},
	}
	everywhere(t, func(t *testing.T, n Network) {
		world := Office()
		world.Records = append(world.Records,
			"alias.example. 30 IN CNAME mx.good.example.", "dangling.example. 30 IN CNAME nobody.example.")
		world.Names = []NameFault{{Name: "broken.example", Type: "MX", Rcode: "SERVFAIL"}}
		r := start(t, world, n, Options{})
		for _, network := range []string{"udp", "tcp"} {
			for _, row := range rows {
				reply := r.ask(network, row.name, row.qtype)
				var got []string
				for _, rr := range reply.Answer {
					got = append(got, strings.TrimPrefix(rr.String(), rr.Header().String()))
				}
				slices.Sort(got)
				if s := strings.Join(got, " "); reply.Rcode != row.rcode || s != row.want {
					t.Errorf("%s %s %s: got %s %q, want %s %q", network, dns.TypeToString[row.qtype], row.name,
						dns.RcodeToString[reply.Rcode], s, dns.RcodeToString[row.rcode], row.want)
				}
				if reply.Rcode == dns.RcodeNameError && len(reply.Ns) != 1 {
					t.Errorf("%s: a negative answer has %d SOA records, want 1", row.name, len(reply.Ns))
				}
			}
		}
		if ttl := r.ask("udp", "forged.example", dns.TypeMX).Answer[0].Header().Ttl; ttl != 2 {
			t.Errorf("TTL of forged.example: got %d, want 2", ttl)
		}
	})
}

func TestDNSFaults(t *testing.T) {
	everywhere(t, func(t *testing.T, n Network) {
		r := start(t, Office(), n, Options{})
		const name = "_mta-sts.good.example"
		r.SetName(NameFault{Name: name, Drop: true})
		if _, err := r.exchange("udp", name, dns.TypeTXT, 300*time.Millisecond); err == nil {
			t.Error("a dropped question was answered")
		}
		r.SetName(NameFault{Name: name, Delay: 200 * time.Millisecond})
		began := time.Now()
		if _, err := r.exchange("udp", name, dns.TypeTXT, 5*time.Second); err != nil || time.Since(began) < 200*time.Millisecond {
			t.Errorf("a delayed answer came after %v with %v, want 200ms or more", time.Since(began), err)
		}
		r.SetName(NameFault{Name: name, Rcode: "SERVFAIL"})
		if reply := r.ask("tcp", name, dns.TypeTXT); reply.Rcode != dns.RcodeServerFailure || len(reply.Answer) != 0 {
			t.Errorf("SERVFAIL: got %v", reply)
		}
		r.SetName(NameFault{Name: name})
		if reply := r.ask("udp", name, dns.TypeTXT); len(reply.Answer) != 1 {
			t.Errorf("after the fault is gone: %v", reply)
		}
	})
}

func TestDNSTruncates(t *testing.T) {
	world := Office()
	for i := range 60 {
		world.Records = append(world.Records, fmt.Sprintf("many.example. 60 IN A 192.0.2.%d", i))
	}
	everywhere(t, func(t *testing.T, n Network) {
		r := start(t, world, n, Options{})
		if reply := r.ask("udp", "many.example", dns.TypeA); !reply.Truncated || len(reply.Answer) >= 60 {
			t.Errorf("over UDP: truncated %v with %d answers, want a truncated part", reply.Truncated, len(reply.Answer))
		}
		if reply := r.ask("tcp", "many.example", dns.TypeA); reply.Truncated || len(reply.Answer) != 60 {
			t.Errorf("over TCP: truncated %v with %d answers, want all 60", reply.Truncated, len(reply.Answer))
		}
	})
}

func TestPolicyHosts(t *testing.T) {
	rows := []struct {
		name    string
		change  func(p *Policy)
		status  int
		body    string
		wantErr string
	}{
		{"fine", func(*Policy) {}, 200, "version: STSv1\r\nmode: enforce\r\nmx: mx.good.example\r\nmax_age: 604800\r\n", ""},
		{"other body", func(p *Policy) { p.Body = "nonsense" }, 200, "nonsense", ""},
		{"not found", func(p *Policy) { p.Status = 404 }, 404, "", ""},
		{"redirect", func(p *Policy) { p.Status, p.Location = 301, "https://good.example/" }, 301, "", ""},
		{"expired", func(p *Policy) { p.Cert.Fault = Expired }, 0, "", "expired"},
		{"wrong name", func(p *Policy) { p.Cert.Fault = WrongName }, 0, "", "mail.hosting.example"},
		{"not trusted", func(p *Policy) { p.Cert.Fault = NotTrusted }, 0, "", "unknown authority"},
	}
	everywhere(t, func(t *testing.T, n Network) {
		r := start(t, Office(), n, Options{})
		for _, row := range rows {
			if err := r.Repair("good.example"); err != nil {
				t.Fatal(err)
			}
			if err := r.Change("good.example", func(d *Domain) { row.change(d.Policy) }); err != nil {
				t.Fatal(err)
			}
			body, status, err := r.fetch("good.example")
			if row.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), row.wantErr) {
					t.Errorf("%s: got error %v, want one with %q", row.name, err, row.wantErr)
				}
				continue
			}
			if err != nil || status != row.status || row.body != "" && body != row.body {
				t.Errorf("%s: got %d %q, %v; want %d %q", row.name, status, body, err, row.status, row.body)
			}
		}
		if got := happened[PolicyServed](r); len(got) != 4 {
			t.Errorf("%d policies were served, want 4", len(got))
		}
	})
}

// TestMXHosts delivers to every domain that takes mail as a sender does who
// trusts everybody, and looks at what the MX hosts recorded.
func TestMXHosts(t *testing.T) {
	type row struct {
		domain  string
		clear   bool
		certErr string // of the honest check that the sender then ignores
	}
	rows := []row{
		{"good.example", false, ""},
		{"wrongname.example", false, "mail.hosting.example"},
		{"expired.example", false, "expired"},
		{"stripped.example", true, "not offered"},
		{"forged.example", false, ""},
		{"unlisted.example", false, ""},
		{"testing.example", false, "unknown authority"},
		{"nopolicy.example", false, "unknown authority"},
		{"plain.example", true, "not offered"},
		{"repairing.example", false, "unknown authority"},
	}
	everywhere(t, func(t *testing.T, n Network) {
		r := start(t, Office(), n, Options{})
		for _, row := range rows {
			canary := canaryPrefix + strings.TrimSuffix(row.domain, ".example")
			message := []byte("Subject: " + canary + "\r\n\r\n.one\r\n..two\r\nbare\nfeed\rreturn\r\n" + strings.Repeat("x", 3*mxLine) + "\r\n.\n\r\nsmuggled\n.\r\n8bit \xff\r\n")
			err := r.deliver(row.domain, message)
			if (err == nil) != (row.certErr == "") || err != nil && !strings.Contains(err.Error(), row.certErr) {
				t.Errorf("%s: the certificate check says %v, want %q", row.domain, err, row.certErr)
			}
			got, err := r.WaitReceived(within(t), row.domain, 1)
			if err != nil {
				t.Error(err)
				continue
			}
			m := got[0]
			if !bytes.Equal(m.Data, message) {
				t.Errorf("%s: the message was changed: got %q, want %q", row.domain, m.Data, message)
			}
			if m.From != "anna@office.example" || len(m.Rcpts) != 1 || m.Rcpts[0] != "sales@"+row.domain || m.MailParams != "SIZE=99" {
				t.Errorf("%s: envelope: got %q to %q with %q", row.domain, m.From, m.Rcpts, m.MailParams)
			}
			if (m.TLS == "") != row.clear || !row.clear && (m.TLS != "TLS 1.3" || m.SNI != m.Host || m.Cipher == "") {
				t.Errorf("%s: got TLS %q, SNI %q, cipher %q; want clear: %v", row.domain, m.TLS, m.SNI, m.Cipher, row.clear)
			}
			if m.Stripped != (row.domain == "stripped.example") {
				t.Errorf("%s: stripped: got %v", row.domain, m.Stripped)
			}
			if m.Client.Addr() != Office().LAN.Guest || m.Hello != "guest.office.example" {
				t.Errorf("%s: client: got %v %q", row.domain, m.Client, m.Hello)
			}
			if len(m.Canaries) != 1 || m.Canaries[0] != canary {
				t.Errorf("%s: canaries: got %q", row.domain, m.Canaries)
			}
			if seen := sighted(r.Tap(), canary); seen != row.clear {
				t.Errorf("%s: the tap saw the canary: %v, want %v", row.domain, seen, row.clear)
			}
		}
		for _, f := range r.Tap().Flows() {
			domain := r.Owner(f.To.Addr())
			wantTLS := !slices.ContainsFunc(rows, func(w row) bool { return w.domain == domain && w.clear })
			if f.To.Port() == 25 && (f.STARTTLS != wantTLS || f.TLS != wantTLS) {
				t.Errorf("flow to %s: STARTTLS %v, TLS %v; want %v", domain, f.STARTTLS, f.TLS, wantTLS)
			}
		}
	})
}

func sighted(t *Tap, canary string) bool {
	return slices.ContainsFunc(t.Sightings(), func(s Sighting) bool { return s.Canary == canary })
}

func TestMXRefusals(t *testing.T) {
	world := Office()
	d, _ := world.Find("plain.example")
	d.MX[0].Unknown = []string{"nobody"}
	d.MX[0].Greylist = 300 * time.Millisecond
	everywhere(t, func(t *testing.T, n Network) {
		r := start(t, world, n, Options{})
		conn, err := r.DialContext(within(t), "tcp", "203.0.113.18:25")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		talk := newTalk(t, conn)
		talk.want("220")
		talk.say("MAIL FROM:<a@b.example>", "503")
		talk.say("EHLO x", "250")
		talk.say("STARTTLS", "502")
		talk.say("RCPT TO:<a@plain.example>", "503")
		talk.say("MAIL FROM:a@b.example", "501")
		talk.say("MAIL FROM:<>", "250")
		talk.say("RCPT TO:<Nobody@plain.example>", "550")
		talk.say("DATA", "503")
		talk.say("RCPT TO:<a@plain.example>", "450")
		time.Sleep(350 * time.Millisecond)
		talk.say("RCPT TO:<a@plain.example>", "250")
		talk.say("DATA", "354")
		talk.say("x\r\n.", "250")
		talk.say("FROBNICATE", "500")
		talk.say("QUIT", "221")
		got, err := r.WaitReceived(within(t), "plain.example", 1)
		if err != nil || got[0].From != "" || string(got[0].Data) != "x\r\n" {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

func TestMXTLSFaults(t *testing.T) {
	world := Office()
	d, _ := world.Find("good.example")
	d.MX[0].MaxTLS = tls.VersionTLS12
	d.MX[0].Inject = "250 not through TLS\r\n"
	everywhere(t, func(t *testing.T, n Network) {
		r := start(t, world, n, Options{})
		conn, err := r.DialContext(within(t), "tcp", "203.0.113.10:25")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		talk := newTalk(t, conn)
		talk.want("220")
		talk.say("EHLO x", "250")
		talk.say("STARTTLS", "220")
		talk.want("250 not through TLS")
		c := tls.Client(conn, &tls.Config{ServerName: "mx.good.example", RootCAs: r.CA().Pool()})
		if err := c.Handshake(); err != nil || c.ConnectionState().Version != tls.VersionTLS12 {
			t.Errorf("handshake: got %v, version %x; want TLS 1.2", err, c.ConnectionState().Version)
		}
		talk = newTalk(t, c)
		talk.say("MAIL FROM:<a@b.example>", "503") // RFC 3207, Section 4.2: forgotten
		talk.say("STARTTLS", "502")
		talk.say("QUIT", "221")
	})
}

func TestAbsentMachines(t *testing.T) {
	world := Office()
	d, _ := world.Find("nopolicy.example")
	d.MX[0].Presence = Silent
	everywhere(t, func(t *testing.T, n Network) {
		r := start(t, world, n, Options{})
		if _, err := r.DialContext(within(t), "tcp", "203.0.113.20:25"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("down.example: got %v, want ECONNREFUSED", err)
		}
		if got := happened[ConnectionRefused](r); len(got) != 1 || got[0].Domain != "down.example" {
			t.Errorf("events of refused connections: got %+v", got)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		if _, err := r.DialContext(ctx, "tcp", "203.0.113.17:25"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a silent host: got %v, want a timeout", err)
		}
	})
}

func TestNTP(t *testing.T) {
	everywhere(t, func(t *testing.T, n Network) {
		ahead := func() time.Time { return time.Now().Add(time.Hour) }
		r := start(t, Office(), n, Options{NTPNow: ahead})
		for _, server := range Office().LAN.NTP {
			got, stratum, err := r.askTime(netip.AddrPortFrom(server, 123))
			if off := time.Until(got); err != nil || off < 59*time.Minute || off > 61*time.Minute || stratum != 2 {
				t.Errorf("%v: got %v ahead, stratum %d, %v; want an hour, 2", server, off, stratum, err)
			}
		}
		r.SetNTP(NTPUnsynchronised)
		if _, stratum, err := r.askTime(netip.MustParseAddrPort("192.168.77.1:123")); err != nil || stratum != 16 {
			t.Errorf("unsynchronised: got stratum %d, %v; want 16", stratum, err)
		}
		r.SetNTPServer(netip.MustParseAddr("203.0.113.123"), NTPBehaviour{Mode: NTPKisses})
		if _, stratum, err := r.askTime(netip.MustParseAddrPort("203.0.113.123:123")); err != nil || stratum != 0 {
			t.Errorf("kisses: got stratum %d, %v; want 0", stratum, err)
		}
		r.SetNTP(NTPSilent)
		if _, _, err := r.askTime(netip.MustParseAddrPort("192.168.77.1:123")); err == nil {
			t.Error("a silent server answered")
		}
		if got := len(happened[TimeGiven](r)); got != 3 {
			t.Errorf("the time was given %d times, want 3", got)
		}
		r.SetNTPServer(netip.MustParseAddr("203.0.113.124"), NTPBehaviour{Wrong: -2 * time.Hour})
		got, _, err := r.askTime(netip.MustParseAddrPort("203.0.113.124:123"))
		if off := time.Until(got); err != nil || off > -59*time.Minute || off < -61*time.Minute {
			t.Errorf("a liar: got %v ahead, %v; want an hour behind", off, err)
		}
	})
}

func (r *running) askTime(server netip.AddrPort) (time.Time, byte, error) {
	c, err := r.DialContext(within(r.t), "udp", server.String())
	if err != nil {
		return time.Time{}, 0, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(300 * time.Millisecond))
	ask := make([]byte, 48)
	ask[0] = 4<<3 | 3
	copy(ask[40:], "cookie!!")
	if _, err := c.Write(ask); err != nil {
		return time.Time{}, 0, err
	}
	b := make([]byte, 100)
	got, err := c.Read(b)
	if err != nil {
		return time.Time{}, 0, err
	}
	if got != 48 || b[0]&7 != 4 || string(b[24:32]) != "cookie!!" {
		r.t.Errorf("%v: got a reply % x", server, b[:got])
	}
	sec := int64(b[40])<<24 | int64(b[41])<<16 | int64(b[42])<<8 | int64(b[43])
	return time.Unix(sec-2208988800, 0), b[1], nil
}
