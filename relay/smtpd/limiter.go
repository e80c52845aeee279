package smtpd

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxSources   = 10000            // sources remembered beyond those with open connections
	sourceMemory = 10 * time.Minute // how long a quiet source is remembered
	maxAuthFails = 30               // failed logins of a source within sourceMemory
)

// class says whose places a connection takes.
type class int

const (
	office   class = iota // from a trusted network
	internet              // a stranger on port 25
	people                // a stranger on a submission port, who may yet log in
	classes
)

// limiter counts what each source does, and of strangers what each network does
// too. Sources and networks share the table: their prefixes differ in length. It
// is safe for use by many goroutines.
type limiter struct {
	limits   Limits
	squeezed [classes]atomic.Bool // three quarters of the places are taken; never for the office

	mu      sync.Mutex
	open    [classes]int // connections
	sources map[netip.Prefix]*source
}

type source struct {
	open      int
	conns     bucket
	messages  bucket
	authFails int
	failedAt  time.Time // the last failed login
	seen      time.Time
}

// bucket is a token bucket that refills perMinute tokens in a minute and holds
// as many.
type bucket struct {
	used float64 // tokens taken and not yet refilled
	at   time.Time
}

func (b *bucket) take(perMinute int, now time.Time) bool {
	if perMinute <= 0 {
		return true
	}
	b.used = max(0, b.used-now.Sub(b.at).Minutes()*float64(perMinute))
	b.at = now
	if b.used+1 > float64(perMinute) {
		return false
	}
	b.used++
	return true
}

func newLimiter(l Limits) *limiter {
	return &limiter{limits: l, sources: map[netip.Prefix]*source{}}
}

// sourceOf is the key under which addr is counted: its IPv4 address or IPv6
// /64. An invalid addr has one too.
func sourceOf(addr netip.Addr) netip.Prefix { return prefixOf(addr, 32, 64) }

// netOf is the key of the network of addr: an IPv4 /24 or an IPv6 /48.
func netOf(addr netip.Addr) netip.Prefix { return prefixOf(addr, 24, 48) }

func prefixOf(addr netip.Addr, bits4, bits6 int) netip.Prefix {
	bits := bits6
	if addr.Is4() {
		bits = bits4
	}
	p, _ := addr.Prefix(bits)
	return p
}

func (l *limiter) source(key netip.Prefix, now time.Time) *source {
	s := l.sources[key]
	if s == nil {
		if len(l.sources) >= maxSources {
			l.forget(now)
		}
		s = &source{}
		l.sources[key] = s
	}
	s.seen = now
	return s
}

// forget drops quiet sources; when there are none, every source without an
// open connection, so that the memory stays bounded under any attack.
func (l *limiter) forget(now time.Time) {
	for _, quiet := range []time.Duration{sourceMemory, 0} {
		for key, s := range l.sources {
			if s.open == 0 && now.Sub(s.seen) >= quiet {
				delete(l.sources, key)
			}
		}
		if len(l.sources) < maxSources {
			return
		}
	}
}

// connect counts a new connection, or says why there may be none. Each true
// must be paid back with disconnect.
func (l *limiter) connect(addr netip.Addr, from class, now time.Time) (why Reply, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[office]+l.open[internet]+l.open[people] >= l.limits.Conns || l.open[from] >= l.places(from) {
		return Reply{421, [3]int{4, 3, 2}, "Too many connections, please try again later"}, false
	}
	s := l.source(sourceOf(addr), now)
	most, rate, network := l.limits.ConnsPerAddr, l.limits.RatePerMinute, (*source)(nil)
	if from != office {
		most, rate = tighter(most, l.limits.Strangers.ConnsPerAddr), tighter(rate, l.limits.Strangers.RatePerMinute)
		network = l.source(netOf(addr), now)
	}
	tooOften := Reply{421, [3]int{4, 7, 0}, "Your address connects too often, please slow down"}
	switch {
	case s.open >= most:
		return Reply{421, [3]int{4, 7, 0}, "Too many connections from your address"}, false
	case network != nil && l.limits.Strangers.ConnsPerNet > 0 && network.open >= l.limits.Strangers.ConnsPerNet:
		return Reply{421, [3]int{4, 7, 0}, "Too many connections from your network"}, false
	case !s.conns.take(rate, now):
		return tooOften, false
	case network != nil && !network.conns.take(l.limits.Strangers.RatePerNet, now):
		return tooOften, false
	}
	s.open++
	if network != nil {
		network.open++
	}
	l.count(from, 1)
	return Reply{}, true
}

// places is how many connections a class may have: strangers half of them, and
// those who may log in a quarter of their own, so that there is always room for
// the office, and for its people while strangers crowd port 25.
func (l *limiter) places(from class) int {
	switch from {
	case internet:
		return (l.limits.Conns + 1) / 2
	case people:
		return (l.limits.Conns + 3) / 4
	}
	return l.limits.Conns
}

func (l *limiter) count(from class, n int) {
	l.open[from] += n
	l.squeezed[from].Store(from != office && l.open[from]*4 >= l.places(from)*3)
}

// tighter is the lower of two limits of which those below 1 are none.
func tighter(a, b int) int {
	if a < 1 || b > 0 && b < a {
		return b
	}
	return a
}

func (l *limiter) disconnect(addr netip.Addr, from class) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count(from, -1)
	if s := l.sources[sourceOf(addr)]; s != nil {
		s.open--
	}
	if n := l.sources[netOf(addr)]; n != nil && from != office {
		n.open--
	}
}

// message counts a MAIL command, or says why it is one too many. Who has logged
// in is no stranger.
func (l *limiter) message(addr netip.Addr, stranger bool, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	rate := l.limits.MessagesPerMinute
	if stranger {
		rate = tighter(rate, l.limits.Strangers.MessagesPerMinute)
	}
	ok := l.source(sourceOf(addr), now).messages.take(rate, now)
	if ok && stranger {
		ok = l.source(netOf(addr), now).messages.take(l.limits.Strangers.MessagesPerNet, now)
	}
	if !ok {
		return Reply{451, [3]int{4, 7, 1}, "Too many messages from your address, please slow down"}
	}
	return nil
}

// authFailed counts a failed login and returns how many there were of late.
func (l *limiter) authFailed(addr netip.Addr, now time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.source(sourceOf(addr), now)
	if now.Sub(s.failedAt) >= sourceMemory {
		s.authFails = 0
	}
	s.authFails++
	s.failedAt = now
	return s.authFails
}

// authBlocked reports whether a source has failed too often of late to try a
// login. It is free again sourceMemory after its last failure.
func (l *limiter) authBlocked(addr netip.Addr, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sources[sourceOf(addr)]
	return s != nil && s.authFails >= maxAuthFails && now.Sub(s.failedAt) < sourceMemory
}
