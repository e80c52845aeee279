package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"gatepost/appliance/api"
	"gatepost/appliance/speech"
	"gatepost/relay/verdict"
)

// clock is how a step of a message's way is dated.
const clock = "Mon 2 Jan 15:04:05"

// teller writes the way of a message as a story.
type teller struct {
	out  io.Writer
	say  speech.Speaker
	zone *time.Location
}

func (t teller) line(indent int, format string, args ...any) {
	fmt.Fprintf(t.out, "%s%s\n", strings.Repeat(" ", indent), fmt.Sprintf(format, args...))
}

// step is one attempt with all the recipients that it was for.
type step struct {
	api.Attempt
	rcpts []string
}

// steps puts attempts in the order of time, those of one moment that ended the
// same way together.
func steps(list []api.Attempt) []step {
	var out []step
	for _, a := range slices.Backward(list) {
		if n := len(out) - 1; n >= 0 && out[n].Time.Equal(a.Time) && out[n].Verdict.Domain == a.Verdict.Domain &&
			out[n].Verdict.Outcome == a.Verdict.Outcome && out[n].Verdict.Reason == a.Verdict.Reason && out[n].Verdict.Reply == a.Verdict.Reply {
			out[n].rcpts = append(out[n].rcpts, a.Rcpt)
			continue
		}
		out = append(out, step{a, []string{a.Rcpt}})
	}
	return out
}

// step tells one attempt with its evidence.
func (t teller) step(s step) {
	v := s.Verdict
	who := make([]string, len(s.rcpts))
	for i, r := range s.rcpts {
		who[i] = speech.Address(r)
	}
	t.line(2, "%s  try %d for %s", s.Time.In(t.zone).Format(clock), s.Tries, list(who, 5))
	const in = 6
	t.rules(in, v)
	if e := v.Evidence; e != nil {
		t.route(in, v, e)
		for _, h := range e.Hosts {
			t.host(in, h)
		}
	} else if v.MX != "" {
		t.host(in, verdict.Host{
			MX: v.MX, Addr: v.Addr, Protection: v.Protection, TLSVersion: v.TLSVersion, Cipher: v.Cipher,
			Code: v.Code, Enhanced: v.Enhanced, Reply: v.Reply, Detail: v.Detail, Outcome: v.Outcome,
		})
	}
	if v.Outcome == verdict.Delivered {
		t.line(in, "%s", upper(speech.Delivered(v)))
		return
	}
	said := t.say.Verdict(v, speech.About{Rcpt: s.Rcpt})
	t.line(in, "%s", said.Sentence)
	if v.Reason != "" || v.Rule != "" {
		t.line(in, "Reason: %s", both(string(v.Reason), v.Rule))
	}
}

// rules tells the saved policy that the attempt went by.
func (t teller) rules(in int, v verdict.Verdict) {
	if v.PolicyMode == "" {
		return
	}
	t.line(in, "rules of %s: %s; servers %s (id %s, read %s, good until %s)", cut(v.Domain, 60), modeWords(v.PolicyMode),
		list(foreigns(v.PolicyMX), 5), cut(v.PolicyID, 32), t.say.Time(v.PolicyFetched), t.say.Time(v.PolicyExpires))
	if v.PolicyNote != "" {
		t.line(in, "trouble with these rules: %s", v.PolicyNote)
	}
}

// route tells how the servers were found.
func (t teller) route(in int, v verdict.Verdict, e *verdict.Evidence) {
	switch e.Route {
	case verdict.RouteInside:
		t.line(in, "the settings say which server is inside for %s", cut(v.Domain, 60))
	case verdict.RouteSmartHost:
		t.line(in, "the settings say that all mail goes through one server")
	case verdict.RouteLiteral:
		t.line(in, "the address names the server itself")
	}
	d := e.DNS
	if d == nil {
		return
	}
	switch {
	case d.Error != "":
		t.line(in, "DNS: no answer about %s: %s", cut(v.Domain, 60), cut(d.Error, 200))
	case d.Null:
		t.line(in, "DNS: %s takes no mail (null MX)", cut(v.Domain, 60))
	case d.Implicit:
		t.line(in, "DNS: %s names no mail server, so it is its own (%s)", cut(v.Domain, 60), d.Security)
	default:
		hosts := make([]string, len(d.MX))
		for i, m := range d.MX {
			hosts[i] = fmt.Sprintf("%s (%d)", cut(m.Host, 60), m.Pref)
		}
		t.line(in, "DNS: mail for %s goes to %s (%s)", cut(v.Domain, 60), list(hosts, 10), d.Security)
	}
}

