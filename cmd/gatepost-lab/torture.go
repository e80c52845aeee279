package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"gatepost/image/qemu"
	"gatepost/relay/lab"
	"gatepost/relay/lab/nbd"
)

// tortureDir keeps the disk of the last cut, and of each cut that failed.
const tortureDir = "build/torture"

// torturer cuts the power of one box again and again.
type torturer struct {
	out    io.Writer
	rng    *rand.Rand
	seed   uint64
	cuts   int // wanted
	disk   *nbd.Disk
	server *nbd.Server
	rig    *rig
	book   *ledger
	saver  *saver

	done, unbootable, settingsLost int
	last                           uint64 // seed of the last cut
	moments                        map[string]int
}

// torture is "gatepost-lab torture": the power of the real image is cut while
// mail flows and settings are saved.
func torture(args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("gatepost-lab torture", flag.ContinueOnError)
	fs.SetOutput(stderr)
	cuts := fs.Int("n", 5, "how often the power is cut")
	seed := fs.Uint64("seed", 0, "what decides moments and cuts; 0: by the time")
	again := fs.String("disk", "", "boot this disk once and show the console, to look into a cut that failed")
	if err := fs.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	if err := errors.Join(buildImage(ctx, stdout), os.MkdirAll(tortureDir, 0o755)); err != nil {
		return err
	}
	t := &torturer{
		out: &lines{w: stdout}, rng: rand.New(rand.NewPCG(*seed, 0)), seed: *seed, cuts: *cuts,
		book: newLedger(tortureOwner), saver: &saver{busy: make(chan struct{}, 1)}, moments: map[string]int{},
	}
	return t.run(ctx, *again)
}

func (t *torturer) sayf(format string, args ...any) { fmt.Fprintf(t.out, format+"\n", args...) }

// run sets everything up, does the cuts and prints the last line.
func (t *torturer) run(ctx context.Context, again string) (err error) {
	ca, err := lab.NewCA(time.Now())
	if err != nil {
		return err
	}
	world := tortureWorld()
	if again != "" {
		t.disk, err = nbd.LoadDisk(again)
	} else {
		t.disk, err = newTortureDisk(ctx, tortureDir, world, ca)
	}
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "gatepost-nbd-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "nbd")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	t.server = &nbd.Server{Disk: t.disk, Seed: t.seed}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- t.server.Run(serving, ln) }()
	defer func() {
		t.disk.Cut(0) // lets go what a trap holds
		stop()
		err = errors.Join(err, <-served)
	}()
	t.rig, err = startRig(ctx, rigConfig{
		Image: imageDir, NBD: socket, Off: true, CA: ca, World: world, Mail: t.take,
		OnLine: func(l qemu.Line) { t.heard(l, again != "") },
	})
	if err != nil {
		return err
	}
	defer func() {
		t.disk.Cut(0)
		err = errors.Join(err, t.rig.Close())
	}()
	if again != "" {
		return t.again(ctx)
	}
	if err := t.openPage(); err != nil {
		return err
	}
	t.sayf("torture: seed %d, %d cuts", t.seed, t.cuts)
	if err := t.claim(ctx); err != nil {
		return err
	}
	for t.done < t.cuts {
		if err := t.life(ctx); err != nil {
			return err
		}
	}
	if err := t.finish(ctx); err != nil {
		return err
	}
	return t.report()
}

// report prints what was found. The last line is for machines.
func (t *torturer) report() error {
	c := t.book.counts()
	t.sayf("moments of the cuts: %v; settings saved %d times", t.moments, t.saver.saves)
	t.sayf("%d recipients accepted: %d delivered, %d returned with a notice, %d lost; %d more arrived whose 250 was cut off, %d damaged",
		c.Accepted, c.Delivered, c.Bounced, c.Lost, c.Unanswered, c.Damaged)
	if c.Lost > 0 {
		t.sayf("lost: %v", t.book.lost())
	}
	failed := c.Lost+c.Damaged+t.unbootable+t.settingsLost > 0
	if failed {
		t.sayf("repeat with: make torture N=%d SEED=%d (the moments depend on the machine's speed); look at a disk with: build/gatepost-lab torture -disk %s/NAME.img", t.cuts, t.seed, tortureDir)
	}
	t.sayf("torture cuts=%d accepted=%d delivered=%d duplicated=%d lost=%d unbootable=%d settings_lost=%d",
		t.done, c.Accepted, c.Delivered, c.Duplicated, c.Lost+c.Damaged, t.unbootable, t.settingsLost)
	if failed {
		return errors.New("the box did not survive its power cuts unharmed")
	}
	return nil
}

// openPage leads a port of this machine to the guest's page.
func (t *torturer) openPage() error {
	addr, err := t.rig.Forward(0, 443)
	if err == nil {
		t.saver.page, err = openPage(addr)
	}
	return err
}

// heard shows what the box says of damage.
func (t *torturer) heard(l qemu.Line, all bool) {
	low := strings.ToLower(l.Text)
	for _, word := range []string{"damage", "quarantine", "set aside", "panic", "ext4-fs error", "remount", "last settings"} {
		all = all || strings.Contains(low, word)
	}
	if all {
		t.sayf("  box: %s", l.Text)
	}
}

// again boots a kept disk once.
func (t *torturer) again(ctx context.Context) error {
	if err := t.rig.SwitchOn(); err != nil {
		return err
	}
	if err := t.ready(ctx); err != nil {
		return err
	}
	_, err := t.rig.PowerOff(ctx, bootLimit)
	return err
}

// check looks at the disk with the file system's own program: after its
// journal is replayed nothing may be wrong. It says so and decides nothing.
func (t *torturer) check(ctx context.Context, file string) {
	whole := file + ".fsck"
	defer os.Remove(whole)
	if err := t.disk.Save(whole); err != nil {
		t.sayf("  file system check: %v", err)
		return
	}
	out, err := exec.CommandContext(ctx, "e2fsck", "-f", "-y", whole).CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode()&^1 != 0 || strings.Contains(string(out), "UNEXPECTED") {
		t.sayf("  file system check: %v\n%s", err, out)
	}
}

// dial is a machine of the office that opens a connection to the box.
func (t *torturer) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	return t.rig.Wire.Dial(ctx, netip.MustParseAddr("192.168.77.10"), netip.AddrPortFrom(t.rig.guest, 25))
}
