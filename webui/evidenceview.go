package webui

import (
	"strconv"
	"strings"

	"gatepost/webui/foreign"
	"gatepost/webui/words"
)

// Bounds of the evidence on a page; the download has all of it.
const (
	hostsShown     = 10
	chainShown     = 5
	certNamesShown = 8
)

// evidenceView is the technical evidence of one attempt.
type evidenceView struct {
	Attempt []fact // of the attempt as a whole
	Hosts   []hostView
	More    int // hosts that are not shown
}

type hostView struct {
	Name  string // host and address
	State string // symbol and colour
	Facts []fact
}

func evidenceOf(voice words.Voice, a Attempt, e *Evidence) evidenceView {
	if e == nil || len(e.Hosts) == 0 {
		v := evidenceView{Attempt: technical(voice, Message{Last: a})}
		if e != nil {
			v.Attempt = append(v.Attempt, routeFacts(voice, e)...)
		}
		return v
	}
	f := factList{voice: voice}
	f.at("tech.time", a.Time)
	f.own("tech.reason", a.Outcome, a.Reason)
	f.own("tech.rule", a.Rule)
	f.list = append(f.list, routeFacts(voice, e)...)
	f.policy(a)
	f.strange("tech.detail", a.Detail)
	v := evidenceView{Attempt: f.list}
	for i, h := range e.Hosts {
		if i == hostsShown {
			v.More = len(e.Hosts) - i
			break
		}
		v.Hosts = append(v.Hosts, hostOf(voice, h))
	}
	return v
}

// routeFacts says how the next servers were found.
func routeFacts(voice words.Voice, e *Evidence) []fact {
	f := factList{voice: voice}
	f.own("tech.route", e.Route)
	d := e.DNS
	if d == nil {
		return f.list
	}
	var shown []string
	for i, mx := range d.MX {
		if i == maxNames {
			d = &EvidenceDNS{More: d.More + len(d.MX) - i, Implicit: d.Implicit, Null: d.Null, Error: d.Error, Security: d.Security}
			break
		}
		shown = append(shown, strconv.Itoa(int(mx.Pref))+" "+mx.Host.Cut(nameRunes))
	}
	if d.More > 0 {
		shown = append(shown, "+"+strconv.Itoa(d.More))
	}
	if d.Implicit {
		shown = append(shown, text(voice, "tech.dns-implicit").String())
	}
	if d.Null {
		shown = append(shown, text(voice, "tech.dns-null").String())
	}
	f.add("tech.dns", words.Text{{Text: strings.Join(shown, ", "), Foreign: true}})
	f.strange("tech.dns-error", d.Error)
	f.own("tech.dns-security", d.Security)
	return f.list
}

func hostOf(voice words.Voice, h EvidenceHost) hostView {
	v := hostView{Name: strings.TrimSpace(h.MX.Cut(nameRunes) + " " + h.Addr.Cut(nameRunes)), State: stateOf(h.Outcome)}
	f := factList{voice: voice}
	f.at("tech.time", h.Time)
	f.own("tech.took", span(h.Took))
	if h.Reused {
		f.add("tech.reused", text(voice, "tech.yes"))
	}
	f.own("tech.reason", h.Outcome, h.Reason)
	f.own("tech.rule", h.Rule)
	f.strange("tech.pattern", h.Pattern)
	f.own("tech.tls", h.TLSVersion, h.Cipher)
	f.own("tech.protection", h.Protection)
	for i, c := range h.Chain {
		if i < chainShown {
			f.list = append(f.list, certificateFact(voice, i, c))
		}
	}
	f.reply(h.Code, h.Enhanced, h.Reply)
	f.strange("tech.detail", h.Detail)
	v.Facts = f.list
	return v
}

// certificateFact is one certificate of a chain in a line of its own.
func certificateFact(voice words.Voice, i int, c Certificate) fact {
	var names []string
	for j, n := range c.Names {
		if j == certNamesShown {
			names = append(names, "+"+strconv.Itoa(len(c.Names)-j))
			break
		}
		names = append(names, n.Cut(nameRunes))
	}
	var t words.Text
	piece := func(p words.Piece) {
		if p.Text == "" {
			return
		}
		if len(t) > 0 {
			t = append(t, words.Piece{Text: " · "})
		}
		t = append(t, p)
	}
	piece(words.Piece{Text: c.Subject.Cut(nameRunes), Foreign: true})
	piece(words.Piece{Text: strings.Join(names, ", "), Foreign: true})
	piece(words.Piece{Text: c.Issuer.Cut(nameRunes), Foreign: true})
	if !c.NotBefore.IsZero() {
		piece(words.Piece{Text: utc(c.NotBefore), Time: c.NotBefore})
	}
	if !c.NotAfter.IsZero() {
		piece(words.Piece{Text: utc(c.NotAfter), Time: c.NotAfter})
	}
	if c.SHA256 != "" {
		piece(words.Piece{Text: "SHA-256 " + foreign.Text(c.SHA256).Cut(64)})
	}
	return fact{Name: text(voice, "tech.cert", "number", i+1).String(), Value: t}
}
