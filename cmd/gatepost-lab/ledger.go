package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"sync"
)

// ledger is the account of a test that ends Gatepost the hard way: which
// recipient of which message got 250, and what arrived. Its methods may be
// called concurrently.
type ledger struct {
	owner   string // the sender, to whom the notices come
	mu      sync.Mutex
	numbers int
	account map[entry]*entryState
	open    int // recipients that got 250 and of which nothing has arrived
	damaged int
	waiting map[replySeen][]chan struct{}
}

// entry is one recipient of one message.
type entry struct {
	message int
	rcpt    string
}

type entryState struct {
	accepted           bool
	delivered, bounced int
}

// replySeen is a reply that a client saw.
type replySeen string

const (
	event354 replySeen = "354"
	event250 replySeen = "250"
)

func newLedger(owner string) *ledger {
	return &ledger{owner: owner, account: make(map[entry]*entryState), waiting: make(map[replySeen][]chan struct{})}
}

// next returns a channel that is closed when the next such reply comes.
func (b *ledger) next(e replySeen) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := make(chan struct{})
	b.waiting[e] = append(b.waiting[e], c)
	return c
}

func (b *ledger) tell(e replySeen) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.waiting[e] {
		close(c)
	}
	b.waiting[e] = nil
}

// number gives the next message its number.
func (b *ledger) number() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.numbers++
	return b.numbers
}

func (b *ledger) state(e entry) *entryState {
	s := b.account[e]
	if s == nil {
		s = &entryState{}
		b.account[e] = s
	}
	return s
}

// took notes that a message got 250.
func (b *ledger) took(number int, rcpts []string) {
	b.mu.Lock()
	for _, r := range rcpts {
		s := b.state(entry{number, r})
		s.accepted = true
		if s.delivered+s.bounced == 0 {
			b.open++
		}
	}
	b.mu.Unlock()
	b.tell(event250)
}

var (
	mailNumber = regexp.MustCompile(`(?m)^X-Test-Id: (\d+)$`)
	mailSum    = regexp.MustCompile(`(?m)^X-Test-Sum: ([0-9a-f]+)$`)
	finalRcpt  = regexp.MustCompile(`(?mi)^Final-Recipient: rfc822; *(\S+)$`)
)

// arrived notes a message that came to a mailbox, with the line ends of a
// file: one of ours, or a notice about one.
func (b *ledger) arrived(box string, mail []byte) error {
	id := mailNumber.FindSubmatch(mail)
	if id == nil {
		return fmt.Errorf("a message without our number in %s: %.2000q", box, mail)
	}
	var number int
	_, _ = fmt.Sscan(string(id[1]), &number) // digits: the expression says so
	b.mu.Lock()
	defer b.mu.Unlock()
	if box == b.owner {
		failed := finalRcpt.FindAllSubmatch(mail, -1)
		if failed == nil {
			return fmt.Errorf("a notice without a recipient: %.2000q", mail)
		}
		for _, f := range failed {
			s := b.state(entry{number, string(f[1])})
			b.close(s)
			s.bounced++
		}
		return nil
	}
	_, body, _ := bytes.Cut(mail, []byte("\n\n"))
	if sum := mailSum.FindSubmatch(mail); sum == nil || string(sum[1]) != checksum(body) {
		b.damaged++
		return fmt.Errorf("message %d is damaged: %d bytes of body", number, len(body))
	}
	s := b.state(entry{number, box})
	b.close(s)
	s.delivered++
	return nil
}

// close counts a recipient of which something arrives for the first time. The
// caller holds the lock.
func (b *ledger) close(s *entryState) {
	if s.accepted && s.delivered+s.bounced == 0 {
		b.open--
	}
}

// backlog is how many recipients still wait.
func (b *ledger) backlog() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open
}

func checksum(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

func (b *ledger) counts() counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := counts{Damaged: b.damaged}
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
func (b *ledger) lost() []entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []entry
	for e, s := range b.account {
		if s.accepted && s.delivered+s.bounced == 0 {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b entry) int { return a.message - b.message })
	return list[:min(len(list), 10)]
}

// counts is what became of the recipients of messages.
type counts struct {
	Accepted, Delivered, Bounced, Duplicated, Lost int
	Unanswered                                     int // arrived although 250 never reached the client
	Damaged                                        int // arrived other than they were sent
}

func (c counts) String() string {
	return fmt.Sprintf("accepted=%d delivered=%d bounced=%d duplicated=%d lost=%d, %d more arrived whose 250 was cut off, %d damaged",
		c.Accepted, c.Delivered, c.Bounced, c.Duplicated, c.Lost, c.Unanswered, c.Damaged)
}
