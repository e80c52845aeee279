package lab

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// TestForgedWaits shows that the forger sets to work only after the policy
// was fetched and one honest message has arrived, and what he then does.
func TestForgedWaits(t *testing.T) {
	everywhere(t, func(t *testing.T, n Network) {
		r := start(t, Office(), n, Options{})
		mx := func() string { return r.ask("udp", "forged.example", dns.TypeMX).Answer[0].(*dns.MX).Mx }
		txt := func() string { return r.ask("udp", "_mta-sts.forged.example", dns.TypeTXT).Answer[0].(*dns.TXT).Txt[0] }
		if got := mx(); got != "mx.forged.example." {
			t.Errorf("before the attack: MX %s", got)
		}
		if _, status, err := r.fetch("forged.example"); status != 200 || err != nil {
			t.Fatalf("before the attack: policy %d, %v", status, err)
		}
		honest := txt()
		if err := r.deliver("forged.example", []byte("one\r\n")); err != nil {
			t.Errorf("before the attack: certificate: %v", err)
		}
		if got := r.Attacked("forged.example"); got != Forge {
			t.Fatalf("after the first mail: attack %q, want %q", got, Forge)
		}
		if got := mx(); got != "mx.attacker.example." {
			t.Errorf("under attack: MX %s", got)
		}
		if got := txt(); got == honest || !strings.HasPrefix(got, "v=STSv1; id=") {
			t.Errorf("under attack: TXT %q, want a record with another id", got)
		}
		if _, _, err := r.fetch("forged.example"); err == nil {
			t.Error("under attack: the policy host answered")
		}
		// A sender who believes the forger reaches the attacker's server, whose
		// certificate is fine for its own name.
		if err := r.deliver("forged.example", []byte("two\r\n")); err != nil {
			t.Errorf("the attacker's certificate: %v", err)
		}
		stolen := r.Received("attacker.example")
		if len(stolen) != 1 || stolen[0].Host != "mx.attacker.example" || stolen[0].TLS == "" {
			t.Errorf("the attacker got %+v, want one message over TLS", stolen)
		}
		if got := len(r.Received("forged.example")); got != 1 {
			t.Errorf("forged.example has %d messages, want 1", got)
		}
		if err := r.EndAttack("forged.example"); err != nil {
			t.Fatal(err)
		}
		if got := mx(); got != "mx.forged.example." {
			t.Errorf("after the attack: MX %s", got)
		}
		if _, status, err := r.fetch("forged.example"); status != 200 || err != nil {
			t.Errorf("after the attack: policy %d, %v", status, err)
		}
		if a, f, b := len(happened[AttackStarted](r)), len(happened[AnswerForged](r)), len(happened[PolicyBlocked](r)); a != 2 || f < 3 || b != 1 {
			t.Errorf("events: %d attacks, %d forged answers, %d blocked; want 2 (stripped has one too), 3 or more, 1", a, f, b)
		}
	})
}

func TestForgedNeedsThePolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Office(), NewMemory(), Options{})
		if err := r.deliver("forged.example", []byte("one\r\n")); err != nil {
			t.Error(err)
		}
		if got := r.Attacked("forged.example"); got != NoAttack {
			t.Errorf("without a fetched policy the attack %q began", got)
		}
		for range 2 {
			_ = r.deliver("forged.example", []byte("more\r\n"))
		}
		if got := r.Attacked("forged.example"); got != Forge {
			t.Errorf("after three messages: attack %q, want %q", got, Forge)
		}
		_ = r.EndAttack("forged.example")
		_ = r.deliver("forged.example", []byte("last\r\n"))
		if got := r.Attacked("forged.example"); got != NoAttack {
			t.Errorf("the attack %q began a second time", got)
		}
	})
}

// TestStripper talks to a stripped server by hand.
func TestStripper(t *testing.T) {
	everywhere(t, func(t *testing.T, n Network) {
		r := start(t, Office(), n, Options{})
		hello := func() (k *talk, ehlo string) {
			conn, err := r.DialContext(within(t), "tcp", "203.0.113.13:25")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			k = newTalk(t, conn)
			k.want("220 mx.stripped.example")
			return k, k.say("EHLO guest", "250")
		}
		k, ehlo := hello()
		if strings.Contains(ehlo, "STARTTLS") || strings.Contains(ehlo, "XXXX") || !strings.Contains(ehlo, "250 ENHANCEDSTATUSCODES") || !strings.Contains(ehlo, "250-8BITMIME") {
			t.Errorf("EHLO reply: got %q, want all but STARTTLS", ehlo)
		}
		k.say("STARTTLS", "500") // asked for all the same
		k.say("MAIL FROM:<a@b.example>\r\nRCPT TO:<c@stripped.example>\r\nDATA", "250")
		k.want("250")
		k.want("354")
		k.say("Subject: x\r\n\r\nSTARTTLS\r\n..\r\n.", "250")
		k.say("starttls", "500")
		k.say("QUIT", "221")
		got, err := r.WaitReceived(within(t), "stripped.example", 1)
		if err != nil || string(got[0].Data) != "Subject: x\r\n\r\nSTARTTLS\r\n.\r\n" {
			t.Errorf("got %+v, %v; want the message unchanged", got, err)
		}
		if err := r.EndAttack("stripped.example"); err != nil {
			t.Fatal(err)
		}
		if _, ehlo := hello(); !strings.Contains(ehlo, "STARTTLS") {
			t.Errorf("after the attack: got %q, want STARTTLS", ehlo)
		}
		if got := len(happened[STARTTLSStripped](r)); got != 1 {
			t.Errorf("%d sessions were stripped, want 1", got)
		}
	})
}

