package lab

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// zone is everything that the world's DNS knows. It is replaced whole when
// the world changes and never altered.
type zone struct {
	records map[string]map[uint16][]dns.RR // by lower-case absolute name
	names   map[string]bool                // names that exist, with those above them
	apexes  []string                       // of the domains, for SOA records
	forged  map[forgery]string             // to the domain under attack
}

// forgery is an answer that comes from the attacker.
type forgery struct {
	name  string
	qtype uint16
}

// rebuildZone makes the zone anew from the domains as they are; l.mu is held,
// or New is not done yet.
func (l *Lab) rebuildZone() error {
	z := &zone{records: make(map[string]map[uint16][]dns.RR), names: make(map[string]bool), forged: make(map[forgery]string)}
	base := []string{". 3600 IN NS ns.lab.example.", "ns.lab.example. 3600 IN A " + l.world.LAN.Router.String()}
	for _, r := range append(base, l.world.Records...) {
		if err := z.add(r); err != nil {
			return err
		}
	}
	for _, st := range l.domains {
		if err := z.addDomain(&st.d); err != nil {
			return err
		}
		if st.attack == Forge {
			if err := z.forge(&st.d, l.world.Attacker); err != nil {
				return err
			}
		}
	}
	slices.Sort(z.apexes)
	l.zone = z
	return nil
}

func (z *zone) add(record string) error {
	rr, err := dns.NewRR(record)
	if err != nil || rr == nil {
		return fmt.Errorf("lab: DNS record %q: %w", record, err)
	}
	name := strings.ToLower(rr.Header().Name)
	if z.records[name] == nil {
		z.records[name] = make(map[uint16][]dns.RR)
	}
	t := rr.Header().Rrtype
	for _, have := range z.records[name][t] {
		if dns.IsDuplicate(have, rr) {
			return nil // two domains may share a machine
		}
	}
	z.records[name][t] = append(z.records[name][t], rr)
	for off, end := 0, false; !end; off, end = dns.NextLabel(name, off) {
		z.names[name[off:]] = true
	}
	z.names["."] = true
	return nil
}

func ttlOf(d *Domain) int {
	if d.TTL <= 0 {
		return 60
	}
	return int(d.TTL / time.Second)
}

func (z *zone) addDomain(d *Domain) error {
	ttl := ttlOf(d)
	z.apexes = append(z.apexes, d.Name+".")
	records := []string{soa(d.Name+".", ttl)}
	for _, mx := range d.MX {
		records = append(records,
			fmt.Sprintf("%s. %d IN MX %d %s.", d.Name, ttl, mx.Pref, mx.Host),
			fmt.Sprintf("%s. %d IN A %s", mx.Host, ttl, mx.Addr))
	}
	if p := d.Policy; p != nil {
		records = append(records, fmt.Sprintf("%s. %d IN A %s", d.PolicyHost(), ttl, p.Addr))
		if p.ID != "" {
			records = append(records, stsRecord(d.Name, ttl, p.ID))
		}
	}
	for _, r := range records {
		if err := z.add(r); err != nil {
			return err
		}
	}
	return nil
}

// forge replaces the domain's MX and _mta-sts answers by the attacker's: mail
// to his own server, and a new policy id that sends the relay to a policy
// host which it cannot reach any more.
func (z *zone) forge(d *Domain, a Attacker) error {
	mx, sts := d.Name+".", "_mta-sts."+d.Name+"."
	delete(z.records[mx], dns.TypeMX)
	delete(z.records[sts], dns.TypeTXT)
	z.forged[forgery{mx, dns.TypeMX}] = d.Name
	z.forged[forgery{sts, dns.TypeTXT}] = d.Name
	ttl := ttlOf(d)
	if err := z.add(fmt.Sprintf("%s %d IN MX 1 %s.", mx, ttl, a.Host)); err != nil {
		return err
	}
	return z.add(stsRecord(d.Name, ttl, "forged20261"))
}

func stsRecord(domain string, ttl int, id string) string {
	return fmt.Sprintf("_mta-sts.%s. %d IN TXT \"v=STSv1; id=%s;\"", domain, ttl, id)
}

func soa(apex string, ttl int) string {
	return fmt.Sprintf("%s %d IN SOA ns.lab.example. hostmaster.lab.example. 1 3600 600 86400 %d", apex, ttl, ttl)
}

// answer fills in the reply to one question, following CNAME records, and
// returns the forgeries that it used.
func (z *zone) answer(reply *dns.Msg, q dns.Question) []forgery {
	var used []forgery
	name := strings.ToLower(q.Name)
	for range 9 {
		f := forgery{name, q.Qtype}
		if z.forged[f] != "" {
			used = append(used, f)
		}
		if rrs := z.records[name][q.Qtype]; len(rrs) > 0 {
			reply.Answer = append(reply.Answer, rrs...)
			return used
		}
		alias := z.records[name][dns.TypeCNAME]
		if len(alias) == 0 {
			break
		}
		reply.Answer = append(reply.Answer, alias[0])
		name = strings.ToLower(alias[0].(*dns.CNAME).Target)
	}
	if !z.names[name] {
		reply.Rcode = dns.RcodeNameError
	}
	reply.Ns = append(reply.Ns, z.soaFor(name))
	return used
}

// soaFor returns the SOA record that goes with a negative answer (RFC 2308,
// Section 3).
func (z *zone) soaFor(name string) dns.RR {
	for _, apex := range z.apexes {
		if dns.IsSubDomain(apex, name) {
			return z.records[apex][dns.TypeSOA][0]
		}
	}
	rr, _ := dns.NewRR(soa("example.", 60)) // a constant text, known to parse
	return rr
}
