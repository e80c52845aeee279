package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"
)

// senderConfig describes clients that send as fast as they are answered.
type senderConfig struct {
	Dial   func(context.Context) (net.Conn, error)
	Ledger *ledger
	Seed   uint64
	// Connections is how many clients there are at once.
	Connections int
	// Backlog is how many recipients may wait before the clients do: with more,
	// Gatepost would only deliver.
	Backlog int
	// Rcpts chooses the recipients of a message, Size the bytes of its body.
	Rcpts func(*rand.Rand) []string
	Size  func(*rand.Rand) int
}

// senders are the running clients.
type senders struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// startSenders starts them; the caller must stop them.
func startSenders(c senderConfig) *senders {
	ctx, cancel := context.WithCancel(context.Background())
	s := &senders{cancel: cancel}
	for i := range c.Connections {
		one := &sender{senderConfig: c, rand: rand.New(rand.NewPCG(c.Seed, uint64(i)))}
		s.wg.Go(func() { one.run(ctx) })
	}
	return s
}

// stop cuts their connections and waits for their end.
func (s *senders) stop() {
	s.cancel()
	s.wg.Wait()
}

type sender struct {
	senderConfig
	rand *rand.Rand
}

func (c *sender) run(ctx context.Context) {
	for ctx.Err() == nil {
		if c.Ledger.backlog() > c.Backlog || c.session(ctx) != nil {
			// Gatepost is not there just now, or has enough to do.
			select {
			case <-time.After(2 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

var errOtherReply = errors.New("not the reply that was wanted")

// session sends a few messages over one connection. Its error says that the
// connection broke.
func (c *sender) session(ctx context.Context) error {
	conn, err := c.Dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	r := bufio.NewReader(conn)
	say := func(line, want string) error {
		if line != "" {
			if _, err := io.WriteString(conn, line+"\r\n"); err != nil {
				return err
			}
		}
		for {
			reply, err := r.ReadString('\n')
			if err != nil {
				return err
			}
			if len(reply) < 4 || reply[3] == '-' {
				continue
			}
			if !strings.HasPrefix(reply, want) {
				return fmt.Errorf("%w: %q", errOtherReply, reply)
			}
			return nil
		}
	}
	if err := say("", "220"); err != nil {
		return err
	}
	if err := say("EHLO client.office.example", "250"); err != nil {
		return err
	}
	for range 1 + c.rand.IntN(3) {
		number := c.Ledger.number()
		rcpts := c.Rcpts(c.rand)
		if err := say("MAIL FROM:<"+c.Ledger.owner+">", "250"); err != nil {
			return err
		}
		for _, to := range rcpts {
			if err := say("RCPT TO:<"+to+">", "250"); err != nil {
				return err
			}
		}
		if err := say("DATA", "354"); err != nil {
			return err
		}
		c.Ledger.tell(event354)
		if _, err := conn.Write(c.message(number, rcpts[0])); err != nil {
			return err
		}
		if err := say(".", "250"); err != nil {
			return err
		}
		c.Ledger.took(number, rcpts)
	}
	return say("QUIT", "221")
}

// message makes a message whose header has its number and a sum of its body.
func (c *sender) message(number int, to string) []byte {
	size := c.Size(c.rand)
	var body bytes.Buffer
	for body.Len() < size {
		fmt.Fprintf(&body, "%016x%016x%016x%016x\n", c.rand.Uint64(), c.rand.Uint64(), c.rand.Uint64(), c.rand.Uint64())
	}
	head := fmt.Sprintf("From: <%s>\nTo: <%s>\nSubject: test %d\nX-Test-Id: %d\nX-Test-Sum: %s\n\n",
		c.Ledger.owner, to, number, number, checksum(body.Bytes()))
	return bytes.ReplaceAll(append([]byte(head), body.Bytes()...), []byte("\n"), []byte("\r\n"))
}

// mostlySmall is a size of 1 KB to 1 MB.
func mostlySmall(rng *rand.Rand) int {
	switch rng.IntN(20) {
	case 0:
		return 1<<10 + rng.IntN(1<<20)
	case 1, 2, 3:
		return 1<<10 + rng.IntN(100<<10)
	}
	return 1<<10 + rng.IntN(8<<10)
}
