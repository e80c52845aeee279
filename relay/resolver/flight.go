package resolver

import (
	"context"
	"sync"
)

// flights are the questions that are being put, so that many who want to know
// the same at one moment put it once.
type flights struct {
	mu sync.Mutex
	m  map[cacheKey]*flight
}

// flight is one question under way. The fields are set before done is closed.
type flight struct {
	done chan struct{}
	a    answer
	err  error
	// givenUp says that whoever put the question did not wait for the answer.
	givenUp bool
}

// askOnce is ask, shared with everybody who puts the same question meanwhile.
// The answer is in the cache when it returns.
func (r *Resolver) askOnce(ctx context.Context, fqdn string, t uint16) (answer, error) {
	k := cacheKey{fqdn, t}
	for {
		f, mine := r.flights.join(k)
		if mine {
			r.fly(ctx, k, f)
			return f.a, f.err
		}
		select {
		case <-ctx.Done():
			return answer{}, context.Cause(ctx)
		case <-f.done:
		}
		if !f.givenUp {
			return f.a, f.err
		}
	}
}

// join returns the flight for k; mine says that the caller is to make it.
func (s *flights) join(k cacheKey) (f *flight, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.m[k]; f != nil {
		return f, false
	}
	if s.m == nil {
		s.m = make(map[cacheKey]*flight)
	}
	f = &flight{done: make(chan struct{}), givenUp: true}
	s.m[k] = f
	return f, true
}

// fly puts the question and tells those who wait.
func (r *Resolver) fly(ctx context.Context, k cacheKey, f *flight) {
	defer func() {
		r.flights.mu.Lock()
		delete(r.flights.m, k)
		r.flights.mu.Unlock()
		close(f.done)
	}()
	f.a, f.err = r.ask(ctx, k.name, k.t)
	if f.err == nil {
		r.cache.put(k.name, k.t, f.a)
	}
	f.givenUp = f.err != nil && ctx.Err() != nil
}
