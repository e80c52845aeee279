package appliance

import (
	"context"
	"errors"
	"time"

	"gatepost/appliance/config"
	"gatepost/appliance/control"
	"gatepost/webui"
)

// pageSystem asks PID 1 for what the page wants done with the box. It decides
// nothing: PID 1 checks every wish.
type pageSystem struct{ pid1 control.Client }

// ask sends one wish and puts a refusal into the page's form.
func (p pageSystem) ask(ctx context.Context, r control.Request, by webui.Person) (control.Answer, error) {
	r.By, r.From = by.Name, by.From
	a, err := p.pid1.Act(ctx, r)
	var no *control.ActError
	if !errors.As(err, &no) {
		return a, err
	}
	e := &webui.SystemError{Code: no.Code, Text: no.Text}
	for _, f := range no.Faults {
		e.Faults = append(e.Faults, webui.Fault{Line: f.Line, Text: f.Text})
	}
	return a, e
}

// Settings implements webui.SystemBackend.
func (p pageSystem) Settings(ctx context.Context) (webui.Settings, error) {
	a, err := p.ask(ctx, control.Request{Op: control.OpSettings}, webui.Person{})
	return webui.Settings{Text: a.Settings, Hash: a.Hash, Use: a.Use, Trial: pageTrial(a.Trial), Erasable: a.Erasable}, err
}

// Check implements webui.SystemBackend.
func (p pageSystem) Check(ctx context.Context, text string) (webui.SettingsPlan, error) {
	a, err := p.ask(ctx, control.Request{Op: control.OpSettingsCheck, Settings: text}, webui.Person{})
	return webui.SettingsPlan{Changes: pageChanges(a.Changes)}, err
}

// Try implements webui.SystemBackend.
func (p pageSystem) Try(ctx context.Context, text string, within time.Duration, by webui.Person) (webui.SettingsPlan, error) {
	a, err := p.ask(ctx, control.Request{Op: control.OpSettingsTry, Settings: text, Within: within}, by)
	return webui.SettingsPlan{Changes: pageChanges(a.Changes), Trial: pageTrial(a.Trial)}, err
}

// Confirm implements webui.SystemBackend.
func (p pageSystem) Confirm(ctx context.Context, trial string, by webui.Person) error {
	_, err := p.ask(ctx, control.Request{Op: control.OpSettingsConfirm, Trial: trial}, by)
	return err
}

// Revert implements webui.SystemBackend.
func (p pageSystem) Revert(ctx context.Context, trial string, by webui.Person) error {
	_, err := p.ask(ctx, control.Request{Op: control.OpSettingsRevert, Trial: trial}, by)
	return err
}

// Backup implements webui.SystemBackend.
func (p pageSystem) Backup(ctx context.Context, passphrase string, by webui.Person) ([]byte, error) {
	a, err := p.ask(ctx, control.Request{Op: control.OpBackup, Passphrase: config.Secret(passphrase)}, by)
	return a.Backup, err
}

// Restore implements webui.SystemBackend.
func (p pageSystem) Restore(ctx context.Context, file []byte, passphrase string, by webui.Person) (webui.BackupInfo, error) {
	a, err := p.ask(ctx, control.Request{Op: control.OpRestore, Backup: file, Passphrase: config.Secret(passphrase)}, by)
	if err != nil || a.Contents == nil {
		return webui.BackupInfo{}, err
	}
	return webui.BackupInfo{Box: a.Contents.Box, Version: a.Contents.Version, Time: a.Contents.Time, Hash: a.Contents.Hash}, nil
}

// ends are the ops behind the page's ways to stop.
var ends = map[string]string{
	webui.EndRestart: control.OpRestart, webui.EndPowerOff: control.OpPowerOff,
	webui.EndFactoryReset: control.OpFactoryReset, webui.EndEraseData: control.OpEraseData,
}

// FindMe implements webui.SystemBackend.
func (p pageSystem) FindMe(ctx context.Context, by webui.Person) error {
	_, err := p.ask(ctx, control.Request{Op: control.OpFindMe}, by)
	return err
}

// End implements webui.SystemBackend.
func (p pageSystem) End(ctx context.Context, how string, by webui.Person) error {
	_, err := p.ask(ctx, control.Request{Op: ends[how]}, by)
	return err
}

func pageTrial(t *control.Trial) *webui.SettingsTrial {
	if t == nil {
		return nil
	}
	return &webui.SettingsTrial{ID: t.ID, Left: t.Left, Page: t.Page, Changes: pageChanges(t.Changes)}
}

func pageChanges(list []config.Change) []webui.SettingChange {
	var out []webui.SettingChange
	for _, c := range list {
		out = append(out, webui.SettingChange{Key: c.Key, Old: c.Old, New: c.New, NeedsProof: c.NeedsProof()})
	}
	return out
}
