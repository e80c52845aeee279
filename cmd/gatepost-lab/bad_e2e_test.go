//go:build e2e

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatepost/relay/lab"
	"gatepost/relay/verdict"
)

// Every bad input is told on the console, on the page and by the lights, and
// costs no mail.

// dark is what the lights show when no mail passes.
var dark = [4]string{"off", "off", "off", "on"}

// greeting is the first line that the box says to a machine of the office.
func (o *office) greeting() string {
	ctx, cancel := context.WithTimeout(o.ctx, stepLimit)
	defer cancel()
	var last string
	for ctx.Err() == nil {
		c, err := o.Wire.Dial(ctx, netip.MustParseAddr("192.168.77.10"), netip.AddrPortFrom(o.guest, 25))
		if err != nil {
			last = err.Error()
			time.Sleep(100 * time.Millisecond)
			continue
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		line, _ := bufio.NewReader(c).ReadString('\n')
		c.Close()
		return strings.TrimSpace(line)
	}
	return last
}

// openUnclaimed opens the page without claiming it.
func (o *office) openUnclaimed() {
	addr, err := o.Forward(0, 443)
	if err == nil {
		o.page, err = openPage(addr)
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

// withConfig is the lab's settings with one line changed.
func withConfig(t *testing.T, ca *lab.CA, world lab.World, old, replacement string) []byte {
	t.Helper()
	text, err := guestConfig(context.Background(), world, ca, e2eRetry, "garden-lantern")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(old)) {
		t.Fatalf("the settings have no %q", old)
	}
	return bytes.Replace(text, []byte(old), []byte(replacement), 1)
}

func newCA(t *testing.T) *lab.CA {
	t.Helper()
	ca, err := lab.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// A box whose first settings have an unknown key takes no mail, and tells every
// sender to come back.
func TestE2EUnknownKey(t *testing.T) {
	ca, world := newCA(t), lab.Office()
	o := boot(t, setup{World: world, CA: ca, Config: withConfig(t, ca, world, "trusted_networks", "trusted_network")})
	l, ok := o.console(`config.toml: line 6: unknown key "trusted_network" in [relay] (did you mean "trusted_networks"?)`)
	check(t, ok, "console: %s", l.Text)
	_, ok = o.console("gatepost: ready:")
	check(t, ok, "the box gets ready all the same")
	check(t, strings.HasPrefix(o.greeting(), "421 4.3.2 "), "a sender is told to come back: %q", o.greeting())
	if o.claim() {
		shown, ok := o.waits("/", "The settings file has an error", `line 6: unknown key "trusted_network"`)
		check(t, ok, "page: %.400s", shown)
	}
	o.wantLight(t, "broken: no settings", dark, 0)
	o.off()
}

// A box that has had good settings goes on with them when new ones are bad;
// the mail that waits is still there and mail still passes.
func TestE2EBadAddress(t *testing.T) {
	ca, world := newCA(t), lab.Office()
	o := boot(t, setup{World: world, CA: ca})
	if _, ok := o.console("gatepost: ready:"); !ok {
		t.FailNow()
	}
	o.claim()
	held := o.sendMail("", "wrongname.example")
	_, ok := o.waits("/waiting", heldWords["wrongname.example"])
	check(t, ok, "a message is held")
	o.off()
	disk := o.disk

	bad := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(bad, withConfig(t, ca, world, `["192.168.77.0/24"]`, `["192.168.77.300/24"]`), 0o600); err != nil {
		t.Fatal(err)
	}
	script := "rm /config.toml\nwrite " + bad + " config.toml\n"
	cmd := exec.Command("debugfs", "-w", "-f", "/dev/stdin", disk)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("debugfs: %v\n%s", err, out)
	}

	o = boot(t, setup{World: world, CA: ca, Disk: disk})
	l, ok := o.console(`config.toml: line 6: "192.168.77.300/24" is not a network`)
	check(t, ok, "console: %s", l.Text)
	_, ok = o.console("gatepost: ready:")
	check(t, ok, "the box is ready")
	o.openUnclaimed()
	check(t, o.page.login(o.ctx, "Anna", "tractor-umbrella-47-violet") == nil, "the owner of before logs in")
	shown, ok := o.waits("/", "uses the last settings that were right", `"192.168.77.300/24" is not a network`)
	check(t, ok, "page: %.500s", shown)
	_, ok = o.waits("/waiting", heldWords["wrongname.example"])
	check(t, ok, "the held message is still there after the restart")
	o.wantLight(t, "old settings and held mail", [4]string{"on", "on", "*", "blinks"}, 2)
	sent := o.sendMail("", "good.example")
	o.arrived(t, "good.example", 0, sent, verdict.Verified)
	if err := o.Lab.Repair("wrongname.example"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(o.ctx, stepLimit)
	defer cancel()
	got, err := o.Lab.WaitReceived(ctx, "wrongname.example", 1)
	check(t, err == nil && bytes.HasSuffix(got[0].Data, held.Message), "the message of before the restart is delivered byte for byte")
	o.wantLight(t, "old settings", [4]string{"on", "on", "*", "blinks"}, 5)
	o.off()
}

// A box without its data disk takes no mail and says so.
func TestE2ENoDisk(t *testing.T) {
	world := lab.Office()
	o := boot(t, setup{World: world, NoDisk: true})
	l, ok := o.console("gatepost: storage:")
	check(t, ok, "console: %s", l.Text)
	_, ok = o.console("gatepost: ready:")
	check(t, ok, "the box gets ready all the same")
	check(t, strings.HasPrefix(o.greeting(), "421 4.3.2 "), "a sender is told to come back: %q", o.greeting())
	o.openUnclaimed()
	shown, ok := o.waits("/", "no data disk")
	check(t, ok, "page: %.300s", shown)
	o.wantLight(t, "broken: no disk", dark, 0)
	o.off()
}

// A full disk refuses new mail with 452 and keeps what it has.
func TestE2EFullDisk(t *testing.T) {
	world := lab.Office()
	o := boot(t, setup{World: world, Size: 32 << 20})
	if _, ok := o.console("gatepost: ready:"); !ok {
		t.FailNow()
	}
	if !o.claim() {
		t.FailNow()
	}
	accepted, refusal := o.fill(t, "sales@down.example")
	check(t, strings.HasPrefix(refusal, "452 4.3.1 "), "after %d messages of 1 MB a sender is told: %q", accepted, refusal)
	shown, ok := o.waits("/", "The data disk is full, so no new mail is taken.")
	check(t, ok, "page: %.300s", shown)
	l, ok := o.console("The data disk is full")
	check(t, ok, "console: %s", l.Text)
	o.wantLight(t, "disk full", [4]string{"on", "on", "*", "blinks"}, 4)
	shown, ok = o.waits("/waiting", fmt.Sprintf("(%d)", accepted))
	check(t, ok, "all %d messages wait: %.200s", accepted, shown)
	o.off()
}

// fill sends messages of a megabyte until one is refused.
func (o *office) fill(t *testing.T, to string) (accepted int, refusal string) {
	t.Helper()
	c, err := o.Wire.Dial(o.ctx, netip.MustParseAddr("192.168.77.10"), netip.AddrPortFrom(o.guest, 25))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	body := "From: a@office.example\r\nSubject: filling\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1<<20/72)
	talk := talkative{c, bufio.NewReader(c)}
	talk.say(t, "", "220")
	talk.say(t, "EHLO mail.office.example", "250")
	for accepted < 100 {
		if r := talk.say(t, fmt.Sprintf("MAIL FROM:<a@office.example> SIZE=%d", len(body)), ""); !strings.HasPrefix(r, "250") {
			return accepted, r
		}
		talk.say(t, "RCPT TO:<"+to+">", "250")
		talk.say(t, "DATA", "354")
		r := talk.say(t, body+".", "")
		if !strings.HasPrefix(r, "250") {
			return accepted, r
		}
		accepted++
	}
	return accepted, "never refused"
}

// talkative is a client at its simplest.
type talkative struct {
	c  net.Conn
	in *bufio.Reader
}

// say sends a line and returns the last line of the reply, which must begin
// with want.
func (d talkative) say(t *testing.T, line, want string) string {
	t.Helper()
	_ = d.c.SetDeadline(time.Now().Add(stepLimit))
	if line != "" {
		if _, err := d.c.Write([]byte(line + "\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	for {
		r, err := d.in.ReadString('\n')
		if err != nil {
			t.Fatalf("after %.60q: %v", line, err)
		}
		if len(r) > 3 && r[3] == '-' {
			continue
		}
		if !strings.HasPrefix(r, want) {
			t.Fatalf("after %.60q: got %q, want %s", line, r, want)
		}
		return strings.TrimSpace(r)
	}
}

// A box without a network says so and mends itself when the network comes.
func TestE2ENoNetwork(t *testing.T) {
	world := lab.Office()
	o := boot(t, setup{World: world, Prepare: func(l *lab.Lab) { l.SetDHCP(lab.DHCPSilent) }})
	l, ok := o.console("gatepost: network: no")
	check(t, ok, "console: %s", l.Text)
	o.wantLight(t, "no network (cable, no address)", [4]string{"on", "blinks", "off", "blinks"}, 1)
	o.Lab.SetDHCP(lab.DHCPAnswers)
	l, ok = o.console("gatepost: network: up")
	check(t, ok, "console: %s", l.Text)
	_, ok = o.console("gatepost: ready:")
	check(t, ok, "the box is ready when the network has come")
	if !o.claim() {
		t.FailNow()
	}
	_, ok = o.waits("/", "All is well")
	check(t, ok, "page: all is well")
	o.wantLight(t, "healthy", [4]string{"on", "on", "on", "off"}, 0)
	sent := o.sendMail("", "good.example")
	o.arrived(t, "good.example", 0, sent, verdict.Verified)
	o.off()
}

// A network without name servers: the page can be reached and says why no mail
// goes out; mail is taken in and nothing is decided.
func TestE2ENoNames(t *testing.T) {
	ca, world := newCA(t), lab.Office()
	config := withConfig(t, ca, world, "[trust]", "[network]\nmode = \"static\"\naddress = \"192.168.77.50/24\"\ngateway = \"192.168.77.1\"\ndns = [\"192.168.77.99\"]\n\n[trust]")
	o := boot(t, setup{World: world, CA: ca, Config: config})
	if _, ok := o.console("gatepost: ready:"); !ok {
		t.FailNow()
	}
	if !o.claim() {
		t.FailNow()
	}
	shown, ok := o.waits("/", "cannot look up names")
	check(t, ok, "page: %.400s", shown)
	l, ok := o.console("cannot look up names")
	check(t, ok, "console: %s", l.Text)
	o.wantLight(t, "no network (no names)", [4]string{"on", "blinks", "off", "blinks"}, 1)
	o.sendMail("", "good.example")
	o.sendMail("", "plain.example")
	_, ok = o.waits("/waiting", "(2)")
	check(t, ok, "two messages are taken in and wait")
	check(t, len(o.Lab.Received("good.example"))+len(o.Lab.Received("plain.example")) == 0, "nothing has left")
	o.off()
}