// TestStripperLastLine has a server that offers STARTTLS last: the reply must
// still have an end.
func TestStripperLastLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guest, client := newPipe(guestEnd, mxEnd)
		near, server := newPipe(guestEnd, mxEnd)
		told := 0
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			stripper{client: client, server: near, told: func() { told++ }}.run(ctx)
		}()
		if _, err := io.WriteString(server, "250-mx\r\n250 starttls\r\n250 STARTTLS\r\n220 STARTTLS now\r\n"); err != nil {
			t.Fatal(err)
		}
		k := newTalk(t, guest)
		if got := k.want("250"); got != "250-mx\r\n250 XXXXXXXX\r\n" {
			t.Errorf("got %q", got)
		}
		k.want("250 XXXXXXXX")
		k.want("220 STARTTLS now")
		cancel()
		<-done
		if _, err := guest.Read(make([]byte, 1)); err == nil || told != 1 {
			t.Errorf("after the end: got %v; told %d times, want once", err, told)
		}
	})
}

func TestAttackErrors(t *testing.T) {
	l, err := New(Office(), NewMemory(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, err := range []error{
		l.StartAttack("nosuch.example", Strip), l.StartAttack("good.example", "shout"), l.EndAttack("nosuch.example"),
		l.Repair("nosuch.example"), l.Change("nosuch.example", func(*Domain) {}),
	} {
		if err == nil {
			t.Error("got no error")
		}
	}
}

// TestRepairing shows the broken certificate before and the good one after
// the minute, which begins when the first client has left.
func TestRepairing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Office(), NewMemory(), Options{})
		time.Sleep(time.Hour)
		if got := happened[Repaired](r); len(got) != 0 {
			t.Fatalf("repaired before anybody saw it broken: %+v", got)
		}
		conn, err := r.DialContext(within(t), "tcp", "203.0.113.19:25")
		if err != nil {
			t.Fatal(err)
		}
		k := newTalk(t, conn)
		k.want("220")
		k.say("QUIT", "221")
		conn.Close()
		time.Sleep(59 * time.Second)
		if err := r.deliver("repairing.example", []byte("x\r\n")); err == nil {
			t.Error("the certificate is fine before the minute is over")
		}
		time.Sleep(2 * time.Second)
		if err := r.deliver("repairing.example", []byte("x\r\n")); err != nil {
			t.Errorf("after the minute: %v", err)
		}
		if got := happened[Repaired](r); len(got) != 1 || got[0].Domain != "repairing.example" {
			t.Errorf("events: got %+v", got)
		}
	})
}

// TestChange alters DNS, policy and certificates of a running world.
func TestChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Office(), NewMemory(), Options{})
		err := r.Change("good.example", func(d *Domain) {
			d.Name = "other.example" // not for changing
			d.Policy.ID, d.Policy.Mode = "2", "none"
			d.MX[0].Cert.Fault = Expired
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.ask("udp", "_mta-sts.good.example", dns.TypeTXT).Answer[0].(*dns.TXT).Txt[0]; got != "v=STSv1; id=2;" {
			t.Errorf("TXT: got %q", got)
		}
		if body, _, err := r.fetch("good.example"); err != nil || !strings.Contains(body, "mode: none\r\n") {
			t.Errorf("policy: got %q, %v", body, err)
		}
		if err := r.deliver("good.example", []byte("x\r\n")); err == nil || !strings.Contains(err.Error(), "expired") {
			t.Errorf("certificate: got %v, want expired", err)
		}
		if err := r.Change("good.example", func(d *Domain) { d.MX[0].Host = "bad name" }); err == nil {
			t.Error("a record that cannot be was taken")
		}
	})
}

// TestKeepsNewest shows that an MX host forgets the oldest messages first.
func TestKeepsNewest(t *testing.T) {
	l, err := New(Office(), NewMemory(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i := range maxMails + 10 {
		l.receive(Mail{Domain: "good.example", Data: fmt.Append(nil, i)})
	}
	got := l.Received("good.example")
	if len(got) != maxMails || string(got[0].Data) != "10" {
		t.Errorf("got %d messages from %q on, want %d from 10 on", len(got), got[0].Data, maxMails)
	}
}
