//go:build e2e

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/image/disk"
	"gatepost/image/qemu"
	"gatepost/relay/lab"
	"gatepost/relay/verdict"
)

// These tests boot the real image in QEMU inside the simulated internet. "make
// e2e" runs them alone.

// Limits, three times what a busy machine was seen to need.
const (
	stepLimit = 90 * time.Second
	fullTest  = 10 * time.Minute
)

// tally counts the checks for the closing line.
var tally struct {
	sync.Mutex
	passed, failed int
}

// check is one thing that must be so.
func check(t *testing.T, ok bool, format string, args ...any) bool {
	t.Helper()
	tally.Lock()
	defer tally.Unlock()
	text := fmt.Sprintf(format, args...)
	if ok {
		tally.passed++
		t.Logf("ok    %s", text)
		return true
	}
	tally.failed++
	t.Errorf("FAIL  %s", text)
	return false
}

func TestMain(m *testing.M) {
	// The module's root, where the image is built.
	for {
		if _, err := os.Stat("go.mod"); err == nil {
			break
		}
		if wd, err := os.Getwd(); err != nil || wd == "/" || os.Chdir("..") != nil {
			fmt.Fprintln(os.Stderr, "gatepost: run the tests inside the module")
			os.Exit(1)
		}
	}
	if err := qemu.Available(); err != nil {
		fmt.Fprintln(os.Stderr, "gatepost:", err)
		os.Exit(1)
	}
	if err := buildImage(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "gatepost:", err)
		os.Exit(1)
	}
	code := m.Run()
	if code != 0 && tally.failed == 0 {
		tally.failed = 1
	}
	fmt.Printf("%d passed, %d failed\n", tally.passed, tally.failed)
	os.Exit(code)
}

// office is a rig with a person in front of it.
type office struct {
	*rig
	t    *testing.T
	ctx  context.Context
	disk string
	page *page
	// lights are where the board has them.
	lights lightLines
}

// setup is what differs between the tests' boxes.
type setup struct {
	World          lab.World
	Config         []byte // config.toml; nil: the lab's
	Disk           string // an existing disk; "" makes one
	NoDisk         bool
	Image          string // folder of the image; "": the release's
	Size           int64
	CA             *lab.CA
	Time           time.Time
	Firmware, Vars string // of qemu.Config
	MemoryMB       int
	// Prepare is called before the guest starts.
	Prepare func(*lab.Lab)
	Append  string   // of qemu.Config
	Extra   []string // of qemu.Config
	Board   string   // of qemu.Config
	DTB     string   // of qemu.Config
}

// e2eRetry is the guest's schedule: often, so that the test is short.
const e2eRetry = `"5s"`

// boot switches a box on. It does not wait for anything.
func boot(t *testing.T, s setup) *office {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), fullTest)
	t.Cleanup(cancel)
	if s.CA == nil {
		ca, err := lab.NewCA(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		s.CA = ca
	}
	if s.Disk == "" && !s.NoDisk {
		text := s.Config
		if text == nil {
			var err error
			if text, err = guestConfig(ctx, s.World, s.CA, e2eRetry, "garden-lantern"); err != nil {
				t.Fatal(err)
			}
		}
		s.Disk = filepath.Join(t.TempDir(), "data.img")
		if err := disk.Create(ctx, s.Disk, disk.Spec{Size: s.Size, Files: map[string]disk.File{"config.toml": {Data: text}}}); err != nil {
			t.Fatal(err)
		}
	}
	if s.Image == "" {
		s.Image = imageDir
	}
	var console bytes.Buffer
	var mu sync.Mutex
	lights := virtLights
	if s.Board == qemu.Raspi3B {
		lights = raspiLights
	}
	r, err := startRig(ctx, rigConfig{
		Firmware: s.Firmware, Vars: s.Vars, MemoryMB: s.MemoryMB,
		Image: s.Image, Board: s.Board, DTB: s.DTB, Append: s.Append, Extra: s.Extra, Disk: s.Disk, CA: s.CA, World: s.World, Time: s.Time, Prepare: s.Prepare,
		OnLine: func(l qemu.Line) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(&console, "%7.2f  %s\n", l.At.Seconds(), l.Text)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("rig: %v", err)
		}
		if t.Failed() {
			mu.Lock()
			defer mu.Unlock()
			t.Logf("the console:\n%s", console.String())
		}
	})
	return &office{rig: r, lights: lights, t: t, ctx: ctx, disk: s.Disk}
}

