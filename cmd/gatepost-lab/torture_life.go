package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gatepost/relay/lab"
)

// claim is the first boot: the box gets its owner.
func (t *torturer) claim(ctx context.Context) error {
	if err := t.rig.SwitchOn(); err != nil {
		return err
	}
	if err := t.ready(ctx); err != nil {
		return err
	}
	code := t.rig.claimCode(ctx)
	if code == "" {
		return errors.New("the new box shows no claim code")
	}
	if err := t.saver.page.claim(ctx, code); err != nil {
		return err
	}
	end, err := t.rig.PowerOff(ctx, bootLimit)
	if err != nil || !end.PoweredOff() {
		return fmt.Errorf("the new box did not switch itself off: %s, %w", end, errors.Join(err))
	}
	return t.server.Idle(ctx)
}

// ready waits for a box that is whole: its page is there, its disk and its own
// settings are in use.
func (t *torturer) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	if _, err := t.rig.Machine.AwaitText(ctx, "gatepost: ready:"); err != nil {
		return err
	}
	var storage, settings bool
	for _, l := range t.rig.Machine.Lines() {
		storage = storage || strings.Contains(l.Text, "gatepost: storage: ") && strings.Contains(l.Text, " is in use, ")
		settings = settings || strings.Contains(l.Text, "settings: config.toml is in force")
	}
	if !storage || !settings {
		return fmt.Errorf("the box runs without its disk (in use: %t) or its settings (in force: %t)", storage, settings)
	}
	return nil
}

// A moment is when the power goes.
type moment struct {
	name  string
	work  time.Duration // how long the box works before
	after int           // flushes, for those that count them
	delay time.Duration // after the event
}

func (t *torturer) moment() moment {
	delay := time.Duration(t.rng.Int64N(int64(150 * time.Millisecond)))
	work := time.Duration(t.rng.Int64N(int64(8 * time.Second)))
	switch n := t.rng.IntN(20); {
	case n < 4:
		return moment{name: "boot", after: 1 + t.rng.IntN(40)}
	case n < 12:
		return moment{name: "flush", work: work, after: 1 + t.rng.IntN(60)}
	case n < 14:
		return moment{name: "250", work: work}
	case n < 16:
		return moment{name: "354", work: work, delay: delay}
	case n < 18:
		return moment{name: "saving", work: work, delay: 4 * delay}
	}
	return moment{name: "time", work: work}
}

// life boots the box, lets it work, and cuts its power.
func (t *torturer) life(ctx context.Context) error {
	m, seed := t.moment(), t.rng.Uint64()
	t.moments[m.name]++
	before := filepath.Join(tortureDir, "before.img")
	if err := t.disk.Save(before); err != nil {
		return err
	}
	var trap <-chan struct{}
	t.disk.PowerOn()
	if m.name == "boot" {
		trap = t.disk.Trip(m.after)
	}
	began := time.Now()
	if err := t.rig.SwitchOn(); err != nil {
		return err
	}
	clients := startSenders(senderConfig{
		Dial: t.dial, Ledger: t.book, Seed: t.rng.Uint64(), Connections: 4, Backlog: 400,
		Rcpts: tortureRcpts, Size: mostlySmall,
	})
	took, err := t.until(ctx, m, trap)
	t.rig.Machine.Kill()
	report := t.disk.Cut(seed)
	clients.stop()
	if err := errors.Join(ctx.Err(), t.server.Idle(ctx)); err != nil {
		return err
	}
	if err != nil {
		t.unbootable++
		t.keep(before, fmt.Sprintf("seed-%d-cut-%d-unbootable", t.seed, t.done), err)
		if t.unbootable > 3 {
			return errors.Join(errors.New("the box does not boot any more"), t.report())
		}
	}
	t.done++
	t.last = seed
	c := t.book.counts()
	t.sayf("cut %d of %d (%s; ready after %s, on for %.1f s): %v; accepted %d, waiting %d, settings %d", t.done, t.cuts, m.name, took,
		time.Since(began).Seconds(), report, c.Accepted, c.Lost, t.saver.saves)
	t.check(ctx, before)
	return nil
}

// keep keeps the disk from which a life that failed began.
func (t *torturer) keep(before, name string, why error) {
	kept := filepath.Join(tortureDir, name+".img")
	t.sayf("FAILED after cut %d (its seed %d): %v; the disk is kept as %s", t.done, t.last, why, kept)
	if err := os.Rename(before, kept); err != nil {
		t.sayf("  %v", err)
	}
}

