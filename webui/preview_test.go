package webui

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatepost/webui/foreign"
)

// TestPreview writes the pages as files, to be looked at in a browser:
//
//	GATEPOST_PREVIEW=build/preview go test ./webui -run Preview
//
// The folder is made in the working directory of the test when it is relative.
func TestPreview(t *testing.T) {
	out := os.Getenv("GATEPOST_PREVIEW")
	if out == "" {
		t.Skip("GATEPOST_PREVIEW names no folder")
	}
	if err := os.MkdirAll(filepath.Join(out, "assets"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := newSite(t, nil)
	b := s.browser()
	s.srv.cfg.Zone, _ = time.LoadLocation("Europe/Berlin")
	german := func(r *http.Request) { r.Header.Set("Accept-Language", "de") }
	save := func(name, body string) {
		t.Helper()
		body = strings.ReplaceAll(body, `"/assets/`, `"assets/`)
		if err := os.WriteFile(filepath.Join(out, name+".html"), []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page := func(name, path string, edit func(*http.Request)) {
		t.Helper()
		_, body := b.do("GET", path, nil, edit)
		save(name, body)
	}
	for name, f := range s.srv.assets.byName {
		if err := os.WriteFile(filepath.Join(out, "assets", name), f.plain, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	res, _ := b.get("/claim")
	if err := os.WriteFile(filepath.Join(out, "csp.txt"), []byte(res.Header.Get("Content-Security-Policy")), 0o644); err != nil {
		t.Fatal(err)
	}
	page("claim", "/claim", nil)
	page("claim-de", "/claim", german)
	_, body := b.post("/claim", "code", "wrong")
	save("claim-wrong", body)
	b.post("/claim", "code", s.code)
	page("owner", "/claim/owner", nil)
	_, body = b.post("/claim/owner", "name", "Anna", "password", "short", "repeat", "short")
	save("owner-wrong", body)
	s.claim(b)
	page("home", "/", nil)
	page("home-de", "/", german)
	page("waiting", "/waiting", nil)
	page("waiting-de", "/waiting", german)
	b.post("/waiting/retry", "id", "m1")
	page("waiting-flash", "/waiting", nil)
	page("waiting-one", "/waiting?group="+groupID(s.back.list[0]), nil)
	page("confirm-return", "/waiting/return?group="+groupID(s.back.list[0]), nil)
	page("confirm-return-de", "/waiting/return?group="+groupID(s.back.list[0]), german)
	page("confirm-delete", "/waiting/delete?id=m5", nil)
	page("message", "/message/m1", nil)
	page("message-de", "/message/m1", german)
	page("original", "/message/m1/original", nil)
	page("system", "/system", nil)
	page("system-de", "/system", german)
	_, body = b.post("/system/check", "text", "version = 1\n[network]\n")
	save("system-plan", body)
	_, body = b.post("/system/check", "text", "version = 1\n[relay]\nbogus = 1\n")
	save("system-faults", body)
	page("system-erase", "/system/end/factory-reset", nil)
	s.system.now.Trial = &SettingsTrial{ID: "t1", Left: 3 * time.Minute, Page: "https://192.168.1.30/", Changes: []SettingChange{{Key: "network.mode", Old: "dhcp", New: "static"}}}
	page("system-trial", "/system", nil)
	page("others", "/others", nil)
	page("others-de", "/others", german)
	page("rules", "/others/shop.example", nil)
	page("check", "/check", nil)
	mxHost := func(mx, outcome, protection string) EvidenceHost {
		return EvidenceHost{Time: tuesday, MX: foreign.Text(mx), Addr: "198.51.100.4", Outcome: outcome, Protection: protection, TLSVersion: "TLS 1.3", Took: 310 * time.Millisecond}
	}
	s.rules.result = Checked{
		Attempt: Attempt{Time: tuesday, Outcome: "delivered", MX: "mx1.shop.example", Protection: "verified", PolicyMode: "enforce", PolicyMX: []foreign.Text{"mx1.shop.example", "*.mail.shop.example"}},
		Evidence: &Evidence{
			Route: "mx", DNS: &EvidenceDNS{MX: []EvidenceMX{{Host: "mx1.shop.example", Pref: 10}, {Host: "a.mail.shop.example", Pref: 20}}, Security: "unsigned"},
			Hosts: []EvidenceHost{mxHost("mx1.shop.example", "delivered", "verified"), mxHost("a.mail.shop.example", "held", "encrypted")},
		},
	}
	_, body = b.post("/check", "domain", "shop.example")
	save("check-done", body)
	b.post("/waiting/pause", "group", groupID(s.back.list[3]))
	b.post("/waiting/return", "ids", "m1,m2,m3", "text", "Sorry.")
	s.queue.lost = []LostMail{{Time: tuesday.Add(-3 * time.Hour), ID: "l1", To: "old@gone.example", Subject: "Undelivered: Invoice 2208"}}
	s.queue.pauses = append(s.queue.pauses, PauseRow{Target{Domain: "old.example"}, Paused{What: "domain", By: "Anna", Since: tuesday.Add(-60 * time.Hour)}})
	page("waiting-stopped", "/waiting", nil)
	page("waiting-stopped-de", "/waiting", german)
	b.post("/waiting/pause", "all", "yes")
	page("waiting-paused", "/waiting", nil)
	page("home-paused", "/", nil)
	b.post("/waiting/undo", "action", "a1")
	s.queue.pauses = nil
	s.back.list = sampleWaiting()
	s.queue.details = map[string]Detail{"g1": {History: []AttemptRow{
		{To: "anna@good.example", Attempt: Attempt{Time: tuesday.Add(-time.Hour), Outcome: "delivered", MX: "mx.good.example", Protection: "verified", PolicyMode: "enforce", PolicyFetched: tuesday.Add(-50 * time.Hour)}},
		{To: "anna@good.example", Attempt: Attempt{Time: tuesday.Add(-2 * time.Hour), Outcome: "deferred", Reason: "greylisted", MX: "mx.good.example", Code: 451, Reply: "Greylisted"}},
	}}}
	page("message-gone", "/message/g1", nil)
	s.queue.found = Found{Waiting: s.back.list[:1], Next: 4, Past: []PastRow{
		{ID: "g1", From: "bob@office.example", To: "anna@good.example", Attempt: s.queue.details["g1"].History[0].Attempt},
		{ID: "g1", From: "bob@office.example", To: "anna@good.example", Attempt: s.queue.details["g1"].History[1].Attempt},
	}}
	page("find", "/find?q=anna", nil)
	page("error", "/nothing", nil)
	s.back.list = nil
	page("waiting-empty", "/waiting", nil)
	h := sampleHome()
	h.Problems, h.Level, h.Light, h.Queue.Held, h.Queue.Waiting = nil, LevelFine, "healthy", 0, 0
	s.back.home = h
	page("home-fine", "/", nil)
	h.Problems = []Problem{
		{ID: "no-network", Level: LevelBroken},
		{ID: "config-broken-last-good", Level: LevelLook, Params: map[string]string{"error": `config.toml: line 12: unknown key "relays" (did you mean "relay"?)`}},
		{ID: "storage-nearly-full", Level: LevelLook, Params: map[string]string{"percent": "88"}},
	}
	h.Level, h.Light, h.Protection = LevelBroken, "no-network", &Protection{}
	h.Box.ClockTrusted = false
	s.back.home = h
	page("home-broken", "/", nil)
	b.post("/logout")
	page("login", "/login", nil)
	_, body = b.post("/login", "name", "Anna", "password", "nope")
	save("login-wrong", body)
	lame := newSite(t, func(c *Config) { c.Data = nil })
	_, body = lame.browser().get("/")
	save("status", body)
}
