package session

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"strings"
	"sync"
	"time"
)

// Guessing limits of the claim code: for everyone together, so that many
// addresses gain nothing.
const (
	ClaimTries = 5
	ClaimPause = time.Minute
)

// ticketLife is how long a browser that gave the right code has for the next
// step.
const ticketLife = 15 * time.Minute

const (
	crockford  = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	codeLength = 10 // 50 bits
)

// Claim guards a box without an owner: it knows the code that proves presence,
// and the ticket of the browser that gave it. It is safe for concurrent use.
type Claim struct {
	now  func() time.Time
	code string

	mu     sync.Mutex
	tries  []time.Time // wrong ones in the running minute
	until  time.Time   // no try before
	ticket key
	issued time.Time // zero: there is no ticket
	press  int       // the last one of the button that gave a ticket
}

// NewClaim makes a new code. A nil now is time.Now.
func NewClaim(now func() time.Time) *Claim {
	if now == nil {
		now = time.Now
	}
	var b [codeLength]byte
	rand.Read(b[:])
	for i := range b {
		b[i] = crockford[b[i]%32]
	}
	return &Claim{now: now, code: string(b[:])}
}

// Code returns the code as it is shown, "XXXXX-XXXXX".
func (c *Claim) Code() string { return c.code[:5] + "-" + c.code[5:] }

// normal reads a code as people type it: any case, O for 0, I and L for 1,
// spaces and dashes anywhere.
func normal(typed string) string {
	if len(typed) > 64 {
		return ""
	}
	return strings.NewReplacer(" ", "", "-", "", "O", "0", "I", "1", "L", "1").Replace(strings.ToUpper(typed))
}

// Try compares a typed code. When it is right, ticket stands for that from now
// on, in the one browser that gets it; an older ticket ends. When it is wrong,
// left tries are left before a pause. During the pause, wait is above zero and
// nothing is compared.
func (c *Claim) Try(typed string) (ticket string, left int, wait time.Duration) {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if wait := c.until.Sub(now); wait > 0 {
		return "", 0, wait
	}
	got, want := sha256.Sum256([]byte(normal(typed))), sha256.Sum256([]byte(c.code))
	if subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
		c.tries = nil
		return c.issue(now), ClaimTries, 0
	}
	recent := c.tries[:0]
	for _, t := range c.tries {
		if now.Sub(t) < ClaimPause {
			recent = append(recent, t)
		}
	}
	c.tries = append(recent, now)
	if left = ClaimTries - len(c.tries); left <= 0 {
		c.until, c.tries = now.Add(ClaimPause), nil
		return "", 0, ClaimPause
	}
	return "", left, 0
}

// TryPress takes a press of the box's button in place of the code: n is the
// number of the press whose time has not run out, counted up by the box, 0 when
// there is none. Each press gives one ticket, to the first who asks; it is "" for
// all others.
func (c *Claim) TryPress(n int) (ticket string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n <= c.press {
		return ""
	}
	c.press = n
	return c.issue(c.now())
}

// issue makes a new ticket. The lock is held.
func (c *Claim) issue(now time.Time) string {
	ticket := NewToken()
	c.ticket, c.issued = keyOf(ticket), now
	return ticket
}

// Holds reports whether ticket is the one in force.
func (c *Claim) Holds(ticket string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := keyOf(ticket)
	return !c.issued.IsZero() && c.now().Sub(c.issued) < ticketLife && subtle.ConstantTimeCompare(k[:], c.ticket[:]) == 1
}
