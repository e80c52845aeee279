package mtasts

import (
	"context"
	"sync"
)

// purpose is why the cache looks up a domain; a higher one does all that a
// lower one does.
type purpose int

const (
	forDelivery purpose = iota
	forRecheck
	forRefresh
)

// flights lets concurrent questions for one domain share one look-up and one
// fetch. The zero value is ready.
type flights struct {
	mu sync.Mutex
	m  map[string]*flight
}

type flight struct {
	purpose purpose
	waiting int
	cancel  context.CancelFunc
	done    chan struct{}
	answer  Answer
	err     error
}

// do joins the flight for a domain, or starts it. It ends with ctx; the flight
// itself ends early only when nobody waits for it any more.
func (fs *flights) do(ctx context.Context, c *Cache, domain string, p purpose) (Answer, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Answer{}, err
		}
		fs.mu.Lock()
		f := fs.m[domain]
		if f == nil {
			f = fs.start(ctx, c, domain, p)
		}
		enough := f.purpose >= p
		f.waiting++
		fs.mu.Unlock()

		select {
		case <-f.done:
			if enough {
				return f.answer, f.err
			}
			// Another one did less than was asked for: once more.
		case <-ctx.Done():
			fs.leave(domain, f)
			return Answer{}, ctx.Err()
		}
	}
}

// start launches a flight. fs.mu is held.
func (fs *flights) start(ctx context.Context, c *Cache, domain string, p purpose) *flight {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight{purpose: p, cancel: cancel, done: make(chan struct{})}
	if fs.m == nil {
		fs.m = make(map[string]*flight)
	}
	fs.m[domain] = f
	go func() {
		defer cancel()
		f.answer, f.err = c.look(ctx, domain, p)
		fs.mu.Lock()
		if fs.m[domain] == f {
			delete(fs.m, domain)
		}
		fs.mu.Unlock()
		close(f.done)
	}()
	return f
}

// leave takes one away from those who wait; after the last one the flight is
// broken off.
func (fs *flights) leave(domain string, f *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f.waiting--; f.waiting > 0 {
		return
	}
	f.cancel()
	if fs.m[domain] == f {
		delete(fs.m, domain)
	}
}

// stop breaks off all flights and waits for their ends.
func (fs *flights) stop() {
	fs.mu.Lock()
	var list []*flight
	for _, f := range fs.m {
		f.cancel()
		list = append(list, f)
	}
	fs.mu.Unlock()
	for _, f := range list {
		<-f.done
	}
}
