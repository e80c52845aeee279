package deliver

import (
	"gatepost/relay/resolver"
	"gatepost/relay/verdict"
)

// seen is what a session has shown, for the evidence.
func (a *attempt) seen(w *way, s *session, reused bool) verdict.Host {
	return verdict.Host{Time: w.start, Pattern: w.pattern, Chain: s.chain, Reused: reused}
}

// witness writes down what came of one server. Where there are too many, the
// last place is that of the latest.
func (a *attempt) witness(v verdict.Verdict, h verdict.Host) {
	h.Took = a.d.cfg.Now().Sub(h.Time)
	h.MX, h.Addr = v.MX, v.Addr
	h.Protection, h.TLSVersion, h.Cipher = v.Protection, v.TLSVersion, v.Cipher
	h.Outcome, h.Reason, h.Rule = v.Outcome, v.Reason, v.Rule
	h.Code, h.Enhanced, h.Reply, h.Detail = v.Code, v.Enhanced, v.Reply, v.Detail
	if len(a.ev.Hosts) == verdict.MaxHosts {
		a.ev.Hosts[verdict.MaxHosts-1] = h
		return
	}
	a.ev.Hosts = append(a.ev.Hosts, h)
}

// witnessMX writes down the MX records in the order of their preference.
func (a *attempt) witnessMX(mxs []resolver.MX) {
	n := min(len(mxs), verdict.MaxMX)
	a.ev.DNS.MX = make([]verdict.MX, n)
	for i, m := range mxs[:n] {
		a.ev.DNS.MX[i] = verdict.MX{Host: cut(m.Host, maxName), Pref: m.Pref}
	}
	a.ev.DNS.More = len(mxs) - n
}