// console waits for a line of the guest.
func (o *office) console(text string) (qemu.Line, bool) {
	ctx, cancel := context.WithTimeout(o.ctx, stepLimit)
	defer cancel()
	l, err := o.Machine.AwaitText(ctx, text)
	if err != nil {
		o.t.Logf("waiting for %q: %v", text, err)
	}
	return l, err == nil
}

// claim opens the page and becomes its owner with the code from the console.
func (o *office) claim() bool {
	addr, err := o.Forward(0, 443)
	if err == nil {
		o.page, err = openPage(addr)
	}
	if err != nil {
		o.t.Fatal(err)
	}
	code := o.claimCode(o.ctx)
	if !check(o.t, code != "", "the console shows a claim code") {
		return false
	}
	return check(o.t, o.page.claim(o.ctx, code) == nil, "the page is claimed with the code %s", code)
}

// waits polls the page until it shows all the words.
func (o *office) waits(path string, words ...string) (string, bool) {
	var shown string
	var err error
	for end := time.Now().Add(stepLimit); time.Now().Before(end); {
		_, shown, err = o.page.get(o.ctx, path)
		missing := false
		for _, w := range words {
			missing = missing || !strings.Contains(shown, w)
		}
		if err == nil && !missing {
			return shown, true
		}
		if o.ctx.Err() != nil {
			break
		}
		time.Sleep(500 * time.Millisecond)
	}
	return fmt.Sprintf("%s (%v)", shown, err), false
}

// sendMail lets an office machine hand over one message.
func (o *office) sendMail(client, domain string) lab.Sent {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.ctx, stepLimit)
	defer cancel()
	s, err := o.Lab.Send(ctx, client, domain)
	if err != nil {
		o.t.Fatalf("%s: the box did not take the office's message: %v", domain, err)
	}
	return s
}

// off presses the power key and wants a clean end.
func (o *office) off() {
	o.t.Helper()
	started := time.Now()
	end, err := o.PowerOff(o.ctx, stepLimit)
	check(o.t, err == nil && end.PoweredOff(), "the power key switches the box off cleanly (%s, %.1f s)", end, time.Since(started).Seconds())
}

// heldWords is what the page must say for each domain whose mail does not go
// out: the sentence of the catalogue with this domain's facts in it.
var heldWords = map[string]string{
	"wrongname.example": "wrongname.example says mail must be encrypted, but its server mx.wrongname.example showed a certificate for another name",
	"expired.example":   "the certificate of mx.expired.example ended on",
	"stripped.example":  "stripped.example says mail must be encrypted, but mx.stripped.example offered no encryption just now",
	"forged.example":    "forged.example names the servers that may take its mail, and mx.attacker.example is not one of them",
	"unlisted.example":  "unlisted.example names the servers that may take its mail, and mx.unlisted.example is not one of them",
	"repairing.example": "mx.repairing.example showed a certificate that no known authority signed",
	"down.example":      "down.example",
}

// row is one line of the closing table.
type row struct{ domain, expected, seen string }

