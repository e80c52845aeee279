package webui

import (
	"strconv"
	"strings"
	"time"

	"gatepost/webui/foreign"
	"gatepost/webui/words"
)

// fact is one line of the technical details.
type fact struct {
	Name  string
	Value words.Text
}

// Bounds of what the technical details list.
const (
	maxNames  = 20 // names of a certificate or policy
	nameRunes = 80 // of one name in a list
)

// factList collects facts and leaves out those without a value.
type factList struct {
	voice words.Voice
	list  []fact
}

func (f *factList) add(key string, value words.Text) {
	if value.String() != "" {
		f.list = append(f.list, fact{Name: text(f.voice, key).String(), Value: value})
	}
}

// own adds words of the mail machine, apart from each other.
func (f *factList) own(key string, parts ...string) {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, foreign.Text(p).String())
		}
	}
	f.add(key, words.Text{{Text: strings.Join(out, " · ")}})
}

// strange adds a stranger's text.
func (f *factList) strange(key string, t foreign.Text) {
	f.add(key, words.Text{{Text: t.String(), Foreign: true}})
}

// names adds a stranger's list.
func (f *factList) names(key string, list []foreign.Text) {
	var shown []string
	for i, p := range list {
		if i == maxNames {
			shown = append(shown, "+"+strconv.Itoa(len(list)-i))
			break
		}
		if p != "" {
			shown = append(shown, p.Cut(nameRunes))
		}
	}
	f.add(key, words.Text{{Text: strings.Join(shown, ", "), Foreign: true}})
}

// at adds a time to the second.
func (f *factList) at(key string, t time.Time) {
	if !t.IsZero() {
		f.add(key, words.Text{{Text: utc(t), Time: t}})
	}
}

func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// reply adds what a server said.
func (f *factList) reply(code int, enhanced, reply foreign.Text) {
	if enhanced != "" && !strings.HasPrefix(string(reply), string(enhanced)) {
		reply = enhanced + " " + reply
	}
	if code != 0 {
		reply = foreign.Text(strconv.Itoa(code)) + " " + reply
	}
	f.strange("tech.reply", foreign.Text(strings.TrimSpace(string(reply))))
}

// policy adds the rules by which an attempt went, with their age at that time.
func (f *factList) policy(a Attempt) {
	f.own("tech.policy", a.PolicyMode)
	f.strange("tech.policy-id", a.PolicyID)
	f.names("tech.policy-mx", a.PolicyMX)
	f.at("tech.policy-read", a.PolicyFetched)
	if !a.PolicyFetched.IsZero() && a.Time.After(a.PolicyFetched) {
		f.own("tech.policy-age", span(a.Time.Sub(a.PolicyFetched)))
	}
	f.at("tech.policy-end", a.PolicyExpires)
	f.own("tech.policy-note", a.PolicyNote)
}

// span writes a length of time in one unit, with the symbols of the SI.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 2*time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h"
	}
	return strconv.Itoa(int(d.Hours())/24) + " d"
}

// technical lists the evidence of a message's last attempt, for a consultant.
func technical(voice words.Voice, m Message) []fact {
	a, f := m.Last, factList{voice: voice}
	f.at("tech.attempt", a.Time)
	f.own("tech.reason", a.Outcome, a.Reason)
	f.own("tech.rule", a.Rule)
	f.strange("tech.mx", a.MX)
	f.strange("tech.addr", a.Addr)
	if a.MXTried > 0 {
		f.own("tech.tried", strconv.Itoa(a.MXTried))
	}
	f.reply(a.Code, a.Enhanced, a.Reply)
	f.strange("tech.detail", a.Detail)
	f.own("tech.tls", a.TLSVersion, a.Cipher)
	f.own("tech.protection", a.Protection)
	f.names("tech.cert-names", a.CertNames)
	f.strange("tech.cert-issuer", a.CertIssuer)
	f.at("tech.cert-end", a.CertNotAfter)
	f.policy(a)
	f.own("tech.id", m.ID)
	return f.list
}
