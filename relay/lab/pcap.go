package lab

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"time"
)

// Pcap writes Ethernet frames in the classic capture format that tcpdump and
// Wireshark read. It stops in silence when its limit is reached. Write may be
// called concurrently; closing the writer below is the caller's.
type Pcap struct {
	mu    sync.Mutex
	w     io.Writer
	left  int64
	ended bool
}

const (
	pcapHeader = 24
	pcapRecord = 16
	snapLen    = 65535
)

// NewPcap writes the file header. limit bounds the size of the file in bytes.
func NewPcap(w io.Writer, limit int64) (*Pcap, error) {
	var h [pcapHeader]byte
	le := binary.LittleEndian
	le.PutUint32(h[0:], 0xa1b2c3d4) // microseconds
	le.PutUint16(h[4:], 2)
	le.PutUint16(h[6:], 4)
	le.PutUint32(h[16:], snapLen)
	le.PutUint32(h[20:], 1) // LINKTYPE_ETHERNET
	if _, err := w.Write(h[:]); err != nil {
		return nil, fmt.Errorf("lab: pcap: %w", err)
	}
	return &Pcap{w: w, left: limit - pcapHeader}, nil
}

// Write appends one frame.
func (p *Pcap) Write(at time.Time, frame []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := frame[:min(len(frame), snapLen)]
	if p.ended || p.left < int64(pcapRecord+len(kept)) {
		p.ended = true
		return nil
	}
	p.left -= int64(pcapRecord + len(kept))
	rec := make([]byte, pcapRecord, pcapRecord+len(kept))
	le := binary.LittleEndian
	le.PutUint32(rec[0:], uint32(at.Unix()))
	le.PutUint32(rec[4:], uint32(at.Nanosecond()/1000))
	le.PutUint32(rec[8:], uint32(len(kept)))
	le.PutUint32(rec[12:], uint32(len(frame)))
	if _, err := p.w.Write(append(rec, kept...)); err != nil {
		p.ended = true
		return fmt.Errorf("lab: pcap: %w", err)
	}
	return nil
}

// Full reports whether frames were left out because of the limit or an error.
func (p *Pcap) Full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}
