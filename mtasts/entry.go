package mtasts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"strings"
	"sync"
)

// An entry in the store is three parts: a line with the format and a checksum
// of all that follows, a line of JSON, and the policy text as served. It can
// be read with the eye, and a torn one is noticed.
//
//	mtasts1 1c291ca3
//	{"domain":"example.com","id":"20260101",...}
//	version: STSv1
//	...
const entryFormat = "mtasts1"

func encodeEntry(domain string, k *kept, used int64) ([]byte, error) {
	header, err := json.Marshal(entryHeader{domain, k.id, k.fetched, used, k.host})
	if err != nil {
		return nil, err
	}
	content := make([]byte, 0, len(entryFormat)+11+len(header)+len(k.body))
	content = append(content, "mtasts1 00000000\n"...)
	start := len(content)
	content = append(content, header...)
	content = append(content, '\n')
	content = append(content, k.body...)
	copy(content, fmt.Sprintf("%s %08x\n", entryFormat, crc32.ChecksumIEEE(content[start:])))
	if len(content) > MaxEntrySize {
		// Only a certificate full of strange names makes it so long.
		bare := *k
		bare.host = HostEvidence{Addr: k.host.Addr, TLSVersion: k.host.TLSVersion, Cipher: k.host.Cipher}
		return encodeEntry(domain, &bare, used)
	}
	return content, nil
}

// decodeEntry reads an entry back. The error is ErrDamaged.
func decodeEntry(domain string, value []byte) (k *kept, used int64, err error) {
	bad := func(why string) (*kept, int64, error) {
		return nil, 0, fmt.Errorf("%w: %s: %s", ErrDamaged, domain, why)
	}
	first, rest, ok := bytes.Cut(value, []byte("\n"))
	if !ok || !strings.HasPrefix(string(first), entryFormat+" ") {
		return bad("unknown format")
	}
	if string(first) != fmt.Sprintf("%s %08x", entryFormat, crc32.ChecksumIEEE(rest)) {
		return bad("wrong checksum")
	}
	line, body, ok := bytes.Cut(rest, []byte("\n"))
	header, valid := decodeHeader(line)
	if !ok || !valid || !isRecordID(header.ID) || header.FetchedAt.IsZero() {
		return bad("malformed header")
	}
	if header.Domain != domain {
		return bad("it belongs to " + quote(header.Domain))
	}
	text := string(body)
	policy, err := parsePolicy(text)
	if err != nil {
		return bad(err.Error())
	}
	return &kept{
		policy: policy, body: text, id: header.ID, host: header.Host,
		fetched: header.FetchedAt, expires: header.FetchedAt.Add(policy.MaxAge),
	}, header.UsedAt, nil
}

// recall brings a domain's entry from the store into memory, where that has
// not been done. The error is ErrStore: the store cannot tell.
func (c *Cache) recall(ctx context.Context, domain string) error {
	if c.listed.Load() {
		return nil
	}
	s := c.shard(domain)
	s.mu.RLock()
	it := s.items[domain]
	known := it != nil && it.kept != nil
	s.mu.RUnlock()
	if known {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	value, err := c.cfg.Store.Load(ctx, domain)
	if errors.Is(err, ErrNotStored) {
		return nil
	}
	if err != nil {
		c.tellOnce(c.moment(), Event{Kind: StoreFailed, Detail: "load: " + bounded(err.Error())})
		return fmt.Errorf("%w: load %s: %w", ErrStore, domain, err)
	}
	if err := c.restore(domain, value); err != nil {
		// Nothing can be read from it, now or later.
		c.tell([]Event{{Kind: EntryDamaged, Time: c.moment().wall, Domain: domain, Detail: bounded(err.Error())}})
		c.delete(ctx, domain)
	}
	return nil
}

// restore puts a stored entry into memory, unless there is a newer one. The
// error is ErrDamaged.
func (c *Cache) restore(domain string, value []byte) error {
	k, used, err := decodeEntry(domain, value)
	if err != nil {
		return err
	}
	m := c.moment()
	s := c.shard(domain)
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.get(domain, m)
	if it.kept != nil {
		return nil
	}
	if used == 0 {
		used = k.fetched.Unix()
	}
	it.used.Store(used)
	c.put(s, it, k)
	return nil
}

// listAhead is how many entries of List wait for a decoder, at most: some 48 MB
// when every one of them is as large as can be.
const listAhead = 256

// list reads the whole store; while the store reads, others decode. What it
// misses is read when it is asked for.
func (c *Cache) list(ctx context.Context) {
	type entry struct {
		domain string
		value  []byte
	}
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		damaged []string
		entries = make(chan entry, listAhead)
	)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for e := range entries {
				if name, err := PolicyDomain(e.domain); err != nil || name != e.domain {
					continue // nobody will ask for it
				}
				if c.restore(e.domain, e.value) != nil {
					mu.Lock()
					damaged = append(damaged, e.domain)
					mu.Unlock()
				}
			}
		})
	}
	err := c.cfg.Store.List(ctx, func(domain string, value []byte) error {
		entries <- entry{domain, value}
		return ctx.Err()
	})
	close(entries)
	wg.Wait()
	// List's callback must not call the store, so these wait until here.
	for _, domain := range damaged {
		if ctx.Err() == nil {
			_ = c.recall(ctx, domain) // tells of its failure itself
		}
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		c.tellOnce(c.moment(), Event{Kind: StoreFailed, Detail: "list: " + bounded(err.Error())})
	default:
		c.listed.Store(true)
	}
}

// save writes an item's policy to the store and reports whether that went
// well. It does not end with the caller's ctx: the policy is in use already.
func (c *Cache) save(ctx context.Context, domain string, it *item) bool {
	s := c.shard(domain)
	s.mu.RLock()
	k, used, gone := it.kept, it.used.Load(), s.items[domain] != it
	s.mu.RUnlock()
	if gone {
		return true // forgotten meanwhile
	}
	value, err := encodeEntry(domain, k, used)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
		defer cancel()
		err = c.cfg.Store.Save(ctx, domain, value)
	}
	if err != nil {
		c.tellOnce(c.moment(), Event{Kind: StoreFailed, Detail: fmt.Sprintf("save %s: %s", domain, bounded(err.Error()))})
		return false
	}
	s.mu.Lock()
	if it.kept == k {
		it.unsaved = false
	}
	s.mu.Unlock()
	return true
}

// delete removes an entry from the store. What stays there because of a
// failure is read again after a restart, and then removed again.
func (c *Cache) delete(ctx context.Context, domain string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if err := c.cfg.Store.Delete(ctx, domain); err != nil {
		c.tellOnce(c.moment(), Event{Kind: StoreFailed, Detail: fmt.Sprintf("delete %s: %s", domain, bounded(err.Error()))})
	}
}
