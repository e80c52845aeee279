package webui

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"gatepost/webui/foreign"
)

// fakeRules is a RulesBackend over a list.
type fakeRules struct {
	mu     sync.Mutex
	list   []Rules // sorted by domain
	err    error
	answer Reread
	asked  []string // domains that were read again
	query  RulesQuery

	result  Checked
	checked []string
}

func (f *fakeRules) Rules(_ context.Context, q RulesQuery) (RulesPage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.query = q
	out := RulesPage{Total: len(f.list)}
	for _, r := range f.list {
		if string(r.Domain) <= q.After || !strings.Contains(string(r.Domain), q.Part) || q.Trouble && r.Trouble == "" {
			continue
		}
		if len(out.Rules) == q.Limit {
			out.Next = string(out.Rules[q.Limit-1].Domain)
			break
		}
		out.Rules = append(out.Rules, r)
	}
	return out, f.err
}

func (f *fakeRules) RulesOf(_ context.Context, domain string) (Rules, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return Rules{}, f.err
	}
	i := slices.IndexFunc(f.list, func(r Rules) bool { return string(r.Domain) == domain })
	if i < 0 {
		return Rules{}, ErrGone
	}
	return f.list[i], nil
}

func (f *fakeRules) Reread(_ context.Context, domain string) (Reread, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, domain)
	return f.answer, f.err
}

func (f *fakeRules) Check(_ context.Context, domain string) (Checked, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.checked = append(f.checked, domain)
	c := f.result
	if c.Domain == "" {
		c.Domain = foreign.Text(domain)
	}
	return c, f.err
}

// sampleRules are three domains: well, with a trouble, and ended.
func sampleRules() []Rules {
	at := func(d time.Duration) time.Time { return tuesday.Add(d) }
	return []Rules{
		{
			Domain: "gone.example", Mode: "enforce", MX: []foreign.Text{"mx.gone.example"}, ID: "2025", MaxAge: 7 * 24 * time.Hour,
			Read: at(-20 * 24 * time.Hour), Expires: at(-13 * 24 * time.Hour), Ended: true, Trouble: "sts-policy-fetch-error", Detail: "no route to host",
		},
		{
			Domain: "shop.example", Mode: "enforce", MX: []foreign.Text{"mx1.shop.example", "*.mail.shop.example"}, ID: "20260101000000Z", SeenID: "20261124000000Z",
			MaxAge: 14 * 24 * time.Hour, Read: at(-54 * time.Hour), Expires: at(12 * 24 * time.Hour), Used: at(-time.Hour), Next: at(12 * time.Hour),
			Trouble: "sts-policy-fetch-error", Detail: "connection refused",
			Body: "version: STSv1\r\nmode: enforce\r\nmx: mx1.shop.example\r\nmx: *.mail.shop.example\r\nmax_age: 1209600\r\n",
			Addr: "192.0.2.7:443", TLSVersion: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256", CertNames: []foreign.Text{"mta-sts.shop.example"},
			CertIssuer: "R11", CertNotAfter: at(60 * 24 * time.Hour),
		},
		{
			Domain: "well.example", Mode: "testing", MX: []foreign.Text{"mx.well.example"}, ID: "1", SeenID: "1", MaxAge: 24 * time.Hour,
			Read: at(-time.Hour), Expires: at(23 * time.Hour), Next: at(11 * time.Hour), Body: "version: STSv1\nmode: testing\n",
		},
	}
}
