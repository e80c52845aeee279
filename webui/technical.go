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

// maxNames bounds how many names of a certificate or policy are listed.
const maxNames = 20

// technical lists the evidence of a message's last attempt, for a consultant.
func technical(voice words.Voice, m Message) []fact {
	a := m.Last
	var facts []fact
	add := func(key string, value words.Text) {
		if value.String() != "" {
			facts = append(facts, fact{Name: text(voice, key).String(), Value: value})
		}
	}
	own := func(s string) words.Text { return words.Text{{Text: foreign.Text(s).String()}} }
	strange := func(parts ...foreign.Text) words.Text {
		var shown []string
		for i, p := range parts {
			if i == maxNames {
				shown = append(shown, "+"+strconv.Itoa(len(parts)-i))
				break
			}
			if p != "" {
				shown = append(shown, p.String())
			}
		}
		return words.Text{{Text: strings.Join(shown, ", "), Foreign: true}}
	}
	at := func(t time.Time) words.Text {
		if t.IsZero() {
			return nil
		}
		return words.Text{{Text: t.UTC().Format("2006-01-02 15:04:05 UTC"), Time: t}}
	}
	join := func(parts ...string) string {
		var out []string
		for _, p := range parts {
			if p != "" {
				out = append(out, p)
			}
		}
		return strings.Join(out, " · ")
	}

	add("tech.attempt", at(a.Time))
	add("tech.reason", own(join(a.Outcome, a.Reason)))
	add("tech.rule", own(a.Rule))
	add("tech.mx", strange(a.MX))
	add("tech.addr", strange(a.Addr))
	if a.MXTried > 0 {
		add("tech.tried", own(strconv.Itoa(a.MXTried)))
	}
	reply := a.Reply
	if a.Enhanced != "" && !strings.HasPrefix(string(reply), string(a.Enhanced)) {
		reply = a.Enhanced + " " + reply
	}
	if a.Code != 0 {
		reply = foreign.Text(strconv.Itoa(a.Code)) + " " + reply
	}
	add("tech.reply", strange(foreign.Text(strings.TrimSpace(string(reply)))))
	add("tech.detail", strange(a.Detail))
	add("tech.tls", own(join(a.TLSVersion, a.Cipher)))
	add("tech.protection", own(a.Protection))
	add("tech.cert-names", strange(a.CertNames...))
	add("tech.cert-issuer", strange(a.CertIssuer))
	add("tech.cert-end", at(a.CertNotAfter))
	add("tech.policy", own(a.PolicyMode))
	add("tech.policy-id", strange(a.PolicyID))
	add("tech.policy-mx", strange(a.PolicyMX...))
	add("tech.policy-read", at(a.PolicyFetched))
	add("tech.policy-end", at(a.PolicyExpires))
	add("tech.policy-note", own(a.PolicyNote))
	add("tech.id", own(m.ID))
	return facts
}
