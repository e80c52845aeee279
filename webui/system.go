package webui

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"gatepost/webui/session"
	"gatepost/webui/words"
)

// Bounds of what is sent to the page of the box itself.
const (
	maxSettings = 4 << 20 // bytes of a form with settings in it, encoded
	maxRestore  = 5 << 20 // bytes of a form with a backup in it
	systemTime  = 2 * time.Minute
)

// systemRoutes are there only with a SystemBackend.
func systemRoutes() []route {
	return []route{
		{http.MethodGet, "/system", settings, (*Server).systemPage, system},
		{http.MethodPost, "/system/check", settings, (*Server).settingsCheck, system},
		{http.MethodPost, "/system/try", settings, (*Server).settingsTry, system},
		{http.MethodPost, "/system/confirm", settings, (*Server).settingsConfirm, system},
		{http.MethodPost, "/system/find", settings, (*Server).findMe, system},
		{http.MethodPost, "/system/revert", settings, (*Server).settingsRevert, system},
		{http.MethodPost, "/system/backup", settings, (*Server).backup, system},
		{http.MethodPost, "/system/restore", settings, (*Server).restore, system},
		{http.MethodGet, "/system/end/{what}", settings, (*Server).endPage, system},
		{http.MethodPost, "/system/end/{what}", settings, (*Server).endMake, system},
	}
}

// bodyLimit bounds what a request may carry, in bytes.
func bodyLimit(rt route) int64 {
	switch rt.pattern {
	case "/system/check", "/system/try":
		return maxSettings
	case "/system/restore":
		return maxRestore
	}
	return maxBody
}

// systemBody is the page about the box itself.
type systemBody struct {
	Hash    string
	Use     words.Text // empty when the file is in force
	Trial   *trialView
	Text    string // of the settings; "" when it cannot be shown
	Unread  words.Text
	Checked bool // Changes belong to Text, which can be put into force
	Changes []SettingChange
	Proof   bool // one of them needs a confirmation
	Faults  []Fault
	Trouble words.Text
	Detail  string // technical, of the trouble
	Field   string // the part of the page with the trouble: "settings", "backup", "restore"
	Waits   []string
	Erase   bool // the data disk can be made anew
}

type trialView struct {
	ID      string
	Left    words.Text
	Page    string
	Changes []SettingChange
}

func (s *Server) trialView(v *visit, t *SettingsTrial) *trialView {
	if t == nil {
		return nil
	}
	return &trialView{ID: t.ID, Page: t.Page, Changes: t.Changes, Left: text(v.voice, "system.trial-left", "seconds", roundUp(t.Left))}
}

func (s *Server) systemPage(v *visit) { s.showSystem(v, http.StatusOK, systemBody{}) }

// showSystem shows the page with what is in force. What a person typed into
// the settings stays.
func (s *Server) showSystem(v *visit, status int, body systemBody) {
	ctx, cancel := context.WithTimeout(v.r.Context(), backendTime)
	defer cancel()
	now, err := s.cfg.System.Settings(ctx)
	if err != nil {
		s.cfg.Log.Error("the settings cannot be read", "err", err)
		body.Unread, body.Detail = text(v.voice, "system.unread"), detailOf(err)
	}
	body.Hash = now.Hash
	body.Trial = s.trialView(v, now.Trial)
	body.Erase = now.Erasable
	if now.Use == "last-good" || now.Use == "default" {
		body.Use = text(v.voice, "system.use-"+now.Use)
	}
	if body.Text == "" {
		body.Text = now.Text
	}
	s.show(v, status, "system", "system.title", body)
}

// detailOf is the technical side of an error.
func detailOf(err error) string {
	var e *SystemError
	if errors.As(err, &e) {
		return e.Text
	}
	return ""
}

// systemFailed shows the page again with what went wrong.
func (s *Server) systemFailed(v *visit, body systemBody, err error) {
	var e *SystemError
	code := "failed"
	if errors.As(err, &e) {
		body.Detail, body.Faults = e.Text, e.Faults
		if slices.Contains([]string{SystemInvalid, SystemNoTrial, SystemTrial, SystemNoDisk, SystemPassphrase, SystemBadBackup}, e.Code) {
			code = e.Code
		}
	}
	if code == "failed" {
		s.cfg.Log.Error("a wish for the box failed", "path", v.r.URL.Path, "err", err)
	}
	if code == SystemInvalid {
		body.Detail = ""
	}
	body.Trouble = text(v.voice, "system.error-"+code, "count", len(body.Faults))
	s.showSystem(v, http.StatusUnprocessableEntity, body)
}

