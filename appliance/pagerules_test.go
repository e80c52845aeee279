package appliance

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"gatepost/appliance/api"
	"gatepost/relay/verdict"
	"gatepost/webui"
	"gatepost/webui/foreign"
)

// rulesEngine is a relay with the saved policies of a.example and b.example.
type rulesEngine struct{ api.Engine }

func (rulesEngine) Policies() []api.Policy {
	return []api.Policy{
		{Domain: "a.example", Mode: "enforce", MX: []string{"mx.a.example"}, ID: "1", MaxAge: 60, Fetched: pageTime, Expires: pageTime, Used: pageTime, RefreshAt: pageTime},
		{Domain: "b.example", Mode: "none", Ended: true, Trouble: "sts-policy-invalid", Detail: "no mode"},
	}
}

func (e rulesEngine) Policy(domain string) (api.Policy, bool) {
	p := e.Policies()[0]
	p.Body, p.SeenID = "version: STSv1", "2"
	p.Host = &api.PolicyHost{Addr: "192.0.2.1:443", TLSVersion: "TLS 1.3", Cipher: "c", CertNames: []string{"n"}, CertIssuer: "R11", CertNotAfter: pageTime}
	return p, domain == p.Domain
}

func (rulesEngine) RefreshPolicy(_ context.Context, domain string) (api.PolicyAnswer, error) {
	if domain == "down.example" {
		return api.PolicyAnswer{}, errors.New("no network")
	}
	return api.PolicyAnswer{Domain: domain, Held: true, Changed: true, Trouble: "sts-policy-fetch-error"}, nil
}

func (rulesEngine) Check(_ context.Context, domain string) (api.Check, error) {
	return api.Check{Domain: domain, Verdict: verdict.Verdict{
		Domain: domain, Outcome: verdict.Delivered, MX: "mx.a.example", Evidence: &verdict.Evidence{Route: verdict.RouteMX, Hosts: []verdict.Host{{MX: "mx.a.example"}}},
	}}, nil
}

// The saved rules reach the page in its terms, nothing of them is left out.
func TestPageRules(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- api.Serve(ctx, ln, rulesEngine{}, slog.New(slog.DiscardHandler)) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	p := pageRules{api: api.NewClient(path)}
	check := func(name string, got any, err error, want any) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, want)
		}
	}
	a := webui.Rules{
		Domain: "a.example", Mode: "enforce", MX: []foreign.Text{"mx.a.example"}, ID: "1", MaxAge: time.Minute,
		Read: pageTime, Expires: pageTime, Used: pageTime, Next: pageTime,
	}
	b := webui.Rules{Domain: "b.example", Mode: "none", MX: []foreign.Text{}, Ended: true, Trouble: "sts-policy-invalid", Detail: "no mode"}
	list, err := p.Rules(ctx, webui.RulesQuery{Limit: 1})
	check("a page", list, err, webui.RulesPage{Total: 2, Rules: []webui.Rules{a}, Next: "a.example"})
	list, err = p.Rules(ctx, webui.RulesQuery{Limit: 10, After: "a.example", Trouble: true, Part: "exam"})
	check("the rest", list, err, webui.RulesPage{Total: 2, Rules: []webui.Rules{b}})
	a.Body, a.SeenID, a.Addr, a.TLSVersion, a.Cipher = "version: STSv1", "2", "192.0.2.1:443", "TLS 1.3", "c"
	a.CertNames, a.CertIssuer, a.CertNotAfter = []foreign.Text{"n"}, "R11", pageTime
	one, err := p.RulesOf(ctx, "a.example")
	check("one", one, err, a)
	if _, err := p.RulesOf(ctx, "c.example"); !errors.Is(err, webui.ErrGone) {
		t.Errorf("unknown: got %v", err)
	}
	got, err := p.Reread(ctx, "a.example")
	check("read again", got, err, webui.Reread{Held: true, Changed: true, Trouble: "sts-policy-fetch-error"})
	tried, err := p.Check(ctx, "a.example")
	check("a check", tried, err, webui.Checked{
		Domain: "a.example", Attempt: webui.Attempt{Outcome: "delivered", MX: "mx.a.example", CertNames: []foreign.Text{}, PolicyMX: []foreign.Text{}},
		Evidence: &webui.Evidence{Route: "mx", Hosts: []webui.EvidenceHost{{MX: "mx.a.example"}}},
	})
	if _, err := p.Reread(ctx, "down.example"); err == nil {
		t.Error("down: got no error")
	}
}
