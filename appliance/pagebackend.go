package appliance

import (
	"context"
	"fmt"

	"gatepost/appliance/api"
	"gatepost/appliance/control"
	"gatepost/appliance/health"
	"gatepost/relay/verdict"
	"gatepost/webui"
	"gatepost/webui/foreign"
)

// pageBackend answers the page from the relay's API and the state that PID 1
// tells. It translates and decides nothing: health is judged by PID 1.
type pageBackend struct {
	api *api.Client
	box *latestBox
}

// listLimit bounds what the page groups; a longer queue is shown in part, the
// oldest first. pageLimit is how much of it is asked for at a time.
const (
	listLimit = 20000
	pageLimit = 1000
)

// Home implements webui.Backend.
func (p pageBackend) Home(ctx context.Context) (webui.Home, error) {
	b := p.box.get()
	h := webui.Home{
		Hostname: b.Hostname,
		Level:    pageLevel(b.Health.Level),
		Light:    b.Light,
		Box: &webui.Box{
			Version: b.Version, Started: b.Booted, ClockTrusted: b.Clock.Trusted,
			DiskPercent: -1, Address: firstAddress(b),
		},
	}
	if b.Storage.State == control.StorageOK {
		h.Box.DiskPercent = b.Storage.UsedPercent()
	}
	for _, pr := range b.Health.Problems {
		h.Problems = append(h.Problems, webui.Problem{ID: pr.ID, Level: pageLevel(pr.Level), Params: pr.Params})
	}
	s, err := p.api.Status(ctx)
	if err != nil {
		return h, nil // PID 1 says why; the parts about mail are not known
	}
	h.Traffic = &webui.Traffic{LastIn: s.LastIn, LastOut: s.LastOut, InToday: s.Today.Accepted, OutToday: s.Today.Delivered}
	if spoolRead(s) {
		h.Queue = &webui.Queue{Held: s.Held, Waiting: s.Waiting, Oldest: s.OldestTry}
	}
	h.Protection = &webui.Protection{Verified: s.Today.Verified, Encrypted: s.Today.Encrypted, Clear: s.Today.Clear}
	return h, nil
}

func firstAddress(b control.Box) string {
	if len(b.Network.Addresses) == 0 {
		return ""
	}
	return b.Network.Addresses[0].Addr().String()
}

// pageLevel: being busy with the start is not a fault that needs a person.
func pageLevel(l health.Level) webui.Level {
	switch l {
	case health.Fine:
		return webui.LevelFine
	case health.Look, health.Busy:
		return webui.LevelLook
	}
	return webui.LevelBroken
}

// spoolRead reports whether the relay knows what waits. Without its disk it
// counts nothing, which must not be told as "nothing waits".
func spoolRead(s api.Status) bool { return s.Spool.State != "missing" && s.Spool.State != "failed" }

// Waiting implements webui.Backend.
func (p pageBackend) Waiting(ctx context.Context) ([]webui.Message, error) {
	s, err := p.api.Status(ctx)
	if err != nil {
		return nil, err
	}
	if !spoolRead(s) {
		return nil, fmt.Errorf("the relay has no mail storage: %s", s.Spool.Text)
	}
	var out []webui.Message
	for q := (api.MessageQuery{Limit: pageLimit}); len(out) < listLimit; {
		list, err := p.api.Messages(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, m := range list.Messages {
			out = append(out, pageMessages(m)...)
		}
		if q.After = list.Next; list.Next == "" {
			break
		}
	}
	return out, nil
}

// Retry implements webui.Backend.
func (p pageBackend) Retry(ctx context.Context, ids []string) (int, error) {
	r, err := p.api.Retry(ctx, api.Retry{IDs: ids})
	return r.Count, err
}

// pageAttempt puts a verdict into the page's form.
func pageAttempt(v verdict.Verdict) webui.Attempt {
	a := webui.Attempt{
		Time: v.Time, Outcome: string(v.Outcome), Reason: string(v.Reason), Rule: v.Rule,
		MX: foreign.Text(v.MX), Addr: foreign.Text(v.Addr),
		Protection: string(v.Protection), TLSVersion: v.TLSVersion, Cipher: v.Cipher,
		CertNames: foreignTexts(v.CertNames), CertIssuer: foreign.Text(v.CertIssuer), CertNotAfter: v.CertNotAfter,
		PolicyMode: v.PolicyMode, PolicyID: foreign.Text(v.PolicyID), PolicyFetched: v.PolicyFetched,
		PolicyExpires: v.PolicyExpires, PolicyMX: foreignTexts(v.PolicyMX), PolicyNote: string(v.PolicyNote),
		Code: v.Code, Enhanced: foreign.Text(v.Enhanced), Reply: foreign.Text(v.Reply),
		Detail: foreign.Text(v.Detail), MXTried: v.MXTried,
	}
	return a
}

func foreignTexts(list []string) []foreign.Text {
	out := make([]foreign.Text, len(list))
	for i, s := range list {
		out[i] = foreign.Text(s)
	}
	return out
}
