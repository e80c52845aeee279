package netup

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"
)

// Config is how the box is to be connected. Kernel and Publish are needed,
// DHCP unless Static is set.
type Config struct {
	Kernel Kernel
	DHCP   DHCP
	// Neighbours finds other machines with our address; nil means that nobody
	// looks, and that no lease is used beyond its time.
	Neighbours Neighbours
	// Routers is asked for the name servers of IPv6; nil means nobody.
	Routers Routers
	// Static is the fixed address; invalid means DHCP.
	Static  netip.Prefix
	Gateway netip.Addr // of the fixed address
	IPv6    IPv6
	// DNS are the configured resolvers, asked before those of the lease and of
	// the routers.
	DNS []netip.Addr
	// Last is the lease of before the start; the zero value when there is none.
	Last Lease
	// Publish is told the state at every change, one call at a time.
	Publish func(State)
	// Leased is told every lease that is in force; nil means nobody.
	Leased func(Lease)
	Log    *slog.Logger // nil means discard
}

// The pauses between tries to get an address, and between looks at the
// interfaces when the kernel says nothing.
const (
	firstRetry   = time.Second
	longestRetry = 30 * time.Second
	lookEvery    = 5 * time.Second
	settle       = 50 * time.Millisecond
	// A cable that was only just switched on needs a moment to be there.
	linkGrace = time.Second
)

// Asking is the note of a state in which all goes as it should and the first
// answer of a DHCP server is still to come.
const Asking = "asking for an address"

// Runner keeps the box connected.
type Runner struct {
	Config

	lease Lease // on link, zero when none
	link  Link

	mu   sync.Mutex // held also while Publish runs
	last State
	four State // without IPv6
	six  sixState
}

// New returns a Runner; it does nothing before Run.
func New(c Config) *Runner {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Runner{Config: c}
}

// Run connects the box and keeps it connected until ctx is done. It returns
// nil, or an error after a panic; call it again then. The addresses stay on the
// interface at the end, because the roles still say goodbye over them; the next
// Runner takes away those that it does not want.
func (r *Runner) Run(ctx context.Context) error {
	changes := r.Kernel.Watch(ctx)
	for ctx.Err() == nil {
		link, ok := r.waitForLink(ctx, changes)
		if !ok {
			return nil
		}
		session, cancel := context.WithCancel(ctx)
		r.begin(link)
		done := make(chan error, 2)
		for _, part := range []func(context.Context){r.serve, r.hearRouters} {
			go func() {
				defer cancel()
				done <- r.guarded(session, part)
			}()
		}
		r.watchLink(session, changes, link)
		cancel()
		err1, err2 := <-done, <-done
		r.mu.Lock()
		r.six = sixState{}
		r.mu.Unlock()
		if err1 != nil {
			return err1
		}
		if err2 != nil {
			return err2
		}
	}
	return nil
}

// guarded is part, with a panic turned into an error: strangers on the wire
// send what is parsed there, and they must not end PID 1.
func (r *Runner) guarded(ctx context.Context, part func(context.Context)) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("network: panic: %v", v)
			r.Log.Error("network panic", "stack", string(debug.Stack()))
		}
	}()
	part(ctx)
	return nil
}

// waitForLink switches interfaces on and waits until one has a signal.
func (r *Runner) waitForLink(ctx context.Context, changes <-chan struct{}) (Link, bool) {
	for since := time.Now(); ; {
		link, note := r.choose()
		if note == "" {
			return link, true
		}
		limit := lookEvery
		if left := linkGrace - time.Since(since); left > 0 {
			limit = left
		} else {
			r.tellFour(State{Kind: NoLink, Interface: link.Name, MAC: link.MAC, Note: note})
		}
		if !pause(ctx, changes, limit) {
			return Link{}, false
		}
	}
}

