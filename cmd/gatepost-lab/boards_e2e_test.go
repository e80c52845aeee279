//go:build e2e

package main

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatepost/image"
	"gatepost/image/qemu"
	"gatepost/relay/lab"
)

// buildRaspberry builds the image for the Raspberry Pi 3, with its device tree. It
// returns the folder and the tree's path.
func buildRaspberry(ctx context.Context, t *testing.T) (dir, tree string) {
	t.Helper()
	profile, err := image.Profile("raspi3b")
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join("build", "image-raspi3b")
	spec := image.Spec{Source: ".", Out: dir, Profile: profile, DirectOnly: true, Reuse: true, Progress: io.Discard}
	if _, err := image.Build(ctx, spec); err != nil {
		t.Fatal(err)
	}
	return dir, filepath.Join(dir, image.TreeName)
}

// TestE2ERaspberryPi boots the image for the Raspberry Pi 3 with its real device
// tree and drivers, and reads the registers of its GPIO chip: the lights are on
// the lines that the profile has, as outputs, and say what they must.
func TestE2ERaspberryPi(t *testing.T) {
	dir, tree := buildRaspberry(t.Context(), t)
	began := time.Now()
	o := boot(t, setup{World: lab.Office(), Image: dir, Board: qemu.Raspi3B, DTB: tree, NoDisk: true})
	_, ok := o.console("gatepost: version")
	check(t, ok, "PID 1 speaks after %.1f s", time.Since(began).Seconds())
	o.bootingLight(t)
	g, err := o.Machine.GPIO(o.ctx)
	check(t, err == nil && !g.Driven(24), "the line of the button is an input")
	outputs := 0
	for line := range 54 {
		if g.Driven(line) {
			outputs++
		}
	}
	check(t, outputs == 4, "four lines are driven (%d)", outputs)
	o.wantLight(t, "no data disk", [4]string{"off", "off", "off", "on"}, 0)
	_, ok = o.console("gatepost: network: up")
	check(t, ok, "the network card on USB has an address")
	t.Logf("%.1f s", time.Since(began).Seconds())
}

// customBoard is the board of TestE2EKernelLEDsAndButton in the settings.
const customBoard = `
[[lights.light]]
name = "status"
led = "box:white:status"
[[lights.light]]
name = "network"
led = "box:white:lan"
[[lights.light]]
name = "mail"
led = "box:white:mail"
[[lights.light]]
name = "alert"
led = "box:amber:alarm"
[lights.reset_button]
chip = "9030000.pl061"
line = 5
`

// TestE2EKernelLEDsAndButton boots the release's image on a machine whose
// kernel drives the lights: found by their names at first, then as the settings
// describe them, with a button. The kernel plays the rhythms; they are read at
// the lines. The button is pressed from outside.
func TestE2EKernelLEDsAndButton(t *testing.T) {
	leds := []qemu.TreeLED{
		{Label: "box:white:status", Line: virtLights[0]},
		{Label: "box:white:lan", Line: virtLights[1]},
		{Label: "box:white:mail", Line: virtLights[2]},
		{Label: "box:amber:alarm", Line: virtLights[3]},
	}
	tree, err := qemu.LEDTree(t.Context(), t.TempDir(), "maker,box-without-a-row", leds)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := lab.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	world := lab.Office()
	text, err := guestConfig(t.Context(), world, ca, e2eRetry, "garden-lantern")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	o := boot(t, setup{World: world, CA: ca, Config: append(text, customBoard...), DTB: tree})
	o.bootingLight(t)
	_, ok := o.console("gatepost: ready:")
	check(t, ok, "the box is ready")
	o.wantLight(t, "healthy", [4]string{"on", "on", "on", "off"}, 0)
	o.sendMail("mail server", "wrongname.example")
	o.wantLight(t, "held mail", [4]string{"on", "on", "*", "blinks"}, 2)

	// Let go early, and nothing happens; then to the end.
	o.press(t, true)
	o.wantShapes(t, "button, up to five seconds", 2200*time.Millisecond, [4]string{"blinks", "blinks", "blinks", "blinks"})
	o.press(t, false)
	_, ok = o.console("held for two seconds")
	check(t, ok, "letting go after two seconds resets nothing")
	o.claimByPress(t)
	o.press(t, true)
	_, ok = o.console("held for five seconds")
	check(t, ok, "the box says that five seconds are over")
	o.wantShapes(t, "button, from five seconds", 3*time.Second, [4]string{"blinks", "off", "off", "blinks"})
	_, ok = o.console("held for fifteen seconds")
	check(t, ok, "the box says that fifteen seconds are over")
	o.wantShapes(t, "button, from fifteen seconds", time.Second, [4]string{"off", "off", "off", "on"})
	o.press(t, false)
	_, ok = o.console("act: factory-reset by the reset button")
	check(t, ok, "letting go asks for the factory reset")
	ctx, cancel := context.WithTimeout(o.ctx, stepLimit)
	defer cancel()
	end, err := o.Machine.Wait(ctx)
	check(t, err == nil && end.Reason == "guest-reset", "the box starts again (%s)", end)
	t.Logf("%.1f s", time.Since(began).Seconds())
}

// claimByPress takes the page without the code, right after a press.
func (o *office) claimByPress(t *testing.T) {
	t.Helper()
	addr, err := o.Forward(0, 443)
	if err == nil {
		o.page, err = openPage(addr)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, ok := o.waits("/claim", "Continue without a code")
	check(t, ok, "the page offers to go on without the code")
	status, shown, err := o.page.post(o.ctx, "/claim", url.Values{"press": {"yes"}})
	check(t, err == nil && status == http.StatusOK && strings.Contains(shown, "Your name and password"), "the press takes the place of the code (status %d)", status)
}

// press holds the reset button of the virt machine, or lets it go.
func (o *office) press(t *testing.T, down bool) {
	t.Helper()
	if err := o.Machine.SetLine(o.ctx, 5, down); err != nil {
		t.Fatal(err)
	}
}

// wantShapes wants that the lights show something for a time that begins now.
func (o *office) wantShapes(t *testing.T, state string, span time.Duration, want [4]string) {
	t.Helper()
	// What is left of the pattern before: the kernel had it already.
	time.Sleep(300 * time.Millisecond)
	seen, err := watchLights(o.ctx, o.Machine, span)
	if err != nil {
		t.Fatal(err)
	}
	got := o.lights.shapes(seen)
	fits := true
	for i, s := range got {
		fits = fits && s.word == want[i] && s.driven
	}
	check(t, fits, "light %q: status %s, network %s, mail %s, alert %s", state, got[0], got[1], got[2], got[3])
}
