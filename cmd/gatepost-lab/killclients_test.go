package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// killBook is the account of TestKill: which recipient of which message got
// 250, and what arrived. Its methods may be called concurrently.
type killBook struct {
	mu      sync.Mutex
	numbers int
	account map[killEntry]*killState
	open    int // recipients that got 250 and of which nothing has arrived
	damaged int
	waiting map[killEvent][]chan struct{}
}

// killEntry is one recipient of one message.
type killEntry struct {
	message int
	rcpt    string
}

type killState struct {
	accepted           bool
	delivered, bounced int
}

// killEvent is a reply that a client saw.
type killEvent string

const (
	event354 killEvent = "354"
	event250 killEvent = "250"
)

func newKillBook() *killBook {
	return &killBook{account: make(map[killEntry]*killState), waiting: make(map[killEvent][]chan struct{})}
}

// next returns a channel that is closed when the next such reply comes.
func (b *killBook) next(e killEvent) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := make(chan struct{})
	b.waiting[e] = append(b.waiting[e], c)
	return c
}

func (b *killBook) tell(e killEvent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.waiting[e] {
		close(c)
	}
	b.waiting[e] = nil
}

// number gives the next message its number.
func (b *killBook) number() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.numbers++
	return b.numbers
}

func (b *killBook) state(e killEntry) *killState {
	s := b.account[e]
	if s == nil {
		s = &killState{}
		b.account[e] = s
	}
	return s
}

// took notes that a message got 250.
func (b *killBook) took(number int, rcpts []string) {
	b.mu.Lock()
	for _, r := range rcpts {
		s := b.state(killEntry{number, r})
		s.accepted = true
		if s.delivered+s.bounced == 0 {
			b.open++
		}
	}
	b.mu.Unlock()
	b.tell(event250)
}

var (
	killID    = regexp.MustCompile(`(?m)^X-Kill-Id: (\d+)$`)
	killSum   = regexp.MustCompile(`(?m)^X-Kill-Sum: ([0-9a-f]+)$`)
	finalRcpt = regexp.MustCompile(`(?mi)^Final-Recipient: rfc822; *(\S+)$`)
)

// arrived notes a message that stood in a mailbox: one of ours, or a notice
// about one.
func (b *killBook) arrived(box string, mail []byte) error {
	id := killID.FindSubmatch(mail)
	if id == nil {
		return fmt.Errorf("a message without our number in %s: %.2000q", box, mail)
	}
	var number int
	_, _ = fmt.Sscan(string(id[1]), &number) // digits: the expression says so
	b.mu.Lock()
	defer b.mu.Unlock()
	if box == killOwner {
		failed := finalRcpt.FindAllSubmatch(mail, -1)
		if failed == nil {
			return fmt.Errorf("a notice without a recipient: %.2000q", mail)
		}
		for _, f := range failed {
			s := b.state(killEntry{number, string(f[1])})
			b.close(s)
			s.bounced++
		}
		return nil
	}
	_, body, _ := bytes.Cut(mail, []byte("\n\n"))
	if sum := killSum.FindSubmatch(mail); sum == nil || string(sum[1]) != checksum(body) {
		b.damaged++
		return fmt.Errorf("message %d is damaged: %d bytes of body", number, len(body))
	}
	s := b.state(killEntry{number, box})
	b.close(s)
	s.delivered++
	return nil
}

// close counts a recipient of which something arrives for the first time. The
// caller holds the lock.
func (b *killBook) close(s *killState) {
	if s.accepted && s.delivered+s.bounced == 0 {
		b.open--
	}
}

// backlog is how many recipients still wait.
func (b *killBook) backlog() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open
}

func checksum(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

func (b *killBook) counts() killCounts {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := killCounts{Damaged: b.damaged}
	for _, s := range b.account {
		n := s.delivered + s.bounced
		c.Duplicated += max(n-1, 0)
		switch {
		case !s.accepted:
			c.Unanswered++
			continue
		case s.delivered > 0:
			c.Delivered++
		case s.bounced > 0:
			c.Bounced++
		default:
			c.Lost++
		}
		c.Accepted++
	}
	return c
}

// lost names up to ten recipients that are missing.
func (b *killBook) lost() []killEntry {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []killEntry
	for e, s := range b.account {
		if s.accepted && s.delivered+s.bounced == 0 {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b killEntry) int { return a.message - b.message })
	return list[:min(len(list), 10)]
}

// killClients are clients that send as fast as they are answered.
type killClients struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// killConnections is how many clients there are at once.
const killConnections = 6

// killBacklog is how much may wait before the clients do: with more, most
// kills would meet a Gatepost that only delivers.
const killBacklog = 200

func startKillClients(addr string, book *killBook, seed uint64) *killClients {
	ctx, cancel := context.WithCancel(context.Background())
	k := &killClients{cancel: cancel}
	for i := range killConnections {
		c := &killClient{addr: addr, book: book, rand: rand.New(rand.NewPCG(seed, uint64(i)))}
		k.wg.Go(func() { c.run(ctx) })
	}
	return k
}

func (k *killClients) stop() {
	k.cancel()
	k.wg.Wait()
}

type killClient struct {
	addr string
	book *killBook
	rand *rand.Rand
}

func (c *killClient) run(ctx context.Context) {
	for ctx.Err() == nil {
		if c.book.backlog() > killBacklog || c.session(ctx) != nil {
			// Gatepost is not there just now, or has enough to do.
			select {
			case <-time.After(2 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

var errKillReply = errors.New("not the reply that was wanted")

// session sends a few messages over one connection. Its error says that the
// connection broke.
func (c *killClient) session(ctx context.Context) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.addr)
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
				return fmt.Errorf("%w: %q", errKillReply, reply)
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
		number := c.book.number()
		rcpts := c.rcpts()
		if err := say("MAIL FROM:<"+killOwner+">", "250"); err != nil {
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
		c.book.tell(event354)
		if _, err := conn.Write(c.message(number)); err != nil {
			return err
		}
		if err := say(".", "250"); err != nil {
			return err
		}
		c.book.took(number, rcpts)
	}
	return say("QUIT", "221")
}

// rcpts is one recipient, sometimes two; sometimes one whom the sink refuses.
func (c *killClient) rcpts() []string {
	switch n := c.rand.IntN(10); {
	case n == 0:
		return []string{killGone}
	case n == 1:
		return []string{killBox, killGone}
	case n < 4:
		return []string{killBox, killBox2}
	}
	return []string{killBox}
}

// message makes a message of 1 KB to 1 MB, most of them small.
func (c *killClient) message(number int) []byte {
	size := 1<<10 + c.rand.IntN(8<<10)
	switch c.rand.IntN(20) {
	case 0:
		size = 1<<10 + c.rand.IntN(1<<20)
	case 1, 2, 3:
		size = 1<<10 + c.rand.IntN(100<<10)
	}
	var body bytes.Buffer
	for body.Len() < size {
		fmt.Fprintf(&body, "%016x%016x%016x%016x\n", c.rand.Uint64(), c.rand.Uint64(), c.rand.Uint64(), c.rand.Uint64())
	}
	head := fmt.Sprintf("From: <%s>\nTo: <%s>\nSubject: kill %d\nX-Kill-Id: %d\nX-Kill-Sum: %s\n\n",
		killOwner, killBox, number, number, checksum(body.Bytes()))
	return bytes.ReplaceAll(append([]byte(head), body.Bytes()...), []byte("\n"), []byte("\r\n"))
}
