package mdns

import (
	"encoding/binary"
	"errors"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Limits on what a packet may hold.
const (
	maxPacket    = 9000 // RFC 6762, Section 17
	maxQuestions = 32
	maxRecords   = 256 // of a section; a packet with more is passed over
)

// topBit is that of the class: of a question "answer to me alone", of a record
// "forget what you knew" (RFC 6762, Sections 5.4 and 10.2).
const topBit = 0x8000

// question is one that we may answer.
type question struct {
	name    string // in lower case
	typ     dnsmessage.Type
	private bool // an answer to the asker alone will do
}

// message is a packet as far as it concerns us.
type message struct {
	id        uint16
	response  bool
	more      bool // known answers follow in another packet
	questions []question
	// answers are those of a response, or what the asker knows already;
	// proposed is what a machine that looks for a name wants to say under it.
	answers, proposed []record
	raw               []dnsmessage.Question // as they came, for an old-fashioned asker
}

var errMessage = errors.New("not a message of multicast DNS")

// parse reads a packet. A wrong one gives an error and must be passed over
// (RFC 6762, Section 18).
func parse(b []byte) (message, error) {
	if len(b) > maxPacket {
		return message{}, errMessage
	}
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil {
		return message{}, err
	}
	if h.OpCode != 0 || h.RCode != 0 {
		return message{}, errMessage
	}
	m := message{id: h.ID, response: h.Response, more: h.Truncated}
	for {
		q, err := p.Question()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil {
			return message{}, err
		}
		if class := q.Class &^ topBit; len(m.questions) < maxQuestions && (class == dnsmessage.ClassINET || class == dnsmessage.ClassANY) {
			m.questions = append(m.questions, question{strings.ToLower(q.Name.String()), q.Type, q.Class&topBit != 0})
			m.raw = append(m.raw, q)
		}
	}
	if m.answers, err = records(p.AnswerHeader, &p); err != nil {
		return message{}, err
	}
	if m.proposed, err = records(p.AuthorityHeader, &p); err != nil {
		return message{}, err
	}
	if m.response {
		more, err := records(p.AdditionalHeader, &p)
		if err != nil {
			return message{}, err
		}
		m.answers = append(m.answers, more...)
	}
	return m, nil
}

// records reads one section.
func records(header func() (dnsmessage.ResourceHeader, error), p *dnsmessage.Parser) ([]record, error) {
	var out []record
	for range maxRecords {
		h, err := header()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		data, err := rdata(h.Type, p)
		if err != nil {
			return nil, err
		}
		if h.Class&^topBit == dnsmessage.ClassINET {
			out = append(out, record{
				name: strings.ToLower(h.Name.String()), typ: h.Type, ttl: h.TTL, unique: h.Class&topBit != 0, data: data,
			})
		}
	}
	return nil, errMessage
}

// rdata reads the body of a record into the form of ours: names in lower case
// and without compression.
func rdata(t dnsmessage.Type, p *dnsmessage.Parser) ([]byte, error) {
	switch t {
	case dnsmessage.TypePTR:
		r, err := p.PTRResource()
		return wireName(strings.ToLower(r.PTR.String())), err
	case dnsmessage.TypeSRV:
		r, err := p.SRVResource()
		b := binary.BigEndian.AppendUint16(nil, r.Priority)
		b = binary.BigEndian.AppendUint16(b, r.Weight)
		b = binary.BigEndian.AppendUint16(b, r.Port)
		return append(b, wireName(strings.ToLower(r.Target.String()))...), err
	default:
		r, err := p.UnknownResource()
		return r.Data, err
	}
}

// reply is what is sent: a response, or a question for names that nobody may
// have yet.
type reply struct {
	probe      []string // names to look for; a response when empty
	proposed   []record
	answers    []record
	additional []record
	goodbye    bool
	// An old-fashioned asker (RFC 6762, Section 6.7) gets its id and question
	// back, and short times.
	legacy *message
}

// legacyTTL is as long as an old-fashioned asker may keep an answer.
const legacyTTL = 10

func (r reply) pack() ([]byte, error) {
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: len(r.probe) == 0, Authoritative: len(r.probe) == 0}}
	if r.legacy != nil {
		m.ID, m.Questions = r.legacy.id, r.legacy.raw
	}
	for _, n := range r.probe {
		name, err := dnsmessage.NewName(n)
		if err != nil {
			return nil, err
		}
		m.Questions = append(m.Questions, dnsmessage.Question{Name: name, Type: dnsmessage.TypeALL, Class: dnsmessage.ClassINET | topBit})
	}
	for _, s := range []struct {
		from []record
		to   *[]dnsmessage.Resource
		ours bool // records as the facts that they are, not as proposals
	}{{r.answers, &m.Answers, true}, {r.proposed, &m.Authorities, false}, {r.additional, &m.Additionals, true}} {
		for _, rec := range s.from {
			name, err := dnsmessage.NewName(rec.name)
			if err != nil {
				return nil, err
			}
			h := dnsmessage.ResourceHeader{Name: name, Type: rec.typ, Class: dnsmessage.ClassINET, TTL: rec.ttl}
			if rec.unique && s.ours && r.legacy == nil {
				h.Class |= topBit
			}
			if r.goodbye {
				h.TTL = 0
			}
			if r.legacy != nil {
				h.TTL = min(h.TTL, legacyTTL)
			}
			*s.to = append(*s.to, dnsmessage.Resource{Header: h, Body: &dnsmessage.UnknownResource{Type: rec.typ, Data: rec.data}})
		}
	}
	return m.Pack()
}
