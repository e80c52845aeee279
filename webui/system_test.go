package webui

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestSettingsAreCheckedFirst(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	_, body := b.get("/system")
	has(t, body, "System", "The settings as text", `hostname = "gate.office.example"`, "Check sum of the settings in force: ab12", "Waiting mail is not in the backup.")
	hasNot(t, body, "Apply", "Can you still see this page?")

	res, body := b.post("/system/check", "text", "version = 1\r\n\r\nbogus = 1\r\n")
	if res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("got %d, want 422", res.StatusCode)
	}
	has(t, body, "There is 1 fault in these settings. Nothing was changed.", `Line 3: unknown key "bogus"`, "bogus = 1")
	hasNot(t, body, "Apply")

	_, body = b.post("/system/check", "text", s.system.now.Text)
	has(t, body, "0 things change")
	hasNot(t, body, "Apply")

	_, body = b.post("/system/check", "text", "version = 1\n[network]\n")
	has(t, body, "1 thing changes", "network.address", "not set → 192.168.1.30/24", "Apply", "the box goes back by itself", "3 minutes")
	_, body = b.post("/system/check", "text", "version = 1\n[relay]\n")
	has(t, body, "1 thing changes", "Apply")
	hasNot(t, body, "3 minutes")
	if got := s.system.took(); got != "" {
		t.Errorf("a check did %s", got)
	}
}

func TestSettingsAreTriedWithThePassword(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	const text = "version = 1\n[network]\n"
	res, body := b.post("/system/try", "text", text, "password", "wrong")
	if res.StatusCode != http.StatusForbidden || s.system.took() != "" {
		t.Errorf("a wrong password: got %d", res.StatusCode)
	}
	has(t, body, "The password is not right.", "1 thing changes", "Apply")
	s.pass(time.Minute)
	res, _ = b.post("/system/try", "text", strings.ReplaceAll(text, "\n", "\r\n"), "within", "30", "password", goodPassword)
	if got, want := s.system.took(), "try 22 bytes within 30s by Anna at 127.0.0.1"; res.StatusCode != http.StatusSeeOther || got != want {
		t.Errorf("got %d, %s; want 303, %s", res.StatusCode, got, want)
	}
	_, body = b.get("/system")
	has(t, body, "Say in time that you can still see this page", "Back to the old settings in 180 seconds", "Can you still see this page?",
		"The page is then at https://192.168.1.30/", "Yes, keep them", "Go back now")

	// At the new address there is no session: the login leads to the question.
	other := s.browser()
	if res, _ := other.post("/login", "name", "Anna", "password", goodPassword); res.Header.Get("Location") != "/system" {
		t.Errorf("login: got %q, want /system", res.Header.Get("Location"))
	}
	other.post("/system/confirm", "trial", "t1")
	if got := s.system.took(); got != "confirm t1 by Anna" {
		t.Errorf("got %s", got)
	}
	_, body = other.get("/system")
	has(t, body, "The new settings are kept.")
	hasNot(t, body, "Can you still see this page?")

	b.post("/system/revert", "trial", "t1")
	if got := s.system.took(); got != "revert t1 by Anna" {
		t.Errorf("got %s", got)
	}
	s.system.err = &SystemError{Code: SystemNoTrial, Text: "over"}
	b.post("/system/confirm", "trial", "t0")
	_, body = b.get("/system")
	has(t, body, "The time was over: the old settings are in force again.")
	_, body = b.post("/system/try", "text", "version = 1\n[relay]\n", "password", goodPassword)
	has(t, body, "The time was over")
}

func TestFindMe(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	b.post("/system/find")
	if got := s.system.took(); got != "find me by Anna" {
		t.Errorf("got %s", got)
	}
	_, body := b.get("/system")
	has(t, body, "The lights of the box show for a minute which one it is.")
}

func TestSettingsThatCannotBeShown(t *testing.T) {
	s := newOwnedSite(t)
	s.system.now = Settings{}
	_, body := s.anna().get("/system")
	has(t, body, "The settings in force cannot be shown here.", "Show what changes…")
	s.system.now = Settings{Text: "version = 1\n", Use: "last-good"}
	_, body = s.anna().get("/system")
	has(t, body, "The settings on the disk have a fault.")
	s.system.now.Use = "default"
	_, body = s.anna().get("/system")
	has(t, body, "There are no settings yet")
}

func TestBackup(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	const words = "four quiet herons"
	for _, tc := range []struct{ passphrase, repeat, password, want string }{
		{words, words, "wrong", "The password is not right."},
		{words, words + "s", goodPassword, "The two passwords are not the same."},
		{"short", "short", goodPassword, "at least 12 characters"},
	} {
		s.pass(2 * time.Minute)
		res, body := b.post("/system/backup", "passphrase", tc.passphrase, "repeat", tc.repeat, "password", tc.password)
		if res.StatusCode < 400 || s.system.took() != "" {
			t.Errorf("%+v: got %d", tc, res.StatusCode)
		}
		has(t, body, tc.want)
	}
	s.pass(2 * time.Minute)
	res, body := b.post("/system/backup", "passphrase", words, "repeat", words, "password", goodPassword)
	if got := res.Header.Get("Content-Disposition"); !strings.HasPrefix(body, "age-encryption.org/v1") || !strings.Contains(got, `attachment; filename="gatepost-2026-11-24.age"`) {
		t.Errorf("got %q, %q", got, body)
	}
	if got := s.system.took(); got != "backup with 17 letters by Anna" {
		t.Errorf("got %s", got)
	}
}

