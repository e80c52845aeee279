package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"gatepost/relay/lab"
	"gatepost/relay/lab/peer"
)

// comparison is the benchmark of Gatepost beside Postfix: one machine, one
// disk, one run.
type comparison struct {
	out     io.Writer
	dir     string        // where both work
	rounds  int           // of each measure and side, taken in turn; the median counts
	length  time.Duration // that a round is meant to last
	clients []int
	sizes   []int
	sides   [2]side // ours, peer

	sink  *peer.Sink
	front *peer.TLSFront // the way to the sink over TLS

	conditions []string // what was measured on, and how
	figures    []figure
}

// figure is one line of the result.
type figure struct {
	name         string
	load         load
	ours, theirs string
	ratio        float64 // above 1 is in our favour
}

func (f figure) String() string {
	return fmt.Sprintf("bench %s %v ours=%s peer=%s ratio=%.1f", f.name, f.load, f.ours, f.theirs, f.ratio)
}

// load is what the clients do in a round.
type load struct {
	clients, size int
	benchMode
}

func (l load) String() string {
	s := "off"
	if l.secure {
		s = "on"
	}
	return fmt.Sprintf("clients=%d size=%d tls=%s", l.clients, l.size, s)
}

// bench is "gatepost-lab bench".
func bench(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	binary := flags.String("gatepost", "build/bench/gatepost", "the `program` as it is built for release")
	dir := flags.String("dir", "build/bench", "`folder` in which both work: it says which disk is measured")
	rounds := flags.Int("rounds", 3, "rounds of each measure and side; the median counts")
	length := flags.Duration("length", 1500*time.Millisecond, "length that a round is meant to have")
	document := flags.String("doc", "", "Markdown `file` whose part between the marks is replaced by the result")
	profile := flags.String("profile", "", "only run ours with 50 clients of 4 KB and write its CPU profile to the `file`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := peer.CanPostfix(); err != nil {
		return err
	}
	work, err := freeSpace(*dir)
	if err != nil {
		return err
	}
	c := &comparison{
		out: out, dir: work, rounds: *rounds, length: *length,
		clients: []int{1, 20, 50}, sizes: []int{4096, 102400},
		sides: [2]side{&gatepost{binary: *binary}, &postfix{}},
	}
	err = c.run(ctx, *profile)
	if err == nil && *document != "" {
		err = c.writeInto(*document)
	}
	return errors.Join(err, os.RemoveAll(work))
}

func (c *comparison) run(ctx context.Context, profile string) error {
	var err error
	if c.sink, err = peer.StartSink(ctx, peer.SinkConfig{}); err != nil {
		return err
	}
	defer func() { _ = c.sink.Stop() }()
	cert, err := sinkCertificate()
	if err != nil {
		return err
	}
	if c.front, err = peer.StartTLSFront(c.sink.Addr, cert); err != nil {
		return err
	}
	defer func() { _ = c.front.Close() }()
	if profile != "" {
		return c.profile(ctx, profile)
	}
	if err := c.machine(ctx); err != nil {
		return err
	}
	for _, l := range c.loads(benchMode{paused: true}) {
		if err := c.accept(ctx, l); err != nil {
			return fmt.Errorf("accept %v: %w", l, err)
		}
	}
	for _, mode := range []benchMode{{}, {secure: true}} {
		for _, l := range c.loads(mode) {
			if err := c.deliver(ctx, l); err != nil {
				return fmt.Errorf("delivered %v: %w", l, err)
			}
		}
	}
	return c.disk(ctx)
}

// loads are the combinations of clients and sizes in a mode.
func (c *comparison) loads(mode benchMode) []load {
	var list []load
	for _, size := range c.sizes {
		for _, n := range c.clients {
			list = append(list, load{n, size, mode})
		}
	}
	return list
}

// sample is what one round of one side gave.
type sample struct {
	messages  int
	accepted  float64 // messages a second, while the clients sent
	delivered float64 // messages a second, from the first connection to the last message in the sink
	cpu       float64 // milliseconds a message
}

// accept measures the taking in alone: on both sides what was taken in waits.
func (c *comparison) accept(ctx context.Context, l load) error {
	samples, err := c.inTurn(ctx, l)
	if err != nil {
		return err
	}
	c.rate("accept", l, samples, func(s sample) float64 { return s.accepted })
	return c.ceiling(ctx, l)
}

// ceiling measures the driver alone: against a sink that keeps nothing. No
// server can be seen to be faster than that.
func (c *comparison) ceiling(ctx context.Context, l load) error {
	var rates []sample
	for messages := 10 + 4*l.clients; len(rates) <= c.rounds; {
		took, err := peer.Send(ctx, peer.Load{
			To: c.sink.Addr, Sessions: l.clients, Messages: messages, Size: l.size,
			From: "anna@office.example", Rcpt: "bert@away.example",
		})
		if err != nil {
			return err
		}
		rate := float64(messages) / took.Seconds()
		rates = append(rates, sample{accepted: rate})
		messages = max(2*l.clients, 20, int(rate*c.length.Seconds()))
	}
	top := median(rates[1:], func(s sample) float64 { return s.accepted })
	fmt.Fprintf(c.out, "bench ceiling %v sink=%.0f/s\n", l, top)
	c.conditions = append(c.conditions, fmt.Sprintf(
		"What the driver reaches against a sink that keeps nothing, %d clients, %d bytes: %.0f/s.", l.clients, l.size, top))
	return nil
}

