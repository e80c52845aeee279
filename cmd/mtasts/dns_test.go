package main

import (
	"encoding/binary"
	"net"
	"strings"
	"sync"
	"testing"
)

// dnsServer answers TXT, MX and A questions over UDP from a table; everything
// else does not exist.
type dnsServer struct {
	addr string
	mu   sync.Mutex
	data map[string][]string // "name. TYPE"
	bad  map[string]bool
}

var dnsTypes = map[uint16]string{1: "A", 15: "MX", 16: "TXT"}

func newDNS(t *testing.T) *dnsServer {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &dnsServer{addr: conn.LocalAddr().String(), data: make(map[string][]string), bad: make(map[string]bool)}
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer := s.answer(buf[:n]); answer != nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	return s
}

func (s *dnsServer) set(key string, values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data[key] = values
}

func (s *dnsServer) fail(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bad[key] = true
}

func (s *dnsServer) answer(query []byte) []byte {
	if len(query) < 17 {
		return nil
	}
	name, i := "", 12
	for query[i] != 0 {
		n := int(query[i])
		if i+n+6 > len(query) {
			return nil
		}
		name += string(query[i+1:i+1+n]) + "."
		i += n + 1
	}
	question := query[12 : i+5]
	key := strings.ToLower(name) + " " + dnsTypes[binary.BigEndian.Uint16(query[i+1:])]
	s.mu.Lock()
	defer s.mu.Unlock()
	values := s.data[key]
	code := byte(0)
	switch {
	case s.bad[key]:
		code = 2 // SERVFAIL
	case len(values) == 0:
		code = 3 // NXDOMAIN
	}
	out := append([]byte{}, query[:2]...)
	out = append(out, 0x81, 0x80|code, 0, 1, 0, byte(len(values)), 0, 0, 0, 0)
	out = append(out, question...)
	for _, v := range values {
		var data []byte
		switch {
		case strings.HasSuffix(key, " A"):
			data = net.ParseIP(v).To4()
		case strings.HasSuffix(key, " TXT"):
			data = append([]byte{byte(len(v))}, v...)
		default:
			data = []byte{0, 10}
			for _, label := range strings.Split(strings.TrimSuffix(v, "."), ".") {
				if label != "" {
					data = append(append(data, byte(len(label))), label...)
				}
			}
			data = append(data, 0)
		}
		out = append(out, 0xc0, 12)
		out = append(out, question[len(question)-4:]...)
		out = append(out, 0, 0, 0, 60, 0, byte(len(data)))
		out = append(out, data...)
	}
	return out
}