// upload is the form with a file in it.
func (b *browser) upload(path, file string, pairs ...string) (*http.Response, string) {
	b.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	part, err := w.CreateFormFile("file", "gatepost.age")
	if err == nil {
		_, err = part.Write([]byte(file))
	}
	for i := 0; i < len(pairs) && err == nil; i += 2 {
		err = w.WriteField(pairs[i], pairs[i+1])
	}
	if err != nil {
		b.t.Fatal(err)
	}
	w.Close()
	return b.do("POST", path, nil, func(r *http.Request) {
		r.Header.Set("Content-Type", w.FormDataContentType())
		r.Body, r.ContentLength = io.NopCloser(&body), int64(body.Len())
	})
}

func TestRestore(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	res, body := b.upload("/system/restore", "a backup", "passphrase", "p", "password", "wrong")
	if res.StatusCode != http.StatusForbidden || s.system.took() != "" {
		t.Errorf("a wrong password: got %d", res.StatusCode)
	}
	has(t, body, "The password is not right.")
	s.pass(time.Minute)
	res, body = b.upload("/system/restore", "a backup", "passphrase", "p", "password", goodPassword)
	if got := s.system.took(); res.StatusCode != http.StatusOK || got != "restore 8 bytes with p by Anna" {
		t.Errorf("got %d, %s", res.StatusCode, got)
	}
	has(t, body, "The box starts again with the backup", "The backup of old.office.example, made 09:41, is taken over.")
	for _, tc := range []struct{ file, want string }{
		{"", "This file is not a backup"}, {strings.Repeat("x", maxRestore+1), "This file is not a backup"},
	} {
		res, body = b.upload("/system/restore", tc.file, "passphrase", "p", "password", goodPassword)
		if res.StatusCode != http.StatusUnprocessableEntity || s.system.took() != "" {
			t.Errorf("%d bytes: got %d", len(tc.file), res.StatusCode)
		}
		has(t, body, tc.want)
	}
	s.system.err = &SystemError{Code: SystemPassphrase, Text: "no"}
	_, body = b.upload("/system/restore", "a backup", "passphrase", "p", "password", goodPassword)
	has(t, body, "The words for the backup are not right.")
}

func TestEnds(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	for _, how := range Ends {
		s.pass(2 * time.Minute)
		_, body := b.get("/system/end/" + how)
		has(t, body, "Your password", "Leave it running")
		if lost := strings.Contains(visibleText(t, body), "7 messages still wait here and would be lost."); lost != (how == EndFactoryReset || how == EndEraseData) {
			t.Errorf("%s: mail that is lost is told: %v", how, lost)
		}
		if res, _ := b.post("/system/end/"+how, "password", "wrong"); res.StatusCode != http.StatusForbidden || s.system.took() != "" {
			t.Errorf("%s with a wrong password: got %d", how, res.StatusCode)
		}
		s.pass(2 * time.Minute)
		res, body := b.post("/system/end/"+how, "password", goodPassword)
		if got := s.system.took(); res.StatusCode != http.StatusOK || got != how+" by Anna" {
			t.Errorf("%s: got %d, %s", how, res.StatusCode, got)
		}
		has(t, body, "The box")
	}
	for _, how := range []string{"explode", "restart2"} {
		if res, _ := b.get("/system/end/" + how); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: got %d, want 404", how, res.StatusCode)
		}
		if res, _ := b.post("/system/end/"+how, "password", goodPassword); res.StatusCode != http.StatusNotFound || s.system.took() != "" {
			t.Errorf("%s: got %d, want 404", how, res.StatusCode)
		}
	}
	s.system.err = &SystemError{Code: "failed", Text: "this version cannot"}
	_, body := b.post("/system/end/erase-data", "password", goodPassword)
	has(t, body, "That did not work.", "this version cannot")
}

// The page speaks every language, and nothing in it is a stranger's HTML.
func TestSystemIsSafeInEveryLanguage(t *testing.T) {
	s := newOwnedSite(t)
	b := s.anna()
	german := header("Accept-Language", "de")
	change := []SettingChange{{Key: "k", Old: "o", New: "n"}}
	s.system.now = Settings{Text: "x", Hash: "h", Use: "file", Trial: &SettingsTrial{ID: "t", Left: time.Minute, Page: "p", Changes: change}}
	_, plain := b.get("/system")
	want := strings.Join(shape(t, plain), "\n")
	for _, p := range payloads() {
		change := []SettingChange{{Key: p, Old: "o" + p, New: "n" + p}}
		s.system.now = Settings{Text: "x" + p, Hash: "h" + p, Use: p, Trial: &SettingsTrial{ID: "t" + p, Left: time.Minute, Page: "p" + p, Changes: change}}
		res, body := b.do("GET", "/system", nil, german)
		if got := strings.Join(shape(t, body), "\n"); res.StatusCode != 200 || strings.ReplaceAll(got, "lang=de", "") != strings.ReplaceAll(want, "lang=en", "") {
			t.Errorf("%.60q: the page changes", p)
		}
	}
}

// Without the backend there is no such page.
func TestWithoutSystem(t *testing.T) {
	s := newOwnedSite(t)
	s.http.Close()
	s.start(func(c *Config) { c.System = nil })
	b := s.anna()
	_, body := b.get("/")
	hasNot(t, body, "System")
	for _, rt := range systemRoutes() {
		res, _ := b.do(rt.method, strings.ReplaceAll(rt.pattern, "{what}", "restart"), nil, header("Sec-Fetch-Site", "same-origin"))
		if res.StatusCode != http.StatusNotFound {
			t.Errorf("%s %s: got %d, want 404", rt.method, rt.pattern, res.StatusCode)
		}
	}
	if res, _ := s.browser().post("/login", "name", "Anna", "password", goodPassword); res.Header.Get("Location") != "/" {
		t.Errorf("login: got %q, want /", res.Header.Get("Location"))
	}
}
