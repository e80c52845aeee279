//go:build e2e

package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatepost/image"
	"gatepost/image/layout"
	"gatepost/relay/lab"
	"gatepost/relay/verdict"
)

// UEFI for QEMU, Debian package qemu-efi-aarch64.
const (
	firmwareCode = "/usr/share/AAVMF/AAVMF_CODE.fd"
	firmwareVars = "/usr/share/AAVMF/AAVMF_VARS.fd"
)

// firmwareMB is the least with which this firmware starts the image.
const firmwareMB = 256

// newCard is the disk image as somebody writes it to a card of 1 GiB, with
// settings put beside the boot files.
func newCard(ctx context.Context, t *testing.T, settings []byte) string {
	t.Helper()
	profile, err := image.Profile("qemu-virt")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join("build", "image-card")
	if _, err := image.Build(ctx, image.Spec{Source: ".", Out: dir, Profile: profile, Reuse: true, Progress: io.Discard}); err != nil {
		t.Fatal(err)
	}
	card := filepath.Join(t.TempDir(), "card.img")
	tool(ctx, t, "cp", "--sparse=always", filepath.Join(dir, image.DiskName), card)
	if err := os.Truncate(card, 1<<30); err != nil {
		t.Fatal(err)
	}
	toml := filepath.Join(t.TempDir(), layout.Provision)
	if err := os.WriteFile(toml, settings, 0o600); err != nil {
		t.Fatal(err)
	}
	tool(ctx, t, "mcopy", "-i", espOf(card), toml, "::"+layout.Provision)
	return card
}

// espOf is the boot partition of a disk in the words of mtools.
func espOf(card string) string { return fmt.Sprintf("%s@@%d", card, layout.BootStart) }

// tool runs a program that "make test" installs.
func tool(ctx context.Context, t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// bootTimes waits for the milestones of a start and gives them as a row of the
// table.
func (o *office) bootTimes(t *testing.T, kind string) string {
	t.Helper()
	banner := make(chan time.Duration, 1)
	began := time.Now()
	go func() { o.greeting(); banner <- time.Since(began) }()
	row := fmt.Sprintf("%-8s", kind)
	for _, text := range []string{"gatepost: version", "gatepost: storage:", "gatepost: network: up", "gatepost: clock: trusted", "gatepost: ready:"} {
		l, ok := o.console(text)
		if !check(t, ok, "%s: %q after %.1f s", kind, text, l.At.Seconds()) {
			t.FailNow()
		}
		row += fmt.Sprintf(" %8.1f", l.At.Seconds())
	}
	select {
	case d := <-banner:
		row += fmt.Sprintf(" %8.1f", d.Seconds())
	case <-time.After(stepLimit):
		check(t, false, "%s: the box never said its SMTP banner", kind)
	}
	return row
}

// A new card is started by UEFI: it grows to its size, takes the settings that
// lie on it, and relays mail. The next start finds everything as it was.
func TestE2EFirmware(t *testing.T) {
	for _, f := range []string{firmwareCode, firmwareVars} {
		if _, err := os.Stat(f); err != nil {
			t.Fatalf("%v (Debian package qemu-efi-aarch64)", err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), fullTest)
	defer cancel()
	ca, world := newCA(t), lab.Office()
	settings, err := guestConfig(ctx, world, ca, e2eRetry, "garden-lantern")
	if err != nil {
		t.Fatal(err)
	}
	card := newCard(ctx, t, settings)
	vars := filepath.Join(t.TempDir(), "vars.fd")
	tool(ctx, t, "cp", "--sparse=always", firmwareVars, vars)

	o := boot(t, setup{World: world, CA: ca, Disk: card, Firmware: firmwareCode, Vars: vars, MemoryMB: firmwareMB})
	rows := []string{o.bootTimes(t, "UEFI")}
	for _, text := range []string{
		"storage: the data partition grew from 32 to 830 MB", "storage: the file system grew from ",
		"settings: gatepost.toml of the boot partition is taken over", "settings: config.toml is in force",
	} {
		l, ok := o.console(text)
		check(t, ok, "console: %s", l.Text)
	}
	if !o.claim() {
		t.FailNow()
	}
	_, ok := o.waits("/", "All is well")
	check(t, ok, "Home says that all is well")
	o.arrived(t, "good.example", 0, o.sendMail("", "good.example"), verdict.Verified)
	o.off()

	check(t, strings.Contains(tool(ctx, t, "sgdisk", "-v", card), "No problems found"), "sgdisk finds no fault in the table")
	tool(ctx, t, "e2fsck", "-fn", fmt.Sprintf("%s?offset=%d", card, layout.DataStart))
	names := tool(ctx, t, "mdir", "-b", "-i", espOf(card), "::")
	check(t, strings.Contains(names, layout.Provision+layout.ProvisionUsed) && !strings.Contains(names, layout.Provision+"\n"),
		"the settings on the boot partition are renamed: %q", names)

	// The same disk, started directly.
	o = boot(t, setup{World: world, CA: ca, Disk: card})
	rows = append(rows, o.bootTimes(t, "direct"))
	o.openUnclaimed()
	check(t, o.page.login(o.ctx, "Anna", "tractor-umbrella-47-violet") == nil, "the owner of before logs in")
	o.arrived(t, "good.example", 0, o.sendMail("", "good.example"), verdict.Verified)
	o.off()
	o.setAside(t, world, ca, card)
	t.Logf("seconds after the machine was switched on:\n%-8s %8s %8s %8s %8s %8s %8s\n%s", "BOOT",
		"PID 1", "disk", "network", "clock", "page", "SMTP", strings.Join(rows, "\n"))
}

// setAside damages the data file system: the box comes up without it and leaves
// it as it is. Who claims the box with the code on its console can have a new one
// made.
func (o *office) setAside(t *testing.T, world lab.World, ca *lab.CA, card string) {
	t.Helper()
	f, err := os.OpenFile(card, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	torn := []byte(strings.Repeat("torn", 1024))
	if _, err := f.WriteAt(torn, layout.DataStart); err != nil {
		t.Fatal(err)
	}
	b := boot(t, setup{World: world, CA: ca, Disk: card})
	l, ok := b.console("was left as it is: its beginning is damaged, but a copy of what is lost there is whole")
	check(t, ok, "console: %s", l.Text)
	if !b.claim() {
		t.FailNow()
	}
	shown, ok := b.waits("/", "The data disk cannot be read or written")
	check(t, ok, "page: %.200s", shown)
	b.wantLight(t, "broken: data disk set aside", dark, 0)
	still := make([]byte, len(torn))
	_, err = f.ReadAt(still, layout.DataStart)
	check(t, err == nil && string(still) == string(torn), "the damaged file system is as it was")
	_, shown, err = b.page.post(b.ctx, "/system/end/erase-data", url.Values{"password": {ownerPassword}})
	check(t, err == nil && strings.Contains(shown, "The box makes a new data disk"), "a new data disk is asked for: %.200s, %v", shown, err)
	b.restarts("new data disk")

	b = boot(t, setup{World: world, CA: ca, Disk: card})
	for _, text := range []string{"storage: the file system grew from ", "settings: there is no config.toml", "gatepost: ready:"} {
		l, ok = b.console(text)
		check(t, ok, "console: %s", l.Text)
	}
	code := b.claimCode(b.ctx)
	check(t, code != "", "the empty box shows a claim code")
	b.off()
	tool(b.ctx, t, "e2fsck", "-fn", fmt.Sprintf("%s?offset=%d", card, layout.DataStart))
}
