package lab

import (
	"bytes"
	"strings"
)

// A canary is a word that appears in no other text: the office puts one into
// the subject and body of each message, and the tap looks for them in what
// leaves the guest.
const (
	canaryPrefix = "canary-"
	canaryMax    = 100 // bytes, prefix included
)

func canaryByte(c byte) bool {
	return c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z'
}

// findCanaries returns the distinct canaries of a whole text.
func findCanaries(text []byte) []string {
	var s scanner
	var found []string
	seen := make(map[string]bool)
	for _, h := range append(s.feed(text), s.flush()...) {
		if !seen[h.canary] {
			seen[h.canary] = true
			found = append(found, h.canary)
		}
	}
	return found
}

// scanner finds canaries in a stream that comes in pieces.
type scanner struct {
	tail []byte // an unfinished canary, or the beginning of a prefix
	pos  int64  // bytes fed so far
}

type hit struct {
	canary string
	end    int64 // position behind the canary
}

// feed takes the next piece and returns the canaries that ended in it.
func (s *scanner) feed(b []byte) []hit {
	var hits []hit
	text := append(s.tail, b...)
	base := s.pos - int64(len(s.tail))
	s.pos += int64(len(b))
	i := 0
	for {
		at := bytes.Index(text[i:], []byte(canaryPrefix))
		if at < 0 {
			break
		}
		i += at
		j := i + len(canaryPrefix)
		for j < len(text) && j-i < canaryMax && canaryByte(text[j]) {
			j++
		}
		if j == len(text) && j-i < canaryMax {
			s.tail = append([]byte(nil), text[i:]...) // it may go on
			return hits
		}
		if j > i+len(canaryPrefix) {
			hits = append(hits, hit{string(text[i:j]), base + int64(j)})
		}
		i = j
	}
	// Keep what may be the beginning of a prefix.
	keep := min(len(canaryPrefix)-1, len(text)-i)
	for keep > 0 && !strings.HasPrefix(canaryPrefix, string(text[len(text)-keep:])) {
		keep--
	}
	s.tail = append([]byte(nil), text[len(text)-keep:]...)
	return hits
}

// flush returns the canary that the end of the stream ends.
func (s *scanner) flush() []hit {
	c := string(s.tail)
	s.tail = nil
	if len(c) > len(canaryPrefix) && strings.HasPrefix(c, canaryPrefix) {
		return []hit{{c, s.pos}}
	}
	return nil
}
