package appliance

import (
	"context"
	"time"

	"gatepost/appliance/clock"
	"gatepost/appliance/control"
)

// publicServers are asked beside those of the network and of the settings:
// always before the time is trusted, and later only when those do not agree.
// They are addresses, for networks whose names cannot be looked up yet, of four
// operators who serve everyone: Cloudflare, Google, PTB and NIST.
func publicServers() []string {
	return []string{"162.159.200.1", "216.239.35.0", "192.53.103.108", "129.6.15.28"}
}

func (p *initProcess) startClock(life context.Context) {
	c := clock.New(clock.Config{
		Built: p.Built, Folder: p.system, Servers: p.timeServers, Query: clock.QueryNTP,
		Step: clock.SetSystemClock, Slew: clock.SlewSystemClock,
		Publish: p.clockChanged, Log: p.log,
	})
	p.state.setClockKick(c.Kick)
	p.keep(life, "clock", c.Run)
}

// timeServers are those of the network, those of the settings and the public
// ones together; nobody is asked without a network.
func (p *initProcess) timeServers() []clock.Server {
	n := p.state.network()
	if !n.Up() {
		return nil
	}
	var out []clock.Server
	for _, a := range n.NTP {
		out = append(out, clock.Server{Name: a.String()})
	}
	for _, name := range p.current().Clock.Servers {
		out = append(out, clock.Server{Name: name})
	}
	for _, a := range publicServers() {
		out = append(out, clock.Server{Name: a, Public: true})
	}
	return out
}

func (p *initProcess) clockChanged(s clock.State) {
	before := p.state.setClock(control.Clock{Trusted: s.Trusted, Source: s.Source, Note: s.Note})
	switch {
	case s.Trusted && !before.Trusted:
		note := ""
		if s.Note != "" {
			note = "; " + s.Note
		}
		p.say("clock: trusted %s UTC, from %s%s", time.Now().UTC().Format(time.DateTime), s.Source, note)
	case !s.Trusted && before.Trusted:
		p.say("clock: NOT TRUSTED ANY MORE: %s", s.Note)
	case s.Note != before.Note && s.Note != "":
		p.say("clock: %s", s.Note)
	}
}
