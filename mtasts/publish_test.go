package mtasts

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestPolicyID(t *testing.T) {
	a, b := PolicyID([]byte(goodPolicy)), PolicyID([]byte(goodPolicy+" "))
	if !isRecordID(a) || len(a) != 32 || a == b || a != PolicyID([]byte(goodPolicy)) {
		t.Errorf("got %s and %s", a, b)
	}
}

// TestServe: what the publisher answers to whom (Sections 3.3, 8.2).
func TestServe(t *testing.T) {
	p, err := NewPublisher(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	other := policyText("testing", "86400")
	for name, body := range map[string]string{"Good.example.": goodPolicy, "other.example": other} {
		if _, err := p.Publish(name, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		method, host, path string
		status             int
		body               string
	}{
		{"GET", "mta-sts.good.example", WellKnownPath, 200, goodPolicy},
		{"GET", "MTA-STS.Good.Example:443", WellKnownPath, 200, goodPolicy},
		{"GET", "mta-sts.good.example.", WellKnownPath, 200, goodPolicy},
		{"GET", "mta-sts.other.example", WellKnownPath, 200, other},
		{"HEAD", "mta-sts.good.example", WellKnownPath, 200, ""},
		{"GET", "mta-sts.good.example", WellKnownPath + "?a=b", 200, goodPolicy},
		{"POST", "mta-sts.good.example", WellKnownPath, 405, ""},
		{"GET", "mta-sts.good.example", "/", 404, ""},
		{"GET", "mta-sts.good.example", WellKnownPath + "/", 404, ""},
		{"GET", "mta-sts.good.example", "//.well-known/mta-sts.txt", 404, ""},
		{"GET", "good.example", WellKnownPath, 404, ""},
		{"GET", "mta-sts.mta-sts.good.example", WellKnownPath, 404, ""},
		{"GET", "mta-sts.", WellKnownPath, 404, ""},
		{"GET", "192.0.2.1", WellKnownPath, 404, ""},
		{"GET", "", WellKnownPath, 404, ""},
	} {
		r := httptest.NewRequest(test.method, "https://x"+test.path, nil)
		r.Host = test.host
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		if w.Code != test.status || w.Body.String() != test.body {
			t.Errorf("%s %s%s: got %d %q, want %d %q", test.method, test.host, test.path, w.Code, w.Body, test.status, test.body)
		}
		if w.Code == 200 && (w.Header().Get("Content-Type") != "text/plain" || w.Header().Get("Location") != "" ||
			w.Header().Get("Cache-Control") != "" ||
			test.method == http.MethodGet && w.Header().Get("Content-Length") != fmt.Sprint(len(test.body))) {
			t.Errorf("%s: header %v", test.host, w.Header())
		}
	}
}

// TestServedIsFetched: what the publisher serves, the fetcher takes.
func TestServedIsFetched(t *testing.T) {
	h := newPolicyHost(t)
	p, _ := NewPublisher(nil, nil)
	pub, err := p.Publish(domain, []byte(goodPolicy))
	if err != nil {
		t.Fatal(err)
	}
	h.handler = p
	got, err := h.fetcher().Fetch(t.Context(), domain)
	if err != nil || got.Body != goodPolicy {
		t.Errorf("got %q, %v", got.Body, err)
	}
	if r, err := ParseRecord([]string{pub.Record()}); err != nil || r.ID != pub.ID {
		t.Errorf("%q: got %v, %v", pub.Record(), r, err)
	}
}

// TestOptOut: mode none is served until the longest max_age ever served has
// passed (Section 8.3), over restarts too.
func TestOptOut(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	p, _ := NewPublisher(nil, clock)
	if _, err := p.OptOut(domain); !errors.Is(err, ErrNotPublished) {
		t.Errorf("got %v, want ErrNotPublished", err)
	}
	if err := p.Withdraw(domain); !errors.Is(err, ErrNotPublished) {
		t.Errorf("got %v, want ErrNotPublished", err)
	}
	first, _ := p.Publish(domain, []byte(policyText("enforce", "604800")))
	second, _ := p.Publish(domain, []byte(policyText("enforce", "86400")))
	if first.ID == second.ID || second.Longest != 7*24*time.Hour {
		t.Errorf("got %+v", second)
	}
	if _, err := p.Publish(domain, []byte("mode: none\n")); !errors.Is(err, ErrPolicySyntax) {
		t.Errorf("got %v, want ErrPolicySyntax", err)
	}
	if err := p.Withdraw(domain); !errors.Is(err, ErrTooEarly) {
		t.Errorf("before OptOut: got %v, want ErrTooEarly", err)
	}
	out, err := p.OptOut(domain)
	if err != nil || out.KeepUntil != now.Add(7*24*time.Hour) {
		t.Fatalf("got %+v, %v", out, err)
	}
	if policy, err := ParsePolicy([]byte(out.Body)); err != nil || policy.Mode != None || policy.MaxAge != 24*time.Hour {
		t.Errorf("it serves %q", out.Body)
	}
	now = now.Add(3 * 24 * time.Hour)
	if again, _ := p.OptOut(domain); again != out {
		t.Errorf("a second OptOut: got %+v, want %+v", again, out)
	}

	saved, err := json.Marshal(p.Publications())
	if err != nil {
		t.Fatal(err)
	}
	var list []Publication
	if err := json.Unmarshal(saved, &list); err != nil {
		t.Fatal(err)
	}
	if p, err = NewPublisher(list, clock); err != nil {
		t.Fatal(err)
	}
	now = now.Add(4*24*time.Hour - time.Second)
	if err := p.Withdraw(domain); !errors.Is(err, ErrTooEarly) {
		t.Errorf("a second too early: got %v, want ErrTooEarly", err)
	}
	now = now.Add(time.Second)
	if err := p.Withdraw(domain); err != nil {
		t.Error(err)
	}
	if len(p.Publications()) != 0 {
		t.Errorf("got %v, want nothing", p.Publications())
	}
	// Publishing again after OptOut takes it back.
	_, _ = p.Publish(domain, []byte(goodPolicy))
	_, _ = p.OptOut(domain)
	if back, _ := p.Publish(domain, []byte(goodPolicy)); !back.KeepUntil.IsZero() {
		t.Errorf("got %+v", back)
	}
}

func TestPublisherErrors(t *testing.T) {
	if _, err := NewPublisher([]Publication{{Domain: "a..b", Body: goodPolicy}}, nil); !errors.Is(err, ErrDomain) {
		t.Errorf("got %v, want ErrDomain", err)
	}
	if _, err := NewPublisher([]Publication{{Domain: domain, Body: "x"}}, nil); !errors.Is(err, ErrPolicySyntax) {
		t.Errorf("got %v, want ErrPolicySyntax", err)
	}
	p, err := NewPublisher([]Publication{{Domain: "b.example", Body: goodPolicy}, {Domain: "a.example", Body: goodPolicy}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if list := p.Publications(); len(list) != 2 || list[0].Domain != "a.example" || list[0].ID != PolicyID([]byte(goodPolicy)) {
		t.Errorf("got %+v", list)
	}
	long := goodPolicy + "x: " + strings.Repeat("a", MaxPolicySize)
	if _, err := p.Publish("a.example", []byte(long)); !errors.Is(err, ErrPolicySyntax) {
		t.Errorf("a policy that is too long: got %v, want ErrPolicySyntax", err)
	}
	_, err1 := p.Publish("a..b", []byte(goodPolicy))
	_, err2 := p.OptOut("a..b")
	if err3 := p.Withdraw("a..b"); !errors.Is(err1, ErrDomain) || !errors.Is(err2, ErrDomain) || !errors.Is(err3, ErrDomain) {
		t.Errorf("got %v, %v, %v, want ErrDomain", err1, err2, err3)
	}
}

// TestPlanChange: the policy before the record, the record before the wait,
// and no MX host that a sender would refuse (Section 8.1).
func TestPlanChange(t *testing.T) {
	policy := func(mode string, mx ...string) string {
		return "version: STSv1\nmode: " + mode + "\nmax_age: 86400\nmx: " + strings.Join(mx, "\nmx: ") + "\n"
	}
	for _, test := range []struct {
		name, from, to string
		want           string
	}{
		{"first", "", policy("testing", "a.example"), "serve-policy verify-policy set-record"},
		{"same", policy("enforce", "a.example"), policy("enforce", "a.example"), ""},
		{"to enforce", policy("testing", "a.example"), policy("enforce", "A.example"), "serve-policy verify-policy set-record wait"},
		{
			"add a host", policy("enforce", "a.example"), policy("enforce", "a.example", "b.example"),
			"serve-policy verify-policy set-record wait add-mx[b.example]",
		},
		{
			"remove a host", policy("enforce", "a.example", "b.example"), policy("enforce", "a.example"),
			"remove-mx[b.example] serve-policy verify-policy set-record wait",
		},
		{
			"replace a host", policy("enforce", "a.example"), policy("enforce", "b.example"),
			"remove-mx[a.example] serve-policy verify-policy set-record wait add-mx[b.example]",
		},
		{
			"replace a host while testing", policy("testing", "a.example"), policy("testing", "b.example"),
			"serve-policy verify-policy set-record wait",
		},
	} {
		steps, err := PlanChange([]byte(test.from), []byte(test.to), time.Hour)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		var got []string
		for _, s := range steps {
			word := string(s.Action)
			if s.Hosts != nil {
				word += fmt.Sprint(s.Hosts)
			}
			got = append(got, word)
			if s.Why == "" || (s.Action == SetRecord) != (s.Record != "") || (s.Action == Wait) != (s.Duration == time.Hour) {
				t.Errorf("%s: got %+v", test.name, s)
			}
			if s.Action == SetRecord && !strings.Contains(s.Record, PolicyID([]byte(test.to))) {
				t.Errorf("%s: record %q", test.name, s.Record)
			}
		}
		if got := strings.Join(got, " "); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	for _, bad := range [][2]string{{"x", goodPolicy}, {goodPolicy, "x"}, {"", ""}} {
		if _, err := PlanChange([]byte(bad[0]), []byte(bad[1]), 0); !errors.Is(err, ErrPolicySyntax) {
			t.Errorf("%q: got %v, want ErrPolicySyntax", bad, err)
		}
	}
}
