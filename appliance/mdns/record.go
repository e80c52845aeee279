package mdns

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Times for which others may keep our records (RFC 6762, Section 10).
const (
	hostTTL    = 120
	serviceTTL = 4500
)

// typeNSEC says which types a name has (RFC 6762, Section 6.1).
const typeNSEC = dnsmessage.Type(47)

// Names of the service of the page (RFC 6763).
const (
	service  = "_https._tcp.local."
	services = "_services._dns-sd._udp.local."
)

// record is one of ours, or as much of another's as is compared with ours.
type record struct {
	name   string // in lower case, with the last dot
	typ    dnsmessage.Type
	ttl    uint32 // seconds
	unique bool   // of this box alone
	data   []byte // without compression
}

func (r record) same(o record) bool {
	return r.name == o.name && r.typ == o.typ && bytes.Equal(r.data, o.data)
}

// compare is the order of RFC 6762, Section 8.2.
func (r record) compare(o record) int {
	return cmp.Or(cmp.Compare(r.typ, o.typ), bytes.Compare(r.data, o.data))
}

// Names are the two names that a box with this MAC may have: the first, and the
// one for the case that another machine has the first.
func Names(mac net.HardwareAddr) (first, second string) {
	if len(mac) < 3 {
		return "", ""
	}
	end := mac[len(mac)-3:]
	return "gatepost-" + hex.EncodeToString(end[1:]) + ".local", "gatepost-" + hex.EncodeToString(end) + ".local"
}

// zone is everything that the box says of itself.
type zone struct {
	host, instance string
	records        []record
}

// newZone is what a box called name, "gatepost-1a2b.local", has to say.
func newZone(name string, port uint16, addresses []netip.Prefix) zone {
	label, _, _ := strings.Cut(name, ".")
	z := zone{host: name + ".", instance: label + "." + service}
	add := func(name string, t dnsmessage.Type, ttl uint32, unique bool, data []byte) {
		z.records = append(z.records, record{name, t, ttl, unique, data})
	}
	for _, p := range addresses {
		a := p.Addr().WithZone("")
		t := dnsmessage.TypeA
		if a.Is6() {
			t = dnsmessage.TypeAAAA
		}
		add(z.host, t, hostTTL, true, a.AsSlice())
		add(reverse(a), dnsmessage.TypePTR, hostTTL, true, wireName(z.host))
	}
	srv := binary.BigEndian.AppendUint16(make([]byte, 4), port)
	add(z.instance, dnsmessage.TypeSRV, hostTTL, true, append(srv, wireName(z.host)...))
	add(z.instance, dnsmessage.TypeTXT, serviceTTL, true, append([]byte{byte(len("path=/"))}, "path=/"...))
	add(service, dnsmessage.TypePTR, serviceTTL, false, wireName(z.instance))
	add(services, dnsmessage.TypePTR, serviceTTL, false, wireName(service))
	z.records = append(z.records, z.nothingElse(z.host), z.nothingElse(z.instance))
	return z
}

// claims reports whether a name must belong to this box alone and is asked for
// before it is used.
func (z zone) claims(name string) bool { return name == z.host || name == z.instance }

// of lists the records that answer a question.
func (z zone) of(name string, t dnsmessage.Type) []int {
	var out []int
	for i, r := range z.records {
		if r.name == name && (t == r.typ || t == dnsmessage.TypeALL) {
			out = append(out, i)
		}
	}
	return out
}

// beside lists what whoever is told record i will ask for next (RFC 6763,
// Section 12).
func (z zone) beside(i int) []int {
	var out []int
	r := z.records[i]
	switch {
	case r.typ == dnsmessage.TypePTR && r.name == service:
		out = append(z.of(z.instance, dnsmessage.TypeALL), z.of(z.host, dnsmessage.TypeALL)...)
	case r.typ == dnsmessage.TypeSRV:
		out = z.of(z.host, dnsmessage.TypeALL)
	case r.name == z.host:
		out = z.of(z.host, dnsmessage.TypeALL)
	}
	return slices.DeleteFunc(out, func(j int) bool { return j == i })
}

// nothingElse is the record that says which types a name of ours has.
func (z zone) nothingElse(name string) record {
	var bitmap [8]byte // up to type 63
	last := 0
	for _, i := range append(z.of(name, dnsmessage.TypeALL), -1) {
		t := typeNSEC
		if i >= 0 {
			t = z.records[i].typ
		}
		bitmap[t/8] |= 0x80 >> (t % 8)
		last = max(last, int(t/8))
	}
	data := append(wireName(name), 0, byte(last+1))
	return record{name, typeNSEC, hostTTL, true, append(data, bitmap[:last+1]...)}
}

// wireName is a name as it is sent.
func wireName(name string) []byte {
	var out []byte
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		out = append(append(out, byte(len(label))), label...)
	}
	return append(out, 0)
}

// reverse is the name under which an address is looked up.
func reverse(a netip.Addr) string {
	var b strings.Builder
	if a.Is4() {
		for _, n := range slices.Backward(a.AsSlice()) {
			fmt.Fprintf(&b, "%d.", n)
		}
		return b.String() + "in-addr.arpa."
	}
	for _, n := range slices.Backward(a.AsSlice()) {
		fmt.Fprintf(&b, "%x.%x.", n&15, n>>4)
	}
	return b.String() + "ip6.arpa."
}
