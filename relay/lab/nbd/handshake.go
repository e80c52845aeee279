package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Magic numbers and flags of the handshake.
const (
	magicServer  = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption  = 0x49484156454f5054 // "IHAVEOPT"
	magicReply   = 0x0003e889045565a9
	fixed        = 1 << 0
	noZeroes     = 1 << 1
	infoExport   = 0
	infoSizes    = 3
	exportZeroes = 124
)

// Options.
const (
	optExportName = 1
	optAbort      = 2
	optList       = 3
	optInfo       = 6
	optGo         = 7
)

// Replies to options.
const (
	repAck     = 1
	repServer  = 2
	repInfo    = 3
	repUnknown = 1<<31 + 1 // the server does not know the option
	repInvalid = 1<<31 + 3
)

// What the disk can do: flags, flush, FUA, trim, write zeroes.
const diskFlags = 1<<0 | 1<<2 | 1<<3 | 1<<5 | 1<<6

// Limits of what a client may send.
const (
	maxOption = 4096     // bytes of an option's data
	maxLength = 32 << 20 // bytes of a read or a write
)

// Errors of a session. All of them end it.
var (
	errProtocol = errors.New("nbd: not what the protocol says")
	errAborted  = errors.New("nbd: the client gave up")
)

var be = binary.BigEndian

// handshake leads to the transmission.
func (s *session) handshake() error {
	hello := be.AppendUint64(nil, magicServer)
	hello = be.AppendUint64(hello, magicOption)
	if err := s.send(be.AppendUint16(hello, fixed|noZeroes)); err != nil {
		return err
	}
	head, err := s.take(4)
	if err != nil {
		return err
	}
	flags := be.Uint32(head)
	if flags&^(fixed|noZeroes) != 0 || flags&fixed == 0 {
		return fmt.Errorf("%w: client flags %#x", errProtocol, flags)
	}
	for {
		head, err := s.take(16)
		if err != nil {
			return err
		}
		option, length := be.Uint32(head[8:]), be.Uint32(head[12:])
		if be.Uint64(head) != magicOption || length > maxOption {
			return fmt.Errorf("%w: an option %x", errProtocol, head)
		}
		data, err := s.take(int(length))
		if err != nil {
			return err
		}
		done, err := s.option(option, data, flags&noZeroes != 0)
		if done || err != nil {
			return err
		}
	}
}

// option answers one option; done begins the transmission.
func (s *session) option(option uint32, data []byte, bare bool) (done bool, err error) {
	switch option {
	case optExportName:
		reply := be.AppendUint16(be.AppendUint64(nil, uint64(s.disk.Size())), diskFlags)
		if !bare {
			reply = append(reply, make([]byte, exportZeroes)...)
		}
		return true, s.send(reply)
	case optAbort:
		return false, errors.Join(errAborted, s.reply(option, repAck, nil))
	case optList:
		// One export, whose name is empty.
		if err := s.reply(option, repServer, make([]byte, 4)); err != nil {
			return false, err
		}
		return false, s.reply(option, repAck, nil)
	case optInfo, optGo:
		if !infoRequest(data) {
			return false, s.reply(option, repInvalid, nil)
		}
		export := be.AppendUint64(be.AppendUint16(nil, infoExport), uint64(s.disk.Size()))
		if err := s.reply(option, repInfo, be.AppendUint16(export, diskFlags)); err != nil {
			return false, err
		}
		sizes := be.AppendUint16(nil, infoSizes)
		for _, n := range []uint32{SectorSize, 4096, maxLength} {
			sizes = be.AppendUint32(sizes, n)
		}
		if err := s.reply(option, repInfo, sizes); err != nil {
			return false, err
		}
		return option == optGo, s.reply(option, repAck, nil)
	}
	return false, s.reply(option, repUnknown, nil)
}

// infoRequest reports whether the data of info or go is well formed. Any name
// will do: there is one disk.
func infoRequest(data []byte) bool {
	if len(data) < 6 {
		return false
	}
	name := uint64(be.Uint32(data))
	if name > uint64(len(data)-6) {
		return false
	}
	requests := data[4+name:]
	return len(requests) == 2+2*int(be.Uint16(requests))
}

// reply answers an option.
func (s *session) reply(option, kind uint32, data []byte) error {
	b := be.AppendUint64(nil, magicReply)
	b = be.AppendUint32(b, option)
	b = be.AppendUint32(b, kind)
	b = be.AppendUint32(b, uint32(len(data)))
	return s.send(append(b, data...))
}

// take reads n bytes, which its caller has bounded.
func (s *session) take(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(s.in, b)
	return b, err
}

func (s *session) send(b []byte) error {
	_, err := s.out.Write(b)
	return err
}