// TestE2EStory is the main job on real input: the office's mail goes in, and
// everything that must arrive, wait or never leave is looked at from outside.
func TestE2EStory(t *testing.T) {
	world := lab.Office()
	for i := range world.Domains {
		world.Domains[i].MendAfter = 0 // repaired below, when the test has seen it held
	}
	began := time.Now()
	o := boot(t, setup{World: world})

	banner := make(chan time.Duration, 1)
	go func() {
		o.greeting()
		banner <- time.Since(began)
	}()
	start, ok := o.console("gatepost: version")
	check(t, ok, "PID 1 speaks %.1f s after the start", start.At.Seconds())
	o.bootingLight(t)
	l, ok := o.console("gatepost: clock: trusted")
	check(t, ok, "the clock is trusted after %.1f s", l.At.Seconds())
	l, ok = o.console("gatepost: ready:")
	if !check(t, ok, "the box is ready after %.1f s", l.At.Seconds()) {
		t.FailNow()
	}
	select {
	case d := <-banner:
		t.Logf("SMTP banner %.1f s after the machine was switched on", d.Seconds())
	case <-time.After(stepLimit):
		check(t, false, "the box never said its SMTP banner")
	}
	if !o.claim() {
		t.FailNow()
	}
	o.wantLight(t, "healthy", [4]string{"on", "on", "on", "off"}, 0)
	_, ok = o.waits("/", "All is well")
	check(t, ok, "Home says that all is well")

	rows := o.mail(t, world)
	o.nothingLeaked(t, world)
	o.wantLight(t, "held mail", [4]string{"on", "on", "*", "blinks"}, 2)

	if mem, err := o.Machine.Memory(); err == nil {
		t.Logf("QEMU with a guest of %d MB: %d MB now, %d MB at most", qemu.DefaultMemoryMB, mem.Now>>20, mem.Peak>>20)
	}
	o.off()
	o.table(rows)
}

