package nbd

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
)

// Magic numbers and sizes of the transmission.
const (
	magicRequest = 0x25609513
	magicAnswer  = 0x67446698
	requestSize  = 28
)

// Commands, the one flag that counts, and what an answer may say.
const (
	cmdRead        = 0
	cmdWrite       = 1
	cmdDisconnect  = 2
	cmdFlush       = 3
	cmdTrim        = 4
	cmdWriteZeroes = 6

	flagFUA = 1 << 0

	einval  = 22
	enospc  = 28
	enotsup = 95
)

// request is one request of the transmission.
type request struct {
	flags, command uint16
	cookie         uint64
	off            uint64
	length         uint32
	data           []byte // of a write
}

// parseRequest reads a request's 28 bytes.
func parseRequest(b []byte) (request, error) {
	if len(b) != requestSize || be.Uint32(b) != magicRequest {
		return request{}, fmt.Errorf("%w: a request %x", errProtocol, b)
	}
	q := request{
		flags: be.Uint16(b[4:]), command: be.Uint16(b[6:]), cookie: be.Uint64(b[8:]),
		off: be.Uint64(b[16:]), length: be.Uint32(b[24:]),
	}
	if (q.command == cmdRead || q.command == cmdWrite) && q.length > maxLength {
		return request{}, fmt.Errorf("%w: %d bytes at once", errProtocol, q.length)
	}
	return q, nil
}

// input is what a session reads: it tells what has come already.
type input interface {
	io.Reader
	Buffered() int
}

// session is one client.
type session struct {
	disk *Disk
	in   input
	out  io.Writer
	rng  *rand.Rand
}

// serve answers a client until it goes, or the power does; it returns nil when
// the client took its leave.
func (s *session) serve() error {
	if err := s.handshake(); err != nil {
		return err
	}
	var late *request // a write that the next request overtakes
	for {
		head, err := s.take(requestSize)
		if err != nil {
			return err
		}
		q, err := parseRequest(head)
		if err != nil {
			return err
		}
		if q.command == cmdWrite {
			// A buffer only for what can be on the disk.
			if q.off > uint64(s.disk.Size()) || s.disk.check(int64(q.off), int64(q.length)) != nil {
				_, err = io.CopyN(io.Discard, s.in, int64(q.length))
			} else {
				q.data, err = s.take(int(q.length))
			}
			if err != nil {
				return err
			}
		}
		if q.command == cmdDisconnect {
			if late != nil {
				return s.answer(*late)
			}
			return nil
		}
		// Only where the client waits for several answers at once may one
		// request overtake another: nothing is held back for long.
		if late == nil && q.command == cmdWrite && s.in.Buffered() >= requestSize && s.rng.IntN(4) == 0 {
			late = &q
			continue
		}
		if err := s.answer(q); err != nil {
			return err
		}
		if late != nil {
			if err := s.answer(*late); err != nil {
				return err
			}
			late = nil
		}
	}
}

// answer carries a request out. Its error ends the session.
func (s *session) answer(q request) error {
	data, err := s.do(q)
	var code uint32
	switch {
	case errors.Is(err, ErrNoPower):
		return err
	case errors.Is(err, errNotKnown):
		code = enotsup
	case errors.Is(err, ErrRange) && q.command != cmdRead && q.off >= uint64(s.disk.Size()):
		code = enospc
	case err != nil:
		code = einval
	}
	b := be.AppendUint32(nil, magicAnswer)
	b = be.AppendUint32(b, code)
	b = be.AppendUint64(b, q.cookie)
	return s.send(append(b, data...))
}

var errNotKnown = errors.New("nbd: unknown command")

// do returns the data of a read. Data comes only without an error.
func (s *session) do(q request) ([]byte, error) {
	if q.off > uint64(s.disk.Size()) {
		return nil, ErrRange
	}
	off, fua := int64(q.off), q.flags&flagFUA != 0
	switch q.command {
	case cmdRead:
		if err := s.disk.check(off, int64(q.length)); err != nil {
			return nil, err // before there is a buffer for it
		}
		b := make([]byte, q.length)
		_, err := s.disk.ReadAt(b, off)
		return b, err
	case cmdWrite:
		if len(q.data) != int(q.length) {
			return nil, ErrRange // its data was not kept
		}
		return nil, s.disk.Write(q.data, off, fua)
	case cmdFlush:
		return nil, s.disk.Flush()
	case cmdTrim, cmdWriteZeroes:
		// What was trimmed reads as zeros, and is as volatile as a write.
		return nil, s.zero(off, int64(q.length), fua)
	}
	return nil, errNotKnown
}

// zeros is shared by all disks: nobody writes into it.
var zeros = make([]byte, 1<<20)

func (s *session) zero(off, size int64, fua bool) error {
	if err := s.disk.check(off, size); err != nil {
		return err
	}
	for size > 0 {
		n := min(size, int64(len(zeros)))
		if err := s.disk.Write(zeros[:n], off, fua); err != nil {
			return err
		}
		off, size = off+n, size-n
	}
	return nil
}
