//go:build e2e

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"gatepost/image"
	"gatepost/image/qemu"
)

// lampSource is the program of a machine that has nothing but lights.
const lampSource = "./appliance/boardcmd/testdata/lampguest"

// bootLamps boots that machine: its four lights are LEDs of the kernel, and two
// more are on the GPIO lines 6 and 7. They show state, and after so many seconds
// the program that drives them is killed.
func bootLamps(ctx context.Context, t *testing.T, state string, seconds, after int, more string) *qemu.Machine {
	t.Helper()
	init := filepath.Join(t.TempDir(), "init")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", init, lampSource)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+image.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	profile, err := image.Profile("qemu-virt")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join("build", "image-lamps")
	if _, err := image.Build(ctx, image.Spec{Source: ".", Out: dir, Profile: profile, Init: init, DirectOnly: true, Reuse: true}); err != nil {
		t.Fatal(err)
	}
	leds := []qemu.TreeLED{
		{Label: "box:white:status", Line: virtLights[0]},
		{Label: "box:white:lan", Line: virtLights[1]},
		{Label: "box:white:mail", Line: virtLights[2]},
		{Label: "box:amber:alarm", Line: virtLights[3]},
	}
	tree, err := qemu.LEDTree(ctx, t.TempDir(), "maker,box-without-a-row", leds)
	if err != nil {
		t.Fatal(err)
	}
	m, err := qemu.Start(ctx, qemu.Config{
		Kernel: filepath.Join(dir, image.KernelName), Initrd: filepath.Join(dir, image.InitrdName), DTB: tree,
		Append: qemu.DefaultAppend + " LAMP_STATE=" + state + " LAMP_SECONDS=" + strconv.Itoa(seconds) + " LAMP_AFTER=" + strconv.Itoa(after) + more,
		OnLine: func(l qemu.Line) { t.Logf("%7.2f  %s", l.At.Seconds(), l.Text) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Kill)
	return m
}

// TestE2EADeadProgramShowsNothing kills the program that drives the lights.
// LEDs of the kernel go dark within ten seconds; a GPIO line keeps its level,
// for which the manual gives the reason.
func TestE2EADeadProgramShowsNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), stepLimit)
	defer cancel()
	const lines = 7 // the alert light on a GPIO line
	m := bootLamps(ctx, t, "dead", 3, 12, "")
	if _, err := m.AwaitText(ctx, "lamp: lit"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	g, err := m.GPIO(ctx)
	check(t, err == nil && g.Lit(virtLights[3]) && g.Lit(lines), "the program shows the alarm (%s)", g)
	if _, err := m.AwaitText(ctx, "lamp: killed"); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	g, err = m.GPIO(ctx)
	check(t, err == nil && g.Lit(virtLights[3]), "right after its death the kernel still plays (%s)", g)
	for g.Lit(virtLights[3]) && err == nil && time.Since(killed) < 12*time.Second {
		time.Sleep(50 * time.Millisecond)
		g, err = m.GPIO(ctx)
	}
	check(t, err == nil && !g.Lit(virtLights[3]), "the LED of the kernel is dark %.1f s after its death", time.Since(killed).Seconds())
	check(t, err == nil && g.Levels&(1<<lines) != 0, "the line of the GPIO light keeps its level (%s): what docs/lights.md says", g)
}

// TestE2EADeadKernelBlinks lets the kernel die: the alert light, which belongs
// to the kernel while it is dark, tells of that for as long as the kernel waits
// before it starts again.
func TestE2EADeadKernelBlinks(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), stepLimit)
	defer cancel()
	m := bootLamps(ctx, t, "healthy", 3, 0, " LAMP_PANIC=yes panic=6")
	if _, err := m.AwaitText(ctx, "lamp: end"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	seen, err := watchLights(ctx, m, 3*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	got := virtLights.shapes(seen)[3]
	check(t, got.word == "blinks" && got.flashes >= 4 && got.flashes <= 9, "the alert light of a dead kernel %s in 3 s", got)
}

// TestLampsIdle measures what the lights cost when nothing happens. It takes as
// long as LAMP_IDLE says, in seconds, and is left out without it.
func TestLampsIdle(t *testing.T) {
	seconds, err := strconv.Atoi(os.Getenv("LAMP_IDLE"))
	if err != nil {
		t.Skip("LAMP_IDLE does not say for how many seconds")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(seconds)*time.Second+stepLimit)
	defer cancel()
	m := bootLamps(ctx, t, "healthy", seconds, 1, "")
	l, err := m.AwaitText(ctx, "lamp: killed")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("in %d s: %s", seconds, l.Text)
}
