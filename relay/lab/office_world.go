package lab

import (
	"net/netip"
	"time"

	"gatepost/relay/verdict"
)

// Office is the world of the demonstration and of the end-to-end test: a
// small office, eleven mail domains of which each shows one thing, and an
// attacker. The addresses are those of the documentation networks (RFC 5737).
func Office() World {
	lan := func(host byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 168, 77, host}) }
	w := World{
		LAN: LAN{
			Prefix: netip.PrefixFrom(lan(0), 24),
			Router: lan(1), Host: lan(2), Guest: lan(50),
			NTP:    []netip.Addr{lan(1), mxAddr(123), mxAddr(124)},
			Lease:  time.Hour,
			Domain: "office.example",
		},
		Attacker: Attacker{Domain: "attacker.example", Host: "mx.attacker.example", Addr: netip.AddrFrom4([4]byte{192, 0, 2, 66})},
		Clients: []Client{
			{
				Name: "mail server", Addr: lan(10), Hello: "mail.office.example", Every: 20 * time.Second,
				From:     []string{"anna@office.example", "bert@office.example", "carla@office.example"},
				Subjects: []string{"Offer for the new roof", "Minutes of Monday", "Your order", "Lunch on Friday?"},
			},
			{
				Name: "printer", Addr: lan(11), Hello: "printer.office.example", Every: 45 * time.Second,
				From:     []string{"printer@office.example"},
				Subjects: []string{"Scan from the printer on the first floor"},
			},
		},
		Domains: officeDomains(),
		Records: []string{
			"router.office.example. 300 IN A 192.168.77.1",
			"mail.office.example. 300 IN A 192.168.77.10",
			"printer.office.example. 300 IN A 192.168.77.11",
			"office.example. 300 IN MX 10 mail.office.example.",
		},
	}
	for _, name := range []string{"pool.ntp.org", "debian.pool.ntp.org"} {
		for i, addr := range w.LAN.NTP {
			w.Records = append(w.Records,
				name+". 60 IN A "+addr.String(),
				string(rune('0'+i))+"."+name+". 60 IN A "+addr.String())
		}
	}
	return w
}

func mxAddr(host byte) netip.Addr     { return netip.AddrFrom4([4]byte{203, 0, 113, host}) }
func policyAddr(host byte) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, host}) }

// domain makes an honest domain with one MX host that offers STARTTLS with a
// valid certificate; n tells its machines from those of the others.
func domain(name string, n byte, shows string) Domain {
	full := name + ".example"
	return Domain{
		Name: full, Shows: shows,
		MX: []MX{{Host: "mx." + full, Pref: 10, Addr: mxAddr(n), TLS: true}},
	}
}

// with returns the domain with a policy in the given mode for its MX hosts.
func (d Domain) with(mode string) Domain {
	n := d.MX[0].Addr.As4()[3]
	d.Policy = &Policy{ID: "20260901", Mode: mode, MaxAge: 7 * day, Addr: policyAddr(n)}
	for _, mx := range d.MX {
		d.Policy.MX = append(d.Policy.MX, mx.Host)
	}
	return d
}

func officeDomains() []Domain {
	delivered := Expect{Outcome: verdict.Delivered, Protection: verdict.Verified}
	held := func(r verdict.Reason) Expect { return Expect{Outcome: verdict.Held, Reason: r} }

	good := domain("good", 10, "A policy in enforce mode and a server that keeps it: mail is delivered to a verified server.").with("enforce")
	good.Expect = []Expect{delivered}

	wrongname := domain("wrongname", 11, "The server's certificate is for another name: mail is held, because anybody could be behind it.").with("enforce")
	wrongname.MX[0].Cert.Fault = WrongName
	wrongname.Expect = []Expect{held(verdict.CertificateHostMismatch)}

	expired := domain("expired", 12, "The server's certificate ran out yesterday: mail is held until it is renewed.").with("enforce")
	expired.MX[0].Cert.Fault = Expired
	expired.Expect = []Expect{held(verdict.CertificateExpired)}

	stripped := domain("stripped", 13, "An attacker on the path removes the offer of encryption: mail is held, not sent in clear.").with("enforce")
	stripped.Attack = Attack{Kind: Strip, Start: FromTheStart}
	stripped.Expect = []Expect{held(verdict.StartTLSNotSupported)}

	forged := domain("forged", 14, "After the first mail an attacker forges DNS and blocks the policy host: the remembered policy holds, nothing reaches him.").with("enforce")
	forged.TTL = 2 * time.Second
	forged.Attack = Attack{Kind: Forge, Start: AfterFirstMail}
	first := delivered
	first.When = "before the attack"
	later := held(verdict.MXNotListed)
	later.When = "under attack"
	forged.Expect = []Expect{first, later}

	unlisted := domain("unlisted", 15, "DNS names a server that the policy does not list: mail is held, even though its certificate is fine.").with("enforce")
	unlisted.Policy.MX = []string{"mail.unlisted.example"}
	unlisted.Expect = []Expect{held(verdict.MXNotListed)}

	testing := domain("testing", 16, "A policy in testing mode and an untrusted certificate: mail is delivered, the fault is noted.").with("testing")
	testing.MX[0].Cert.Fault = NotTrusted
	testing.Expect = []Expect{{Outcome: verdict.Delivered, Protection: verdict.Encrypted}}

	nopolicy := domain("nopolicy", 17, "No policy, but the server offers encryption: mail is delivered encrypted, to whoever answers.")
	nopolicy.MX[0].Cert.Fault = NotTrusted
	nopolicy.Expect = []Expect{{Outcome: verdict.Delivered, Protection: verdict.Encrypted}}

	plain := domain("plain", 18, "No policy and no encryption offered: mail is delivered in clear, as the domain has it.")
	plain.MX[0].TLS = false
	plain.Expect = []Expect{{Outcome: verdict.Delivered, Protection: verdict.Clear}}

	repairing := domain("repairing", 19, "An untrusted certificate that is replaced after a minute: mail is held and then goes out by itself.").with("enforce")
	repairing.MX[0].Cert.Fault = NotTrusted
	repairing.MendAfter = time.Minute
	broken := held(verdict.CertificateNotTrusted)
	broken.When = "before the repair"
	mended := delivered
	mended.When = "after the repair"
	repairing.Expect = []Expect{broken, mended}

	down := domain("down", 20, "Nothing answers at the server's address: mail waits and is tried again.").with("enforce")
	down.MX[0].Presence = Refuses
	down.Expect = []Expect{{Outcome: verdict.Deferred, Reason: verdict.ConnectTimeout}}

	return []Domain{good, wrongname, expired, stripped, forged, unlisted, testing, nopolicy, plain, repairing, down}
}
