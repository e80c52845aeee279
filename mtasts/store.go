package mtasts

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// Store keeps the cache's entries across restarts (RFC 8461, Section 10.2: an
// attacker who can make a sender forget a policy has won). An entry is an
// opaque value under the name of a policy domain. The cache gives values their
// form and their checksum; a store must not look into them.
//
// Domains are lower case, in A-label form, without a trailing dot, 1 to 253
// bytes of letters, digits, "-", "_" and "."; a store may use one as a file
// name. Values are 1 byte to [MaxEntrySize] bytes.
//
// The contract, which the suite in mtasts/storetest checks:
//
//   - Save is atomic and durable. When it returns nil the value survives a
//     crash and a power cut; when it fails, or when the power goes meanwhile,
//     a later Load gives the old value or the new one, whole, never a mixture.
//   - Load after Save gives the bytes that were saved. The caller owns them
//     and may change them; a store keeps neither the slice it was given nor
//     one it has given away.
//   - Load of a domain that is not there fails with an error that is
//     [ErrNotStored]. Any other error means that the store cannot tell: the
//     cache then never concludes that there is no policy.
//   - Delete of a domain that is not there is no error.
//   - List calls yield once for each entry, in any order, and stops at the
//     first error of yield, which it returns unchanged. The values are the
//     caller's, as with Load, and yield may keep them. Entries saved or
//     deleted meanwhile may or may not be seen. An entry that cannot be read
//     is skipped, the others are still listed, and List then returns an error
//     that names it. yield must not call the store.
//   - All methods may be called from many goroutines at once. They honour ctx
//     where they wait.
type Store interface {
	Load(ctx context.Context, domain string) ([]byte, error)
	Save(ctx context.Context, domain string, value []byte) error
	Delete(ctx context.Context, domain string) error
	List(ctx context.Context, yield func(domain string, value []byte) error) error
}

// MaxEntrySize is the largest value, in bytes, that the cache saves: a policy
// of [MaxPolicySize] and its evidence.
const MaxEntrySize = MaxPolicySize + 32<<10

// MemoryStore is a Store that forgets everything when the process ends. It is
// for tests and for programs that send a few messages and exit. The zero value
// is empty and ready.
type MemoryStore struct {
	mu      sync.Mutex
	entries map[string][]byte
}

// Load implements Store.
func (s *MemoryStore) Load(ctx context.Context, domain string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.entries[domain]
	if !ok {
		return nil, ErrNotStored
	}
	return slices.Clone(value), nil
}

// Save implements Store.
func (s *MemoryStore) Save(ctx context.Context, domain string, value []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries == nil {
		s.entries = make(map[string][]byte)
	}
	s.entries[domain] = slices.Clone(value)
	return nil
}

// Delete implements Store.
func (s *MemoryStore) Delete(ctx context.Context, domain string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, domain)
	return nil
}

// List implements Store.
func (s *MemoryStore) List(ctx context.Context, yield func(domain string, value []byte) error) error {
	s.mu.Lock()
	entries := maps.Clone(s.entries)
	s.mu.Unlock()
	for domain, value := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := yield(domain, slices.Clone(value)); err != nil {
			return err
		}
	}
	return nil
}