// choose returns the interface to use, or why there is none.
func (r *Runner) choose() (Link, string) {
	links, err := r.Kernel.Links()
	if err != nil {
		return Link{}, err.Error()
	}
	link, ok := pick(links, r.link.Index)
	if !ok {
		return Link{}, "the box sees no network interface"
	}
	for _, l := range links {
		if l.Ethernet && !l.Carrier {
			if err := r.Kernel.Up(l.Index); err != nil {
				r.Log.Warn("interface cannot be switched on", "interface", l.Name, "error", err)
			}
		}
	}
	if !link.Carrier {
		return link, "no signal on the cable of " + link.Name
	}
	return link, ""
}

// pick chooses among the Ethernet interfaces: the one in use while it has a
// signal, else the first with a signal, else the one in use, else the first.
// The name says nothing: a USB interface is as good as a built-in one.
func pick(links []Link, current int) (Link, bool) {
	best, bestRank := Link{}, -1
	for _, l := range links {
		if !l.Ethernet {
			continue
		}
		rank := 0
		if l.Carrier {
			rank += 2
		}
		if l.Index == current {
			rank++
		}
		if rank > bestRank || rank == bestRank && l.Index < best.Index {
			best, bestRank = l, rank
		}
	}
	return best, bestRank >= 0
}

// begin makes link the one in use. Addresses of an interface of before, and
// those that an earlier Runner left behind, are taken away.
func (r *Runner) begin(link Link) {
	if r.link.Index != link.Index {
		links, err := r.Kernel.Links()
		if err != nil {
			r.Log.Warn("interfaces cannot be listed", "error", err)
		}
		for _, l := range links {
			if l.Ethernet && l.Index != link.Index {
				r.deconfigure(l, netip.Prefix{})
			}
		}
		keep := r.Static
		if !keep.IsValid() {
			keep = r.Last.Address
		}
		r.deconfigure(link, keep)
	}
	r.link = link
	if err := r.Kernel.Configure6(link, r.IPv6); err != nil {
		r.Log.Warn("IPv6 cannot be set up", "interface", link.Name, "error", err)
	}
}

// watchLink returns when the interface is no longer the one to use. It looks
// at the IPv6 addresses too, which come and go by themselves.
func (r *Runner) watchLink(ctx context.Context, changes <-chan struct{}, link Link) {
	r.lookAtSix(link)
	for pause(ctx, changes, lookEvery) {
		links, err := r.Kernel.Links()
		if err != nil {
			r.Log.Warn("interfaces cannot be listed", "error", err)
			continue
		}
		now, ok := pick(links, link.Index)
		if !ok || now.Index != link.Index || !now.Carrier {
			return
		}
		r.lookAtSix(link)
	}
}

// serve is one session on one interface, until ctx is done.
func (r *Runner) serve(ctx context.Context) {
	if r.Static.IsValid() {
		r.static(ctx)
	} else {
		r.dhcp(ctx)
	}
}

func (r *Runner) deconfigure(link Link, keep netip.Prefix) {
	if r.lease.Address != keep {
		r.lease = Lease{}
	}
	if err := r.Kernel.Deconfigure(link.Index, keep); err != nil {
		r.Log.Warn("address cannot be taken away", "interface", link.Name, "error", err)
	}
}

// tellFour publishes the state of IPv4 together with that of IPv6.
func (r *Runner) tellFour(s State) {
	if s.Interface == "" {
		s.Interface, s.MAC = r.link.Name, r.link.MAC
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.four = s
	r.tell()
}

// tellSix publishes the state of IPv6 together with that of IPv4, once there is
// one. It is called with mu held.
func (r *Runner) tellSix(s sixState) {
	r.six = s
	if r.four.Kind != "" {
		r.tell()
	}
}

// tell is called with mu held.
func (r *Runner) tell() {
	s := join(r.four, r.six, r.DNS)
	if s.Equal(r.last) && s.Expires.Equal(r.last.Expires) {
		return
	}
	r.last = s
	r.Publish(s)
}

// pause waits for a change and lets it settle, or for the given time. It is
// false when ctx is done.
func pause(ctx context.Context, changes <-chan struct{}, limit time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-changes:
		return sleep(ctx, settle)
	case <-time.After(limit):
		return true
	}
}

// sleep is false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
