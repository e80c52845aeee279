//go:build e2e

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatepost/image"
	"gatepost/image/qemu"
	"gatepost/relay/lab"
)

// harmImage builds an image whose program can be harmed by the test; the
// release has none of that (tag "hooks").
func harmImage(t *testing.T) string {
	t.Helper()
	out, err := filepath.Abs("build/harm-image")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(out, "gatepost")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "hooks", "-ldflags", "-s -w -X main.version=harm -X main.buildTime=1790000000", "-o", program, "./cmd/gatepost")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+image.GOARCH)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, text)
	}
	profile, err := image.Profile("qemu-virt")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := image.Build(t.Context(), image.Spec{Source: ".", Out: out, Profile: profile, Init: program, Reuse: true}); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestE2EWatchdog stops the relay and the page (SIGSTOP) and then lets the first
// process hang. The roles are found by their self-tests and started again; the
// hardware restarts the box, which then says why.
func TestE2EWatchdog(t *testing.T) {
	o := boot(t, setup{
		World: lab.Office(), Image: harmImage(t),
		Append: qemu.DefaultAppend + " gatepost.harm",
		// The restart must happen inside this machine, or the watchdog's memory
		// of it would be lost.
		Extra: []string{"-device", "i6300esb", "-action", "reboot=reset"},
	})
	l, ok := o.console("gatepost: watchdog: ")
	check(t, ok && strings.Contains(l.Text, "i6300ESB") && strings.Contains(l.Text, "15s"), "console: %s", l.Text)
	for _, role := range []string{"relay", "web"} {
		stopped, ok := o.console("gatepost: hook: " + role)
		check(t, ok, "console: %s", stopped.Text)
		l, ok = o.console("gatepost: hook: " + role + " answers again")
		d := l.At - stopped.At
		check(t, ok && d <= 15*time.Second, "%s that hangs answers again after %.1f s: %s", role, d.Seconds(), l.Text)
		l, ok = o.console("gatepost: " + role + " did not answer (self-test) and was ended; it is started again in 1s")
		check(t, ok, "console: %s", l.Text)
	}
	hung, ok := o.console("gatepost: hook: the first process hangs")
	check(t, ok, "console: %s", hung.Text)
	l, ok = o.console("gatepost: before this start:")
	check(t, ok && strings.Contains(l.Text, "the watchdog restarted the box"), "console: %s", l.Text)
	again := o.Machine.Lines()
	var second time.Duration
	for _, line := range again {
		if strings.Contains(line.Text, "gatepost: version harm") {
			second = line.At
		}
	}
	d := second - hung.At
	check(t, d > 0 && d <= 30*time.Second, "the first process speaks again %.1f s after it hung", d.Seconds())
	l, ok = o.console("Look here: The box restarted itself")
	check(t, ok, "console: %s", l.Text)
	o.openUnclaimed()
	code := ""
	for _, line := range o.Machine.Lines() { // each start of the page makes another
		if m := claimLine.FindStringSubmatch(line.Text); m != nil {
			code = m[1]
		}
	}
	check(t, o.page.claim(o.ctx, code) == nil, "the page is claimed with the code %s", code)
	shown, ok := o.waits("/", "The box restarted itself")
	check(t, ok, "page: %.300s", shown)
	o.off()
}