// typedSettings is the text of the form, with the lines of a file.
func typedSettings(r *http.Request) string {
	return strings.ReplaceAll(r.PostFormValue("text"), "\r\n", "\n")
}

// settingsCheck says what a text would change. It changes nothing.
func (s *Server) settingsCheck(v *visit) {
	ctx, cancel := context.WithTimeout(v.r.Context(), systemTime)
	defer cancel()
	body := systemBody{Text: typedSettings(v.r), Field: "settings"}
	plan, err := s.cfg.System.Check(ctx, body.Text)
	if err != nil {
		s.systemFailed(v, body, err)
		return
	}
	s.showPlan(v, http.StatusOK, body, plan.Changes)
}

// showPlan offers to put a text into force that has no faults.
func (s *Server) showPlan(v *visit, status int, body systemBody, changes []SettingChange) {
	body.Checked, body.Changes = true, changes
	body.Proof = slices.ContainsFunc(changes, func(c SettingChange) bool { return c.NeedsProof })
	body.Waits = []string{"180", "60", "30"}
	s.showSystem(v, status, body)
}

// settingsTry puts a text into force, after the password.
func (s *Server) settingsTry(v *visit) {
	ctx, cancel := context.WithTimeout(v.r.Context(), systemTime)
	defer cancel()
	body := systemBody{Text: typedSettings(v.r), Field: "settings"}
	if status, trouble := s.proves(v); status != 0 {
		body.Trouble = trouble
		plan, err := s.cfg.System.Check(ctx, body.Text)
		if err != nil {
			s.showSystem(v, status, body)
			return
		}
		s.showPlan(v, status, body, plan.Changes)
		return
	}
	within := map[string]time.Duration{"60": time.Minute, "30": 30 * time.Second}[v.r.PostFormValue("within")]
	plan, err := s.cfg.System.Try(ctx, body.Text, within, s.person(v))
	if err != nil {
		s.systemFailed(v, body, err)
		return
	}
	if plan.Trial != nil {
		s.leave(v, session.Flash{Key: "system.tried"})
	} else {
		s.leave(v, session.Flash{Key: "system.kept"})
	}
	v.redirect("/system")
}

// person is who makes this request.
func (s *Server) person(v *visit) Person {
	return Person{Name: v.session.Person, From: v.address().String()}
}

func (s *Server) settingsConfirm(v *visit) {
	s.decide(v, "system.confirmed", s.cfg.System.Confirm)
}

func (s *Server) settingsRevert(v *visit) {
	s.decide(v, "system.reverted", s.cfg.System.Revert)
}

// findMe lets the lights of the box show which one it is.
func (s *Server) findMe(v *visit) {
	s.decide(v, "system.found", func(ctx context.Context, _ string, by Person) error { return s.cfg.System.FindMe(ctx, by) })
}

// decide does what needs no password: it ends the wait of a change, or more
// harmless things.
func (s *Server) decide(v *visit, key string, run func(context.Context, string, Person) error) {
	ctx, cancel := context.WithTimeout(v.r.Context(), systemTime)
	defer cancel()
	if err := run(ctx, v.r.PostFormValue("trial"), s.person(v)); err != nil {
		var e *SystemError
		key = "system.error-failed"
		if errors.As(err, &e) && e.Code == SystemNoTrial {
			key = "system.error-no-trial"
		} else {
			s.cfg.Log.Error("a change of settings could not be decided", "err", err)
		}
		s.leave(v, session.Flash{Key: key, Bad: true})
	} else {
		s.leave(v, session.Flash{Key: key})
	}
	v.redirect("/system")
}

