package appliance

import (
	"sync"

	"gatepost/appliance/control"
)

// boxState is what the parts of PID 1 report about themselves. The health
// watcher makes a control.Box of it.
type boxState struct {
	mu      sync.Mutex
	box     control.Box
	kick    func() // makes the clock ask again
	changed chan struct{}
}

// init must be called before anything else.
func (s *boxState) init() { s.changed = make(chan struct{}, 1) }

// update changes the box under the lock and wakes the health watcher.
func (s *boxState) update(change func(*control.Box)) {
	s.mu.Lock()
	change(&s.box)
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// snapshot returns the box as it is; what its slices point to never changes.
func (s *boxState) snapshot() control.Box {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.box
}

func (s *boxState) network() control.Network { return s.snapshot().Network }

func (s *boxState) setStorage(st control.Storage) {
	s.update(func(b *control.Box) { b.Storage = st })
}

func (s *boxState) setConfig(hostname string, c control.Config) {
	s.update(func(b *control.Box) { b.Hostname, b.Config = hostname, c })
}

func (s *boxState) setRoles(r []control.Role) { s.update(func(b *control.Box) { b.Roles = r }) }

func (s *boxState) setLastReboot(why string) {
	s.update(func(b *control.Box) { b.LastReboot = why })
}

// setNetwork returns what was there before.
func (s *boxState) setNetwork(n control.Network) (before control.Network) {
	s.update(func(b *control.Box) { before, b.Network = b.Network, n })
	return before
}

// setClock returns what was there before.
func (s *boxState) setClock(c control.Clock) (before control.Clock) {
	s.update(func(b *control.Box) { before, b.Clock = b.Clock, c })
	return before
}

func (s *boxState) setClockKick(kick func()) {
	s.mu.Lock()
	s.kick = kick
	s.mu.Unlock()
}

func (s *boxState) kickClock() {
	s.mu.Lock()
	kick := s.kick
	s.mu.Unlock()
	if kick != nil {
		kick()
	}
}