// bootingLight looks for the status light's slow blinking while the box starts.
func (o *office) bootingLight(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(stepLimit); time.Now().Before(end); {
		g, err := o.Machine.GPIO(o.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if g.Lit(o.lights[0]) {
			check(t, !g.Lit(o.lights[3]) && g.Driven(o.lights[3]),
				"booting: the status light is lit and the alert light driven dark (%s)", g)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	check(t, false, "booting: the status light was never lit")
}

// wantLight waits until the lights show a state. groups is the number of
// flashes that a person counts at the alert light, 0 when it is steady.
func (o *office) wantLight(t *testing.T, state string, want [4]string, groups int) {
	t.Helper()
	var got [4]lightShape
	counted := 0
	for end := time.Now().Add(stepLimit); time.Now().Before(end); {
		span := 3 * time.Second
		if groups > 0 {
			span = 10 * time.Second
		}
		began := time.Now()
		seen, err := watchLights(o.ctx, o.Machine, span)
		if err != nil {
			t.Fatal(err)
		}
		got = o.lights.shapes(seen)
		if groups > 0 {
			counted = o.lights.groupsOf(seen, time.Since(began)/time.Duration(len(seen)))
		}
		fits := counted == groups
		for i, s := range got {
			fits = fits && s.driven && (want[i] == "*" || s.word == want[i])
		}
		if fits {
			check(t, true, "light %q: status %s, network %s, mail %s, alert %s (flashes counted: %d)", state, got[0], got[1], got[2], got[3], counted)
			return
		}
	}
	check(t, false, "light %q: want %v with %d flashes, got status %s, network %s, mail %s, alert %s (flashes counted: %d)",
		state, want, groups, got[0], got[1], got[2], got[3], counted)
}

// mail sends to every domain and looks at what arrives and what the page says.
func (o *office) mail(t *testing.T, world lab.World) []row {
	t.Helper()
	sent := map[string]lab.Sent{}
	for i, d := range world.Domains {
		client := "mail server"
		if i%3 == 2 {
			client = "printer"
		}
		sent[d.Name] = o.sendMail(client, d.Name)
	}
	check(t, true, "the office's mail for %d domains is taken in", len(sent))

	var rows []row
	for _, d := range world.Domains {
		first := d.Expect[0]
		r := row{domain: d.Name, expected: expected(first)}
		if first.Outcome == verdict.Delivered {
			r.seen = o.arrived(t, d.Name, 0, sent[d.Name], first.Protection)
		} else {
			r.seen = o.explained(t, d.Name)
		}
		rows = append(rows, r)
	}

	// The attacker forges DNS for the domain that got its first mail, and cuts
	// the way to its policy host. The second message must wait.
	o.attackBegun(t, "forged.example")
	time.Sleep(2 * time.Second) // the TTL of the honest answers
	o.sendMail("", "forged.example")
	rows = append(rows, row{"forged.example", "under attack: held, sts-mx-not-listed", o.explained(t, "forged.example")})

	// The other side mends its server: the mail goes out by itself.
	if err := o.Lab.Repair("repairing.example"); err != nil {
		t.Fatal(err)
	}
	rows = append(rows, row{
		"repairing.example", "after the repair: delivered, verified",
		o.arrived(t, "repairing.example", 0, sent["repairing.example"], verdict.Verified),
	})

	shown, ok := o.waits("/", "held for safety")
	check(t, ok, "Home says that mail is held: %.200s", shown)
	return rows
}

// arrived wants message n of a domain, byte for byte, with one Received field
// on top, over the protection that is expected.
func (o *office) arrived(t *testing.T, domain string, n int, sent lab.Sent, p verdict.Protection) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(o.ctx, stepLimit)
	defer cancel()
	got, err := o.Lab.WaitReceived(ctx, domain, n+1)
	if !check(t, err == nil && len(got) > n, "%s: the message arrived", domain) {
		return "nothing arrived"
	}
	m := got[n]
	trace, same := bytes.CutSuffix(m.Data, sent.Message)
	check(t, same && bytes.HasPrefix(trace, []byte("Received: ")), "%s: byte for byte, one Received field on top", domain)
	switch p {
	case verdict.Clear:
		check(t, m.TLS == "", "%s: in clear, as the domain has it (%q)", domain, m.TLS)
		return "delivered, clear"
	case verdict.Verified:
		check(t, m.TLS == "TLS 1.3" && m.SNI == "mx."+domain, "%s: %s, name %s", domain, m.TLS, m.SNI)
	default:
		check(t, m.TLS == "TLS 1.3" || m.TLS == "TLS 1.2", "%s: encrypted (%s)", domain, m.TLS)
	}
	return fmt.Sprintf("delivered, %s, %s", p, m.TLS)
}

// explained wants the domain's sentence on the page.
func (o *office) explained(t *testing.T, domain string) string {
	t.Helper()
	shown, ok := o.waits("/waiting", heldWords[domain])
	if !check(t, ok, "%s: the page says %q", domain, heldWords[domain]) {
		t.Logf("the page: %.3000s", shown)
		return "not on the page"
	}
	i := strings.Index(shown, heldWords[domain])
	s := shown[i:]
	if end := strings.Index(s, ". "); end > 0 {
		s = s[:end]
	}
	return s
}

func (o *office) attackBegun(t *testing.T, domain string) {
	t.Helper()
	for end := time.Now().Add(stepLimit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if o.Lab.Attacked(domain) != lab.NoAttack {
			return
		}
	}
	t.Fatalf("%s: the attack did not begin", domain)
}

// nothingLeaked looks at every packet that the guest sent.
func (o *office) nothingLeaked(t *testing.T, world lab.World) {
	t.Helper()
	bad := 0
	clear := 0
	for _, l := range o.Lab.Leaks() {
		if l.Allowed {
			clear++
			continue
		}
		bad++
		t.Logf("a message for %s in clear to %s (%s)", l.Intended, l.To, l.Domain)
	}
	check(t, bad == 0, "no message for an enforcing domain was seen in clear on the wire")
	check(t, clear == 1, "the one message that may go in clear was seen in clear: the tap works (%d)", clear)
	check(t, len(o.Lab.Tap().Incomplete()) == 0, "the tap missed no byte of %d connections", len(o.Lab.Tap().Flows()))
	check(t, len(o.Lab.Received(world.Attacker.Domain)) == 0, "the attacker got nothing")
	for _, d := range []string{"wrongname.example", "expired.example", "stripped.example", "unlisted.example"} {
		check(t, len(o.Lab.Received(d)) == 0, "%s: nothing left for it", d)
	}
	check(t, len(o.Lab.Received("forged.example")) == 1, "forged.example: only the mail before the attack arrived")
}

// table prints what was expected and what was seen.
func (o *office) table(rows []row) {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-19s %-50s %s\n", "DOMAIN", "EXPECTED", "SEEN")
	for _, r := range rows {
		fmt.Fprintf(&b, "%-19s %-50s %s\n", r.domain, r.expected, r.seen)
	}
	fmt.Print(b.String() + "\n")
}
