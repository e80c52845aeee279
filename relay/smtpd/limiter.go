package smtpd

import (
	"net/netip"
	"sync"
	"time"
)

const (
	maxSources   = 10000            // sources remembered beyond those with open connections
	sourceMemory = 10 * time.Minute // how long a quiet source is remembered
	maxAuthFails = 30               // failed logins of a source within sourceMemory
)

// limiter counts what each source does. A source is one IPv4 address or one
// IPv6 /64. It is safe for use by many goroutines.
type limiter struct {
	limits Limits

	mu        sync.Mutex
	open      int
	strangers int // open connections from outside of the trusted networks
	sources   map[netip.Prefix]*source
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

// sourceOf is the key under which addr is counted. An invalid addr has one too.
func sourceOf(addr netip.Addr) netip.Prefix {
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	p, _ := addr.Prefix(bits)
	return p
}

func (l *limiter) source(addr netip.Addr, now time.Time) *source {
	key := sourceOf(addr)
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
// must be paid back with disconnect. Strangers may take half of the connections
// and no more, so that there is always room for the office.
func (l *limiter) connect(addr netip.Addr, trusted bool, now time.Time) (why Reply, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.limits.Conns || !trusted && l.strangers >= (l.limits.Conns+1)/2 {
		return Reply{421, [3]int{4, 3, 2}, "Too many connections, please try again later"}, false
	}
	s := l.source(addr, now)
	if s.open >= l.limits.ConnsPerAddr {
		return Reply{421, [3]int{4, 7, 0}, "Too many connections from your address"}, false
	}
	if !s.conns.take(l.limits.RatePerMinute, now) {
		return Reply{421, [3]int{4, 7, 0}, "Your address connects too often, please slow down"}, false
	}
	l.open++
	s.open++
	if !trusted {
		l.strangers++
	}
	return Reply{}, true
}

func (l *limiter) disconnect(addr netip.Addr, trusted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if !trusted {
		l.strangers--
	}
	if s := l.sources[sourceOf(addr)]; s != nil {
		s.open--
	}
}

// message counts a MAIL command, or says why it is one too many.
func (l *limiter) message(addr netip.Addr, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.source(addr, now).messages.take(l.limits.MessagesPerMinute, now) {
		return Reply{451, [3]int{4, 7, 1}, "Too many messages from your address, please slow down"}
	}
	return nil
}

// authFailed counts a failed login and returns how many there were of late.
func (l *limiter) authFailed(addr netip.Addr, now time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.source(addr, now)
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