// host tells what one server showed and said.
func (t teller) host(in int, h verdict.Host) {
	took := ""
	switch {
	case h.Took >= time.Second:
		took = fmt.Sprintf(", %.1f s", h.Took.Seconds())
	case h.Took > 0:
		took = fmt.Sprintf(", %d ms", h.Took.Milliseconds())
	}
	reused := ""
	if h.Reused {
		reused = ", on an open connection"
	}
	t.line(in, "%s [%s]%s%s", orDash(cut(h.MX, 80)), orDash(cut(h.Addr, 45)), took, reused)
	in += 2
	if h.Pattern != "" {
		t.line(in, "listed in the rules as %s", cut(h.Pattern, 80))
	}
	switch h.Protection {
	case verdict.Clear:
		t.line(in, "without encryption")
	case verdict.Encrypted, verdict.Verified:
		checked := "certificate not checked"
		if h.Protection == verdict.Verified {
			checked = "certificate checked"
		}
		t.line(in, "%s %s, %s", h.TLSVersion, h.Cipher, checked)
	}
	for i, c := range h.Chain {
		what := "certificate"
		if i > 0 {
			what = "  signed by"
		}
		names := foreigns(c.Names)
		if len(names) == 0 {
			names = []string{cut(c.Subject, 80)}
		}
		t.line(in, "%s %s, issuer %s, %s to %s, SHA-256 %s", what, list(names, 5), orDash(cut(c.Issuer, 80)),
			date(c.NotBefore, t.zone), date(c.NotAfter, t.zone), orDash(cut(c.SHA256, 64)))
	}
	if h.Code != 0 {
		t.line(in, "answered: %s", reply(h.Code, h.Enhanced, h.Reply))
	}
	if h.Detail != "" {
		t.line(in, "detail: %s", cut(h.Detail, 300))
	}
	if h.Reason != "" {
		t.line(in, "so: %s, %s", h.Outcome, both(string(h.Reason), h.Rule))
	}
}

// reply is what a server said, on one line.
func reply(code int, enhanced, text string) string {
	if enhanced != "" && !strings.HasPrefix(text, enhanced) {
		text = enhanced + " " + text
	}
	return fmt.Sprintf("%d %s", code, cut(strings.ReplaceAll(strings.TrimSpace(text), "\n", " / "), 300))
}

// both joins a reason and its rule.
func both(reason, rule string) string {
	return strings.Trim(reason+" ("+rule+")", " ()") + map[bool]string{true: ")"}[reason != "" && rule != ""]
}

// list joins at most n parts and counts the rest.
func list(parts []string, n int) string {
	if len(parts) == 0 {
		return "-"
	}
	if len(parts) > n {
		return strings.Join(parts[:n], ", ") + fmt.Sprintf(" +%d", len(parts)-n)
	}
	return strings.Join(parts, ", ")
}

func foreigns(texts []string) []string {
	out := make([]string, len(texts))
	for i, s := range texts {
		out[i] = cut(s, 80)
	}
	return out
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func date(t time.Time, zone *time.Location) string {
	if t.IsZero() {
		return "?"
	}
	return t.In(zone).Format("2 Jan 2006")
}

// modeWords says what a policy's mode means.
func modeWords(mode string) string {
	switch mode {
	case "enforce":
		return "must be encrypted"
	case "testing":
		return "watch only"
	case "none":
		return "no demands"
	}
	return cut(mode, 20)
}
