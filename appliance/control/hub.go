package control

import "sync"

// Hub holds the latest Box and wakes those who wait for the next. All methods
// may be called concurrently. Use NewHub.
type Hub struct {
	mu   sync.Mutex
	box  Box
	next chan struct{} // closed at the next Publish
}

// NewHub returns a Hub that holds the given Box.
func NewHub(b Box) *Hub { return &Hub{box: b, next: make(chan struct{})} }

// Publish replaces the Box. The caller must not change what its slices and
// maps point to afterwards.
func (h *Hub) Publish(b Box) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.box = b
	close(h.next)
	h.next = make(chan struct{})
}

// Box returns the latest Box and a channel that is closed when there is a
// newer one.
func (h *Hub) Box() (Box, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.box, h.next
}
