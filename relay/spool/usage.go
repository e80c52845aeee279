package spool

import (
	"fmt"
	"time"
)

// Thresholds in per cent of the disk or of the capacity.
const (
	// WarnPercent is where people should be told.
	WarnPercent = 85
	// FullPercent is where new messages are refused, so that room stays for
	// outcomes and for copying forward.
	FullPercent = 95
)

// Usage says how full the log is, in bytes.
type Usage struct {
	Bytes     int64 // of the log, what is dead but not yet freed included
	Live      int64 // of records that are needed
	Capacity  int64 // what the log may use: the configured limit, or the disk
	DiskTotal int64 // of the file system
	DiskFree  int64 // of it, free for the log: its spare files included
	// Percent is how full the disk or the capacity is, whichever is fuller.
	// At WarnPercent tell people; at FullPercent ErrFull begins.
	Percent  int
	Messages int // live messages
}

// spaceCache keeps the answer of Disk.Space for a second.
type spaceCache struct {
	at          time.Time
	total, free int64
	err         error
}

func (c *spaceCache) forget() { c.at = time.Time{} }

// usage measures. The caller holds the lock.
func (l *Log) usage() (Usage, error) {
	if c := &l.space; c.at.IsZero() || time.Since(c.at) > time.Second {
		c.total, c.free, c.err = l.disk.Space()
		c.at = time.Now()
	}
	u := Usage{Capacity: l.capacity, DiskTotal: l.space.total, DiskFree: l.space.free, Messages: len(l.index.live)}
	for _, s := range l.segs {
		u.Live += s.live
		if s == l.active {
			u.Bytes += s.end
			u.DiskFree += s.size - s.end
		} else {
			u.Bytes += s.size
		}
	}
	for _, size := range l.spares {
		u.DiskFree += size
	}
	if u.Capacity <= 0 {
		u.Capacity = u.DiskTotal
	}
	u.Percent = u.percent(0)
	return u, l.space.err
}

// percent is how full the disk or the capacity would be with more bytes.
func (u Usage) percent(more int64) int {
	p := int64(0)
	if u.Capacity > 0 {
		p = (u.Bytes + more) * 100 / u.Capacity
	}
	if u.DiskTotal > 0 {
		p = max(p, (u.DiskTotal-u.DiskFree+more)*100/u.DiskTotal)
	}
	return int(p)
}

// Usage returns how full the log is.
func (l *Log) Usage() Usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	u, _ := l.usage()
	return u
}

// CanAccept returns nil when a message of size bytes would still be taken, and
// [ErrFull] (452 4.3.1) when the disk or the capacity would be used to 95 per
// cent with it, or when the disk gives no more room. It reserves nothing. [ErrClosed] means that Run has ended.
func (l *Log) CanAccept(size int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return ErrClosed
	}
	u, err := l.usage()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if u.percent(max(size, 0)) >= FullPercent || l.reserved(max(size, 0)) {
		return ErrFull
	}
	return nil
}

// reserved reports whether a message of size bytes would take room that is kept
// for outcomes: the last quarter of the active segment, while no other can be
// had. The disk may be full, or there is a quota, whatever Space says. The
// caller holds the lock.
func (l *Log) reserved(size int64) bool {
	if !l.noSpare || len(l.spares) > 0 {
		return false
	}
	return l.active == nil || l.active.end+size > l.active.size-l.active.size/4
}
