package main

import (
	"context"
	"flag"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gatepost/relay/lab/peer"
)

var (
	gatepostFlag = flag.String("gatepost", "", "the `program` to test as a process; without it one is built")
	killsFlag    = flag.Int("kills", 40, "how often TestKill kills Gatepost")
	killSeedFlag = flag.Uint64("kills.seed", 0, "seed of TestKill, 0: by the time")
)

// needPostfix skips the test where no Postfix can run, or fails it in CI.
func needPostfix(t *testing.T) {
	t.Helper()
	if err := peer.CanPostfix(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err) // make test installs it: here a skip would hide the check
		}
		t.Skip(err)
	}
}

// buildGatepost builds the program that is tested as a process.
func buildGatepost(t *testing.T) string {
	t.Helper()
	if *gatepostFlag != "" {
		return *gatepostFlag
	}
	file := filepath.Join(t.TempDir(), "gatepost")
	cmd := exec.Command("go", "build", "-o", file, "gatepost/cmd/gatepost")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return file
}

// The mailboxes of the Postfix that gets everything. There is no other user in
// these domains: mail for one is refused with 550 and comes back as a notice.
const (
	killBox   = "anna@sink.example"
	killBox2  = "bert@sink.example"
	killGone  = "gone@sink.example"
	killOwner = "kill@office.example" // the sender, who gets the notices
)

// TestKill ends Gatepost by SIGKILL at random points, mostly between the first
// 354 and the end of delivery, sometimes while it starts and reads its spool,
// under clients that send all the time. Whatever got 250 must arrive at the
// Postfix behind it, unchanged, or come back as a notice.
func TestKill(t *testing.T) {
	needPostfix(t)
	seed := *killSeedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sink, err := peer.StartPostfix(ctx, peer.PostfixConfig{
		Hostname:  "mx.sink.example",
		Mailboxes: []string{killBox, killBox2, killOwner},
		Settings:  map[string]string{"in_flow_delay": "0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sink.Stop(); err != nil {
			t.Error(err)
		}
	})
	victim, err := prepare(buildGatepost(t), t.TempDir(), route{next: sink.Addr, tls: "none"})
	if err != nil {
		t.Fatal(err)
	}
	k := &killer{t: t, rand: rand.New(rand.NewPCG(seed, 0)), victim: victim, sink: sink, book: newLedger(killOwner)}
	k.run(ctx)
	if t.Failed() {
		t.Logf("the sink's log:\n%s", sink.Log())
	}
}

// killer kills.
type killer struct {
	t      *testing.T
	rand   *rand.Rand
	victim *served
	sink   *peer.Postfix
	book   *ledger
	kills  [3]int // by the moment: in work, behind a 250, in the start
}

func (k *killer) run(ctx context.Context) {
	clients := startSenders(k.senders())
	collecting, stopCollecting := context.WithCancel(ctx)
	var collector sync.WaitGroup
	collector.Go(func() {
		for tick := time.NewTicker(200 * time.Millisecond); ; {
			select {
			case <-collecting.Done():
				tick.Stop()
				return
			case <-tick.C:
				k.collect()
			}
		}
	})
	began := time.Now()
	for i := range *killsFlag {
		if err := k.victim.launch(); err != nil {
			k.t.Fatal(err)
		}
		if !k.live(ctx) {
			k.t.Errorf("life %d: Gatepost ended by itself: %s", i, k.victim.process.Output())
			break
		}
		k.victim.process.Kill()
		if i%100 == 99 {
			c := k.book.counts()
			k.t.Logf("%v: %d kills, accepted=%d, of which %d still wait", time.Since(began).Round(time.Second), i+1, c.Accepted, c.Lost)
		}
	}
	clients.stop()
	stopCollecting()
	collector.Wait()
	k.finish(ctx)
	k.t.Logf("%d kills (%d in work, %d right behind a 250, %d in the start) in %v: %v",
		*killsFlag, k.kills[0], k.kills[1], k.kills[2], time.Since(began).Round(time.Second), k.book.counts())
	if c := k.book.counts(); c.Lost > 0 || c.Damaged > 0 {
		k.t.Errorf("lost: %v", k.book.lost())
	}
	if c := k.book.counts(); c.Accepted < *killsFlag || c.Bounced == 0 {
		k.t.Errorf("got %v: too little mail to show anything", c)
	}
}

// live waits for the moment at which this life ends. It is false when
// Gatepost ended before that.
func (k *killer) live(ctx context.Context) bool {
	pause := func(d time.Duration) bool {
		select {
		case <-time.After(d):
			return true
		case <-k.victim.process.Done():
			return false
		case <-ctx.Done():
			return false
		}
	}
	moment := k.rand.IntN(20)
	if moment < 3 {
		k.kills[2]++
		return pause(time.Duration(k.rand.Int64N(int64(150 * time.Millisecond))))
	}
	kind, after := event354, time.Duration(k.rand.Int64N(int64(200*time.Millisecond)))
	k.kills[0]++
	if moment < 8 {
		k.kills[0]--
		k.kills[1]++
		kind, after = event250, 0
	}
	select {
	case <-k.book.next(kind):
		return pause(after)
	case <-k.victim.process.Done():
		return false
	case <-time.After(30 * time.Second):
		k.t.Errorf("no %s came within 30 s: %s", kind, k.victim.process.Output())
		return true
	}
}

// finish lets Gatepost and the sink deliver what is left.
func (k *killer) finish(ctx context.Context) {
	if err := k.victim.start(ctx); err != nil {
		k.t.Error(err)
		return
	}
	// It may take its time, but something must come all the time.
	left, since := 0, time.Now()
	for !k.t.Failed() {
		k.collect()
		c := k.book.counts()
		if c.Lost != left {
			left, since = c.Lost, time.Now()
		}
		if c.Lost == 0 || time.Since(since) > time.Minute {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := k.victim.stop(); err != nil {
		k.t.Error(err)
	}
	// Copies of what has arrived already may be on their way.
	end := time.Now().Add(time.Minute)
	for n, err := k.sink.Waiting(); n > 0 && err == nil && time.Now().Before(end); n, err = k.sink.Waiting() {
		time.Sleep(20 * time.Millisecond)
	}
	k.collect()
}

// collect takes the mail out of the sink's mailboxes.
func (k *killer) collect() {
	for _, box := range []string{killBox, killBox2, killOwner} {
		mails, err := k.sink.TakeMail(box)
		if err != nil {
			k.t.Error(err)
			return
		}
		for _, m := range mails {
			if err := k.book.arrived(box, m); err != nil {
				k.t.Error(err)
			}
		}
	}
}

// senders are the clients of TestKill.
func (k *killer) senders() senderConfig {
	return senderConfig{
		Dial: func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", k.victim.addr)
		},
		Ledger: k.book, Seed: k.rand.Uint64(), Connections: 6, Backlog: 200,
		Rcpts: killRcpts, Size: mostlySmall,
	}
}

// killRcpts is one recipient, sometimes two; sometimes one whom the sink
// refuses.
func killRcpts(rng *rand.Rand) []string {
	switch n := rng.IntN(10); {
	case n == 0:
		return []string{killGone}
	case n == 1:
		return []string{killBox, killGone}
	case n < 4:
		return []string{killBox, killBox2}
	}
	return []string{killBox}
}
