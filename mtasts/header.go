package mtasts

import (
	"bytes"
	"encoding/json"
	"time"
)

// entryHeader is the second line of an entry, see encodeEntry.
type entryHeader struct {
	Domain    string       `json:"domain"`
	ID        string       `json:"id"`
	FetchedAt time.Time    `json:"fetched_at"`
	UsedAt    int64        `json:"used_at,omitempty"` // unix seconds
	Host      HostEvidence `json:"host"`
}

// decodeHeader reads a header back. Nearly every one is in the very form in
// which encoding/json wrote it, without an escape; that form is read directly,
// because a start with many policies would spend most of its time here.
// Everything else is left to encoding/json.
func decodeHeader(line []byte) (entryHeader, bool) {
	if h, ok := plainHeader(line); ok {
		return h, true
	}
	var h entryHeader
	err := json.Unmarshal(line, &h)
	return h, err == nil
}

// plainHeader reads a header that has all of its fields in their order; ok is
// false for every other one, and then says nothing about it.
func plainHeader(line []byte) (h entryHeader, ok bool) {
	r := headerReader{rest: line}
	r.want(`{"domain":`)
	h.Domain = string(r.text())
	r.want(`,"id":`)
	h.ID = string(r.text())
	r.want(`,"fetched_at":`)
	h.FetchedAt = r.time()
	r.want(`,"used_at":`)
	h.UsedAt = r.number()
	r.want(`,"host":{"addr":`)
	h.Host.Addr = string(r.text())
	r.want(`,"tls_version":`)
	h.Host.TLSVersion = string(r.text())
	r.want(`,"cipher":`)
	h.Host.Cipher = string(r.text())
	r.want(`,"cert_names":[`)
	h.Host.CertNames = append(h.Host.CertNames, string(r.text()))
	for !r.bad && bytes.HasPrefix(r.rest, []byte(",")) {
		r.want(",")
		h.Host.CertNames = append(h.Host.CertNames, string(r.text()))
	}
	r.want(`],"cert_issuer":`)
	h.Host.CertIssuer = string(r.text())
	r.want(`,"cert_not_after":`)
	h.Host.CertNotAfter = r.time()
	r.want(`}}`)
	return h, !r.bad && len(r.rest) == 0
}

// headerReader takes JSON from the front of rest; bad says that something else
// was there, and stays.
type headerReader struct {
	rest []byte
	bad  bool
}

func (r *headerReader) want(literal string) {
	if r.bad || len(r.rest) < len(literal) || string(r.rest[:len(literal)]) != literal {
		r.bad = true
		return
	}
	r.rest = r.rest[len(literal):]
}

// text takes a string of printable ASCII without an escape.
func (r *headerReader) text() []byte {
	r.want(`"`)
	if r.bad {
		return nil
	}
	for i, c := range r.rest {
		switch {
		case c == '"':
			s := r.rest[:i]
			r.rest = r.rest[i+1:]
			return s
		case c < 0x20 || c >= 0x7f || c == '\\':
			r.bad = true
			return nil
		}
	}
	r.bad = true
	return nil
}

func (r *headerReader) time() (t time.Time) {
	if s := r.text(); !r.bad && t.UnmarshalText(s) != nil {
		r.bad = true
	}
	return t
}

// number takes a positive integer of up to 18 digits.
func (r *headerReader) number() (n int64) {
	i := 0
	for i < len(r.rest) && i < 18 && '0' <= r.rest[i] && r.rest[i] <= '9' {
		n = 10*n + int64(r.rest[i]-'0')
		i++
	}
	if i == 0 || r.rest[0] == '0' {
		r.bad = true
		return 0
	}
	r.rest = r.rest[i:]
	return n
}
