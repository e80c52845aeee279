package netup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// declineWait is the pause after an address that was declined (RFC 2131,
// Section 3.1 point 5).
const declineWait = 10 * time.Second

var errExpired = errors.New("the lease of the address has run out and no DHCP server answers")

// inUseError is an address that another machine has.
type inUseError struct {
	lease Lease
	by    net.HardwareAddr
}

func (e *inUseError) Error() string {
	return fmt.Sprintf("the DHCP server gave the address %v, but the machine %v uses it", e.lease.Address.Addr(), e.by)
}

// dhcp is the life of an address from a server, until ctx is done: obtained,
// held, lost, obtained again.
func (r *Runner) dhcp(ctx context.Context) {
	wait := firstRetry
	for ctx.Err() == nil {
		err := r.obtain(ctx)
		if err == nil {
			wait = firstRetry
			err = r.hold(ctx)
			if ctx.Err() != nil {
				return
			}
			r.Log.Warn("address lost", "interface", r.link.Name, "address", r.lease.Address, "error", err)
			r.drop(ctx, err)
			if errors.Is(err, ErrNak) || errors.Is(err, errExpired) {
				continue // at once: a server has just spoken, or all time is up
			}
		}
		if ctx.Err() != nil {
			return
		}
		r.Log.Info("no address yet", "interface", r.link.Name, "error", err)
		r.tellFour(State{Kind: NoLease, Note: err.Error()})
		pause := wait
		if used := (*inUseError)(nil); errors.As(err, &used) {
			pause = declineWait
		}
		sleep(ctx, pause)
		wait = min(2*wait, longestRetry)
	}
}

// drop takes away an address that must not be used any more. One that its
// server took back, or that another machine has, is not asked for again.
func (r *Runner) drop(ctx context.Context, why error) {
	lease := r.lease
	r.deconfigure(r.link, netip.Prefix{})
	if used := (*inUseError)(nil); errors.As(why, &used) {
		if used.lease.Address == lease.Address && time.Now().Before(lease.expires()) {
			r.decline(ctx, lease)
		}
	} else if errors.Is(why, ErrNak) {
		r.Last = Lease{}
	}
	r.tellFour(State{Kind: NoLease, Note: why.Error()})
}

func (r *Runner) decline(ctx context.Context, lease Lease) {
	r.Last = Lease{}
	if err := r.DHCP.Decline(ctx, r.link, lease); err != nil {
		r.Log.Warn("the DHCP server cannot be told", "error", err)
	}
}