// backup sends an encrypted file, after the password.
func (s *Server) backup(v *visit) {
	body := systemBody{Field: "backup"}
	status, trouble := s.proves(v)
	passphrase := v.r.PostFormValue("passphrase")
	if status == 0 && passphrase != v.r.PostFormValue("repeat") {
		status, trouble = http.StatusUnprocessableEntity, text(v.voice, "owner.differs")
	}
	if status == 0 && len(passphrase) < 12 {
		status, trouble = http.StatusUnprocessableEntity, text(v.voice, "owner.too-short")
	}
	if status != 0 {
		body.Trouble = trouble
		s.showSystem(v, status, body)
		return
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), systemTime)
	defer cancel()
	file, err := s.cfg.System.Backup(ctx, passphrase, s.person(v))
	if err != nil {
		s.systemFailed(v, body, err)
		return
	}
	if err := http.NewResponseController(v.w).SetWriteDeadline(time.Now().Add(originalTime)); err != nil {
		s.cfg.Log.Debug("the time for a download could not be set", "err", err)
	}
	v.download("gatepost-"+s.cfg.Now().UTC().Format("2006-01-02")+".age", "application/octet-stream")
	v.w.Write(file)
}

// doneBody says that the box stops now.
type doneBody struct {
	What  string // one of Ends, or "restore"
	About words.Text
}

// restore takes a backup, after the password, and restarts the box with it.
func (s *Server) restore(v *visit) {
	body := systemBody{Field: "restore"}
	// All of it in memory: the limit of the body is below that of the form.
	if err := v.r.ParseMultipartForm(maxRestore + 1); err != nil {
		s.showTrouble(v, http.StatusUnprocessableEntity, body, "system.error-bad-backup")
		return
	}
	if status, trouble := s.proves(v); status != 0 {
		body.Trouble = trouble
		s.showSystem(v, status, body)
		return
	}
	part, _, err := v.r.FormFile("file")
	var file []byte
	if err == nil {
		file, err = io.ReadAll(part)
		part.Close()
	}
	if err != nil || len(file) == 0 {
		s.showTrouble(v, http.StatusUnprocessableEntity, body, "system.error-bad-backup")
		return
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), systemTime)
	defer cancel()
	info, err := s.cfg.System.Restore(ctx, file, v.r.PostFormValue("passphrase"), s.person(v))
	if err != nil {
		s.systemFailed(v, body, err)
		return
	}
	about := text(v.voice, "system.restoring", "name", info.Box, "when", info.Time)
	s.show(v, http.StatusOK, "ending", "system.title", doneBody{What: "restore", About: about})
}

func (s *Server) showTrouble(v *visit, status int, body systemBody, key string) {
	body.Trouble = text(v.voice, key)
	s.showSystem(v, status, body)
}

// endBody asks for the password before the box stops.
type endBody struct {
	What    string
	Waiting int // messages that are lost, -1 when not known
	Trouble words.Text
	Detail  string
}

func (s *Server) endPage(v *visit) { s.showEnd(v, http.StatusOK, endBody{}) }

func (s *Server) showEnd(v *visit, status int, body endBody) {
	body.What, body.Waiting = v.r.PathValue("what"), -1
	if !slices.Contains(Ends, body.What) {
		s.fail(v, http.StatusNotFound, "error.not-found")
		return
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), backendTime)
	defer cancel()
	if list, err := s.cfg.Backend.Waiting(ctx); err == nil {
		body.Waiting = len(idsOf(list))
	}
	s.show(v, status, "end", "system.title", body)
}

// endMake stops the box, after the password.
func (s *Server) endMake(v *visit) {
	if status, trouble := s.proves(v); status != 0 {
		s.showEnd(v, status, endBody{Trouble: trouble})
		return
	}
	what := v.r.PathValue("what")
	if !slices.Contains(Ends, what) {
		s.fail(v, http.StatusNotFound, "error.not-found")
		return
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), systemTime)
	defer cancel()
	if err := s.cfg.System.End(ctx, what, s.person(v)); err != nil {
		s.cfg.Log.Error("the box could not be stopped", "how", what, "err", err)
		s.showEnd(v, http.StatusUnprocessableEntity, endBody{Trouble: text(v.voice, "system.error-failed"), Detail: detailOf(err)})
		return
	}
	s.show(v, http.StatusOK, "ending", "system.title", doneBody{What: what})
}
