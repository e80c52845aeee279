package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"

	"gatepost/relay"
	"gatepost/relay/nexthop"
	"gatepost/relay/smtpd"
)

// inProcess is Gatepost's relay in this process, so that a profile can be
// made of it: the released program carries no profiler.
type inProcess struct {
	dir    string
	at     string
	data   *os.Root
	cancel context.CancelFunc
	done   chan error
}

func (g *inProcess) open(_ context.Context, dir, next string, mode benchMode) error {
	var err error
	if g.dir, err = os.MkdirTemp(dir, "gatepost-inside-"); err != nil {
		return err
	}
	if g.data, err = os.OpenRoot(g.dir); err != nil {
		return err
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	g.at = ln.Addr().String()
	to, err := netip.ParseAddrPort(next)
	if err != nil {
		return err
	}
	hop := nexthop.Hop{Host: to.Addr().String(), Port: to.Port(), TLS: nexthop.TLSNone}
	if mode.secure {
		hop.TLS = nexthop.TLSRequire
	}
	m, err := relay.New(relay.Config{
		Version: "bench", Hostname: "gatepost.office.example",
		Listeners:       []smtpd.Listener{{Listener: ln, Role: smtpd.Trusted}},
		TrustedNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		MaxMessage:      50 << 20, MaxRecipients: 100,
		SmartHost: &hop, Retry: []time.Duration{time.Second}, Lifetime: time.Hour,
		Parallel: 100, PerDomain: outgoing, Data: g.data,
		NameServers: func() []netip.AddrPort { return nil },
	})
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel, g.done = cancel, make(chan error, 1)
	go func() { g.done <- m.Run(ctx) }()
	return nil
}

func (g *inProcess) addr() string               { return g.at }
func (g *inProcess) pid() int                   { return os.Getpid() }
func (g *inProcess) idle(context.Context) error { return nil }

func (g *inProcess) close() error {
	if g.cancel == nil {
		return nil
	}
	g.cancel()
	err := <-g.done
	g.cancel = nil
	return errors.Join(err, g.data.Close(), os.RemoveAll(g.dir))
}

// profile runs our relay in this process with 50 clients of 4 KB for ten
// rounds and writes its CPU profile.
func (c *comparison) profile(ctx context.Context, file string) (err error) {
	g := &inProcess{}
	if err := g.open(ctx, c.dir, c.sink.Addr, benchMode{}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	l := load{clients: 50, size: 4096}
	first, err := c.round(ctx, g, l, 500)
	if err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	s, err := c.round(ctx, g, l, max(1000, int(first.delivered*10*c.length.Seconds())))
	pprof.StopCPUProfile()
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "profile %v: %d messages, delivered %.0f/s\n", l, s.messages, s.delivered)
	return c.where(ctx, file, s.messages)
}

// machine says what the figures were measured on, and with which settings.
func (c *comparison) machine(ctx context.Context) error {
	cpu := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(b), "model name"); ok {
			line, _, _ := strings.Cut(rest, "\n")
			cpu = strings.TrimLeft(line, "\t :")
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease") // "" is fine
	var load string
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		load, _, _ = strings.Cut(string(b), " ")
	}
	version := "unknown"
	if out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Version}", "postfix").Output(); err == nil {
		version = string(bytes.TrimSpace(out))
	}
	fs, err := command(ctx, "findmnt", "-n", "-o", "FSTYPE", "-T", c.dir)
	if err != nil {
		return err
	}
	c.conditions = []string{
		fmt.Sprintf("%s, %d cores of %s, Linux %s, %s, Go %s, load %s at the start", time.Now().UTC().Format("2006-01-02 15:04 UTC"),
			runtime.NumCPU(), cpu, strings.TrimSpace(string(kernel)), strings.TrimSpace(fs), strings.TrimPrefix(runtime.Version(), "go"), load),
		fmt.Sprintf("peer is Postfix %s with the settings of its package; ours is %s", version, c.binarySize()),
		fmt.Sprintf("smtp-source opens a connection for each message, smtp-sink takes them; either side opens at most %d connections to it", outgoing),
		"accept: what is taken in waits (Postfix: HOLD, ours: paused); acceptbusy: what the clients see while mail is delivered; cpu: user and system, all processes",
		fmt.Sprintf("medians of %d rounds, the sides in turn; a ratio above 1 is in our favour", c.rounds),
	}
	for _, line := range c.conditions {
		fmt.Fprintln(c.out, "#", line)
	}
	return nil
}

// binarySize describes the program of our side.
func (c *comparison) binarySize() string {
	g, ok := c.sides[0].(*gatepost)
	if !ok {
		return "unknown"
	}
	info, err := os.Stat(g.binary)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s, %.1f MiB", filepath.Base(g.binary), float64(info.Size())/(1<<20))
}
