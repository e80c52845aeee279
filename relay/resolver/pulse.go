package resolver

import (
	"context"
	"sync"

	"github.com/miekg/dns"
)

// pulse remembers whether the name servers could be reached lately.
type pulse struct {
	mu    sync.Mutex
	known bool
	ok    bool
}

func (p *pulse) beat(ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known, p.ok = true, ok
}

// Working reports whether the last question reached a name server. known is
// false until one was asked.
func (r *Resolver) Working() (known, ok bool) {
	r.pulse.mu.Lock()
	defer r.pulse.mu.Unlock()
	return r.pulse.known, r.pulse.ok
}

// Probe asks a harmless question, so that Working is fresh.
func (r *Resolver) Probe(ctx context.Context) {
	_, err := r.ask(ctx, ".", dns.TypeNS)
	if err != nil {
		r.cfg.Log.Debug("name servers do not answer", "err", err)
	}
}