// deliver measures the whole path, and what the clients see meanwhile.
func (c *comparison) deliver(ctx context.Context, l load) error {
	samples, err := c.inTurn(ctx, l)
	if err != nil {
		return err
	}
	c.rate("delivered", l, samples, func(s sample) float64 { return s.delivered })
	c.rate("acceptbusy", l, samples, func(s sample) float64 { return s.accepted })
	c.cost("cpu", l, samples, "%.2fms/message", func(s sample) float64 { return s.cpu })
	return nil
}

// inTurn gives both sides the same rounds, one after the other, so that a
// noisy minute of the machine meets both.
func (c *comparison) inTurn(ctx context.Context, l load) ([2][]sample, error) {
	var samples [2][]sample
	var messages [2]int
	for i, s := range c.sides {
		if err := s.open(ctx, c.dir, c.next(l.benchMode), l.benchMode); err != nil {
			return samples, err
		}
		defer func() { _ = s.close() }()
		// The first round is for the caches, and says how many messages a
		// round of the wanted length has.
		first, err := c.round(ctx, s, l, 10+4*l.clients)
		if err != nil {
			return samples, err
		}
		speed := first.accepted
		if !l.paused {
			speed = first.delivered
		}
		messages[i] = max(2*l.clients, 20, int(speed*c.length.Seconds()))
	}
	for r := range c.rounds {
		for turn := range c.sides {
			i := (r + turn) % len(c.sides)
			s, err := c.round(ctx, c.sides[i], l, messages[i])
			if err != nil {
				return samples, err
			}
			samples[i] = append(samples[i], s)
		}
	}
	for _, s := range c.sides {
		if err := s.close(); err != nil {
			return samples, err
		}
	}
	return samples, nil
}

// next is the address of the sink.
func (c *comparison) next(m benchMode) string {
	if m.secure {
		return c.front.Addr
	}
	return c.sink.Addr
}

// round sends messages through a side and waits until it is idle again.
func (c *comparison) round(ctx context.Context, s side, l load, messages int) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	before, err := peer.UsageOf(s.pid())
	if err != nil {
		return sample{}, err
	}
	count := c.sink.Count()
	began := time.Now()
	took, err := peer.Send(ctx, peer.Load{
		To: s.addr(), Sessions: l.clients, Messages: messages, Size: l.size,
		From: "anna@office.example", Rcpt: "bert@away.example",
	})
	if err != nil {
		return sample{}, err
	}
	n := float64(messages)
	r := sample{messages: messages, accepted: n / took.Seconds()}
	if !l.paused {
		if err := c.sink.Wait(ctx, count+messages); err != nil {
			return sample{}, err
		}
		r.delivered = n / time.Since(began).Seconds()
		if err := s.idle(ctx); err != nil {
			return sample{}, err
		}
	}
	after, err := peer.UsageOf(s.pid())
	if err != nil {
		return sample{}, err
	}
	r.cpu = (after.CPU - before.CPU).Seconds() * 1000 / n
	return r, nil
}

// rate prints a line about messages a second: the more the better.
func (c *comparison) rate(name string, l load, samples [2][]sample, of func(sample) float64) {
	ours, theirs := median(samples[0], of), median(samples[1], of)
	c.print(figure{name, l, fmt.Sprintf("%.0f/s", ours), fmt.Sprintf("%.0f/s", theirs), ours / theirs})
}

// cost prints a line about what a message costs: the less the better, and the
// ratio says how many times less ours is.
func (c *comparison) cost(name string, l load, samples [2][]sample, format string, of func(sample) float64) {
	ours, theirs := median(samples[0], of), median(samples[1], of)
	c.print(figure{name, l, fmt.Sprintf(format, ours), fmt.Sprintf(format, theirs), theirs / ours})
}

func (c *comparison) print(f figure) {
	c.figures = append(c.figures, f)
	fmt.Fprintln(c.out, f)
}

func median(samples []sample, of func(sample) float64) float64 {
	var v []float64
	for _, s := range samples {
		v = append(v, of(s))
	}
	slices.Sort(v)
	if len(v)%2 == 1 {
		return v[len(v)/2]
	}
	return (v[len(v)/2-1] + v[len(v)/2]) / 2
}

// sinkCertificate is for the sink's door with TLS.
func sinkCertificate() (*tls.Certificate, error) {
	ca, err := lab.NewCA(time.Now())
	if err != nil {
		return nil, err
	}
	return ca.Issue("sink.away.example", lab.Cert{}, time.Now())
}