// obtain brings an address: the one that the box had, when a server confirms
// it, else any. An address that is still ours from before the cable was pulled
// stays in use meanwhile. When no server answers at all, a lease with time left
// holds on (RFC 2131, Section 3.2 point 4), and so does one on a network that
// is surely the same (stay).
func (r *Runner) obtain(ctx context.Context) error {
	if r.lease.valid() && !time.Now().Before(r.lease.expires()) {
		r.deconfigure(r.link, netip.Prefix{})
	}
	if !r.lease.valid() {
		r.tellFour(State{Kind: NoLease, Note: Asking})
	}
	if r.Last.valid() {
		lease, err := r.DHCP.Confirm(ctx, r.link, r.Last)
		switch {
		case err == nil:
			return r.take(ctx, lease)
		case errors.Is(err, ErrNak):
			r.Log.Info("the last address is refused", "address", r.Last.Address)
			r.drop(ctx, err)
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
	hint := netip.Addr{}
	if r.Last.valid() {
		hint = r.Last.Address.Addr()
	}
	lease, err := r.DHCP.Acquire(ctx, r.link, hint)
	switch {
	case err == nil:
		return r.take(ctx, lease)
	case ctx.Err() != nil || errors.Is(err, ErrNak):
		return err
	case r.lease.valid():
		r.tellLease("")
		return nil
	}
	if r.stay(ctx) {
		return nil
	}
	return err
}

// take uses a lease, unless another machine has its address.
func (r *Runner) take(ctx context.Context, lease Lease) error {
	if r.Neighbours != nil && lease.Address.Addr() != r.lease.Address.Addr() {
		by, err := r.Neighbours.Ask(ctx, r.link, lease.Address.Addr())
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.Log.Warn("nobody could be asked who has the address", "error", err)
		}
		if by != nil {
			r.decline(ctx, lease)
			return &inUseError{lease, by}
		}
	}
	return r.apply(ctx, lease)
}

func (r *Runner) apply(ctx context.Context, lease Lease) error {
	if err := r.Kernel.Configure(r.link.Index, lease.ipv4()); err != nil {
		return err
	}
	if lease.Gateway == r.lease.Gateway {
		lease.Witness = r.lease.Witness
	}
	r.lease = lease
	r.tellLease("")
	r.findWitness(ctx)
	r.Last = r.lease
	if r.Leased != nil {
		r.Leased(r.lease)
	}
	return nil
}

// findWitness learns the gateway's MAC, once for each lease of it.
func (r *Runner) findWitness(ctx context.Context) {
	if r.Neighbours == nil || r.lease.Witness != nil || !r.lease.Gateway.IsValid() {
		return
	}
	if mac, err := r.Neighbours.Ask(ctx, r.link, r.lease.Gateway); err == nil {
		r.lease.Witness = mac
	}
}

// tellLease publishes the lease; a note means that its time is up.
func (r *Runner) tellLease(note string) {
	s := State{
		Kind: Up, Address: r.lease.Address, Gateway: r.lease.Gateway, DNS: r.lease.DNS, NTP: r.lease.NTP,
		Domain: r.lease.Domain, Note: note,
	}
	if note == "" {
		s.Expires = r.lease.expires()
	}
	r.tellFour(s)
}

// hold keeps the lease alive. It returns why the address must no longer be
// used, or when ctx is done.
func (r *Runner) hold(ctx context.Context) error {
	for {
		expired := !time.Now().Before(r.lease.expires())
		err := r.guardAddress(ctx, !expired, func(ctx context.Context) error {
			if expired {
				return r.linger(ctx)
			}
			return r.prolong(ctx)
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && (expired || !errors.Is(err, errExpired) || r.Neighbours == nil) {
			return err
		}
	}
}

// guardAddress runs while with a watch for other machines that use our
// address, and returns its error, or inUseError.
func (r *Runner) guardAddress(ctx context.Context, defend bool, while func(context.Context) error) error {
	if r.Neighbours == nil {
		return while(ctx)
	}
	lease := r.lease
	ctx, stop := context.WithCancelCause(ctx)
	done := make(chan error, 1)
	go func() {
		done <- r.guarded(ctx, func(ctx context.Context) {
			by, err := r.Neighbours.Guard(ctx, r.link, lease.Address.Addr(), defend)
			switch {
			case ctx.Err() != nil:
			case err != nil:
				r.Log.Warn("nobody watches over the address", "error", err)
			case by != nil:
				stop(&inUseError{lease, by})
			}
		})
	}()
	err := while(ctx)
	cause := context.Cause(ctx)
	stop(nil)
	if failed := <-done; failed != nil {
		return failed
	}
	if used := (*inUseError)(nil); errors.As(cause, &used) {
		return used
	}
	return err
}

// prolong extends the lease again and again. It returns nil when the server
// gave another address, which is then in use.
func (r *Runner) prolong(ctx context.Context) error {
	for {
		old := r.lease
		next, err := r.extend(ctx, old)
		if err != nil {
			return err
		}
		if err := r.take(ctx, next); err != nil {
			return err
		}
		if next.Address.Addr() != old.Address.Addr() {
			return nil
		}
	}
}

// extend waits for T1 and asks its server, from T2 on any server (RFC 2131,
// Section 4.4.5). It returns the new lease, or an error when there is none.
func (r *Runner) extend(ctx context.Context, lease Lease) (Lease, error) {
	end := lease.expires()
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

// stay uses the lease of before the start though no server answers and nobody
// knows how much of its time is left, when the network is surely the one that
// it is of (the gateway has the MAC that it had, as in RFC 4436) and no other
// machine has the address.
func (r *Runner) stay(ctx context.Context) bool {
	l := r.Last
	if r.Neighbours == nil || !l.valid() || l.Witness == nil {
		return false
	}
	gateway, err := r.Neighbours.Ask(ctx, r.link, l.Gateway)
	if err != nil || !bytes.Equal(gateway, l.Witness) {
		return false
	}
	if by, err := r.Neighbours.Ask(ctx, r.link, l.Address.Addr()); err != nil || by != nil || ctx.Err() != nil {
		return false
	}
	if err := r.Kernel.Configure(r.link.Index, l.ipv4()); err != nil {
		return false
	}
	l.Obtained = time.Now().Add(-l.Lifetime)
	r.lease = l
	return true
}

// linger keeps an address in use whose time is up while no server answers. RFC
// 2131, Section 4.4.5 would have the box go dark then; an office whose DHCP
// server is broken would lose its mail over it. The other machines are asked
// first, and the first one that uses the address gets it without a word. It
// returns nil when there is a lease again.
func (r *Runner) linger(ctx context.Context) error {
	by, err := r.Neighbours.Ask(ctx, r.link, r.lease.Address.Addr())
	switch {
	case err != nil:
		return errExpired
	case by != nil:
		return &inUseError{r.lease, by}
	}
	r.tellLease("no DHCP server answers; the address that the box had before stays in use")
	for sleep(ctx, longestRetry) {
		next, err := r.DHCP.Acquire(ctx, r.link, r.lease.Address.Addr())
		switch {
		case err == nil:
			return r.take(ctx, next)
		case errors.Is(err, ErrNak):
			return err
		}
	}
	return ctx.Err()
}