// until works with the box until its power is to go. Its error says that the
// box did not get ready.
func (t *torturer) until(ctx context.Context, m moment, trap <-chan struct{}) (took string, err error) {
	began := time.Now()
	work, stop := context.WithCancel(ctx)
	defer stop()
	up := make(chan error, 1)
	go func() { up <- t.ready(work) }()
	select {
	case <-trap:
		stop()
		<-up
		return "never", nil
	case err := <-up:
		if err != nil {
			if sprung(trap) {
				return "never", nil
			}
			return "never", err
		}
	}
	took = fmt.Sprintf("%.1f s", time.Since(began).Seconds())
	var saving sync.WaitGroup
	defer saving.Wait()
	defer stop()
	failed := make(chan error, 1)
	started := make(chan struct{})
	saving.Go(func() {
		defer close(started)
		if err := t.enter(work); err != nil && work.Err() == nil {
			failed <- err
			return
		}
		saving.Go(func() { t.saver.run(work) })
	})
	if m.name != "boot" && m.name != "time" {
		select {
		case <-started:
		case <-trap:
		case <-time.After(bootLimit):
		}
	}
	if m.name != "boot" {
		rest(work, m.work)
	}
	event := make(<-chan struct{})
	switch m.name {
	case "flush":
		trap = t.disk.Trip(m.after)
	case "250":
		event = t.book.next(event250)
	case "354":
		event = t.book.next(event354)
	case "saving":
		event = t.saver.busy
	case "time":
		now := make(chan struct{})
		close(now)
		event = now
	}
	select {
	case <-trap:
	case <-event:
		rest(work, m.delay)
	case <-time.After(30 * time.Second):
		t.sayf("  the moment %q did not come within 30 s", m.name)
	case <-ctx.Done():
	}
	t.rig.Machine.Kill() // before anybody is told to stop
	select {
	case err := <-failed:
		if !sprung(trap) {
			return took, err
		}
	default:
	}
	return took, nil
}

func rest(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func sprung(trap <-chan struct{}) bool {
	select {
	case <-trap:
		return trap != nil
	default:
		return false
	}
}

// enter logs in and compares the settings with those that were confirmed.
func (t *torturer) enter(ctx context.Context) error {
	var err error
	for range 3 { // the page may just be starting
		if err = t.saver.page.login(ctx, ownerName, ownerPassword); err == nil {
			break
		}
		rest(ctx, time.Second)
	}
	if err != nil {
		return fmt.Errorf("the owner cannot log in: %w", err)
	}
	lost, err := t.saver.verify(ctx)
	if err != nil {
		return err
	}
	if len(lost) > 0 {
		t.settingsLost++
		t.keep(filepath.Join(tortureDir, "before.img"), fmt.Sprintf("seed-%d-cut-%d-settings", t.seed, t.done), errors.New(strings.Join(lost, "; ")))
	}
	return nil
}

// finish boots once more and lets all mail go.
func (t *torturer) finish(ctx context.Context) error {
	t.disk.PowerOn()
	if err := t.rig.Lab.Change(tortureSlow, func(d *lab.Domain) { d.MX[0].Greylist = 0 }); err != nil {
		return err
	}
	if err := t.rig.SwitchOn(); err != nil {
		return err
	}
	if err := t.ready(ctx); err != nil {
		t.unbootable++
		return errors.Join(err, t.report())
	}
	if err := t.enter(ctx); err != nil {
		return err
	}
	if t.saver.paused {
		if err := t.saver.togglePause(ctx); err != nil {
			return fmt.Errorf("the mail to %s cannot be resumed: %w", tortureSlow, err)
		}
	}
	left, since := t.book.backlog(), time.Now()
	for left > 0 && time.Since(since) < 2*time.Minute && ctx.Err() == nil {
		rest(ctx, 200*time.Millisecond)
		if now := t.book.backlog(); now != left {
			left, since = now, time.Now()
		}
	}
	end, err := t.rig.PowerOff(ctx, bootLimit)
	if err != nil || !end.PoweredOff() {
		t.sayf("the box did not switch itself off in the end: %s, %v", end, err)
	}
	return nil
}
