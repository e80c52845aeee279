package mdns

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// quiet is a Conn on which nothing happens.
type quiet struct{ t *testing.T }

func (quiet) Packets() <-chan Packet { return nil }
func (quiet) Close() error           { return nil }
func (c quiet) Send(data []byte, _ netip.AddrPort) error {
	if _, err := parse(data); err != nil {
		c.t.Errorf("the box sent what it cannot read itself: %v", err)
	}
	return nil
}

// FuzzReceive hands any packet to a box that looks for its name, and to one
// that has it.
func FuzzReceive(f *testing.F) {
	z := newZone("gatepost-1a2b.local", 443, []netip.Prefix{home, netip.MustParsePrefix("2001:db8::50/64")})
	for _, r := range []reply{
		{answers: z.records},
		{probe: []string{z.host, z.instance}, proposed: z.records},
		{answers: z.records, goodbye: true},
	} {
		data, err := r.pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, uint16(port))
	}
	for _, typ := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeALL, dnsmessage.TypePTR} {
		m := dnsmessage.Message{Questions: []dnsmessage.Question{q(z.host, typ, inet|topBit), q(service, typ, inet)}}
		data, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, uint16(40000))
	}
	f.Fuzz(func(t *testing.T, data []byte, from uint16) {
		for _, s := range []state{probing, announced} {
			m := &machine{
				Responder: New(Config{MAC: mac}), conn: quiet{t}, addresses: []netip.Prefix{home},
				outbox: map[outKey]outEntry{}, sent: map[outKey]time.Time{}, unicasts: unicastBurst,
			}
			m.begin(0)
			m.state = s
			m.receive(Packet{data, netip.AddrPortFrom(netip.MustParseAddr("192.168.77.9"), from)})
			m.act()
			if len(m.outbox) > 2*len(m.zone.records) {
				t.Errorf("%d records wait to be sent", len(m.outbox))
			}
		}
	})
}
