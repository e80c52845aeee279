package netup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"time"
)

// Config is how the box is to be connected. Kernel and Publish are needed,
// DHCP unless Static is set.
type Config struct {
	Kernel Kernel
	DHCP   DHCP
	// Static is the fixed address; invalid means DHCP.
	Static  netip.Prefix
	Gateway netip.Addr // of the fixed address
	// DNS are the configured resolvers. With DHCP they come before those of
	// the lease.
	DNS []netip.Addr
	// Hint is an address to ask for first, the last one that the box had.
	Hint netip.Addr
	// Publish is told the state at every change, from one goroutine.
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

	last  State
	lease Lease // in force on link, zero when none
	link  Link
}

// New returns a Runner; it does nothing before Run.
func New(c Config) *Runner {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Runner{Config: c}
}

// Run connects the box and keeps it connected until ctx is done. It returns
// nil, or an error after a panic; call it again then. The address stays on the
// interface at the end, because the roles still say goodbye over it.
func (r *Runner) Run(ctx context.Context) error {
	changes := r.Kernel.Watch(ctx)
	for ctx.Err() == nil {
		link, ok := r.waitForLink(ctx, changes)
		if !ok {
			return nil
		}
		session, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() {
			defer cancel()
			done <- r.guarded(session, link)
		}()
		r.watchLink(session, changes, link)
		cancel()
		if err := <-done; err != nil {
			return err
		}
	}
	return nil
}

// guarded is serve, with a panic turned into an error: strangers on the wire
// send what is parsed there, and they must not end PID 1.
func (r *Runner) guarded(ctx context.Context, link Link) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("network: panic: %v", v)
			r.Log.Error("network panic", "stack", string(debug.Stack()))
		}
	}()
	r.serve(ctx, link)
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
			r.publish(State{Kind: NoLink, Interface: link.Name, Note: note})
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

// watchLink returns when the interface is no longer the one to use.
func (r *Runner) watchLink(ctx context.Context, changes <-chan struct{}, link Link) {
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
	}
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

// serve is one session on one interface, until ctx is done.
func (r *Runner) serve(ctx context.Context, link Link) {
	if r.link.Index != 0 && r.link.Index != link.Index {
		r.deconfigure(r.link)
	}
	r.link = link
	if r.Static.IsValid() {
		r.static(ctx)
		return
	}
	wait := firstRetry
	for ctx.Err() == nil {
		lease, err := r.acquire(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			r.Log.Info("no address yet", "interface", link.Name, "error", err)
			r.publish(State{Kind: NoLease, Interface: link.Name, Note: err.Error()})
			sleep(ctx, wait)
			wait = min(2*wait, longestRetry)
			continue
		}
		wait = firstRetry
		if err := r.hold(ctx, lease); ctx.Err() == nil {
			r.Log.Warn("address lost", "interface", link.Name, "address", r.lease.Address, "error", err)
			r.deconfigure(link)
			r.publish(State{Kind: NoLease, Interface: link.Name, Note: err.Error()})
		}
	}
}

func (r *Runner) static(ctx context.Context) {
	for wait := firstRetry; ctx.Err() == nil; wait = min(2*wait, longestRetry) {
		err := r.Kernel.Configure(r.link.Index, r.Static, r.Gateway)
		if err == nil {
			r.publish(State{Kind: Up, Interface: r.link.Name, Address: r.Static, Gateway: r.Gateway, DNS: r.DNS})
			<-ctx.Done()
			return
		}
		r.publish(State{Kind: NoLease, Interface: r.link.Name, Note: err.Error()})
		sleep(ctx, wait)
	}
}

// acquire asks for an address. One that is still ours from before the cable
// was pulled stays in use while we ask.
func (r *Runner) acquire(ctx context.Context) (Lease, error) {
	hint := r.Hint
	if r.lease.Address.IsValid() {
		hint = r.lease.Address.Addr()
		if time.Since(r.lease.Obtained) >= r.lease.Lifetime {
			r.deconfigure(r.link)
		}
	}
	if !r.lease.Address.IsValid() {
		r.publish(State{Kind: NoLease, Interface: r.link.Name, Note: Asking})
	}
	lease, err := r.DHCP.Acquire(ctx, r.link, hint)
	if err != nil {
		return Lease{}, err
	}
	return lease, r.apply(lease)
}

func (r *Runner) apply(lease Lease) error {
	if err := r.Kernel.Configure(r.link.Index, lease.Address, lease.Gateway); err != nil {
		return err
	}
	r.lease = lease
	r.Hint = lease.Address.Addr()
	r.publish(State{
		Kind: Up, Interface: r.link.Name, Address: lease.Address, Gateway: lease.Gateway,
		DNS: append(append([]netip.Addr(nil), r.DNS...), lease.DNS...), NTP: lease.NTP, Domain: lease.Domain,
		Expires: lease.Obtained.Add(lease.Lifetime),
	})
	if r.Leased != nil {
		r.Leased(lease)
	}
	return nil
}

var errExpired = errors.New("the lease of the address has run out and no DHCP server answers")

// hold keeps a lease alive. It returns when the address must no longer be
// used, or when ctx is done.
func (r *Runner) hold(ctx context.Context, lease Lease) error {
	for ctx.Err() == nil {
		next, err := r.extend(ctx, lease)
		if err != nil {
			return err
		}
		if err := r.apply(next); err != nil {
			return err
		}
		lease = next
	}
	return ctx.Err()
}

// extend waits for T1 and asks its server, from T2 on any server (RFC 2131,
// Section 4.4.5). It returns the new lease, or an error when there is none.
func (r *Runner) extend(ctx context.Context, lease Lease) (Lease, error) {
	end := lease.Obtained.Add(lease.Lifetime)
	sleep(ctx, time.Until(lease.Obtained.Add(lease.Renew)))
	for {
		ask, limit := r.DHCP.Renew, lease.Obtained.Add(lease.Rebind)
		if !time.Now().Before(limit) {
			ask, limit = r.DHCP.Rebind, end
		}
		if ctx.Err() != nil {
			return Lease{}, ctx.Err()
		}
		if !time.Now().Before(end) {
			return Lease{}, errExpired
		}
		try, cancel := context.WithDeadline(ctx, limit)
		next, err := ask(try, r.link, lease)
		cancel()
		if err == nil || errors.Is(err, ErrNak) {
			return next, err
		}
		r.Log.Info("lease not renewed yet", "error", err)
		// Half of the time that is left, at least a minute; never past limit.
		left := time.Until(limit)
		sleep(ctx, min(max(left/2, time.Minute), left))
	}
}

func (r *Runner) deconfigure(link Link) {
	r.lease = Lease{}
	if err := r.Kernel.Deconfigure(link.Index); err != nil {
		r.Log.Warn("address cannot be taken away", "interface", link.Name, "error", err)
	}
}

func (r *Runner) publish(s State) {
	if s.Equal(r.last) && s.Expires.Equal(r.last.Expires) {
		return
	}
	r.last = s
	r.Publish(s)
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
