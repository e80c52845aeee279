package appliance

import (
	"context"
	"errors"
	"net/http"
	"time"

	"gatepost/appliance/api"
	"gatepost/webui"
	"gatepost/webui/foreign"
)

// pageRules shows the saved rules of other domains on the page, through the
// relay's API. It translates and decides nothing.
type pageRules struct{ api *api.Client }

// Rules implements webui.RulesBackend.
func (p pageRules) Rules(ctx context.Context, q webui.RulesQuery) (webui.RulesPage, error) {
	list, err := p.api.Policies(ctx, api.PolicyQuery{Domain: q.Part, Trouble: q.Trouble, After: q.After, Limit: q.Limit})
	out := webui.RulesPage{Total: list.Total, Next: list.Next}
	for _, one := range list.Policies {
		out.Rules = append(out.Rules, savedRules(one))
	}
	return out, pageError(err)
}

// RulesOf implements webui.RulesBackend.
func (p pageRules) RulesOf(ctx context.Context, domain string) (webui.Rules, error) {
	one, err := p.api.Policy(ctx, domain)
	return savedRules(one), pageError(err)
}

// Check implements webui.RulesBackend.
func (p pageRules) Check(ctx context.Context, domain string) (webui.Checked, error) {
	c, err := p.api.Check(ctx, domain)
	if refused := (*api.ResponseError)(nil); errors.As(err, &refused) && refused.Status == http.StatusBadRequest {
		return webui.Checked{}, webui.ErrBadDomain
	}
	if err != nil {
		return webui.Checked{}, err
	}
	evidence, err := pageEvidence(c.Verdict.Evidence)
	return webui.Checked{Domain: foreign.Text(c.Domain), Attempt: pageAttempt(c.Verdict), Evidence: evidence}, err
}

// Reread implements webui.RulesBackend.
func (p pageRules) Reread(ctx context.Context, domain string) (webui.Reread, error) {
	a, err := p.api.RefreshPolicy(ctx, domain)
	return webui.Reread{Held: a.Held, Changed: a.Changed, Trouble: a.Trouble}, pageError(err)
}

func savedRules(p api.Policy) webui.Rules {
	r := webui.Rules{
		Domain: foreign.Text(p.Domain), Mode: p.Mode, MX: foreignTexts(p.MX), ID: foreign.Text(p.ID),
		MaxAge: time.Duration(p.MaxAge) * time.Second, Read: p.Fetched, Expires: p.Expires, Ended: p.Ended,
		Used: p.Used, Next: p.RefreshAt, Trouble: p.Trouble, Detail: foreign.Text(p.Detail),
		SeenID: foreign.Text(p.SeenID), Body: foreign.Text(p.Body),
	}
	if h := p.Host; h != nil {
		r.Addr, r.TLSVersion, r.Cipher = foreign.Text(h.Addr), h.TLSVersion, h.Cipher
		r.CertNames, r.CertIssuer, r.CertNotAfter = foreignTexts(h.CertNames), foreign.Text(h.CertIssuer), h.CertNotAfter
	}
	return r
}
