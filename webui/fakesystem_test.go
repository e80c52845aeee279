package webui

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// fakeSystem is a SystemBackend that remembers what it was asked. A text with
// "bogus" in it has a fault, one with "network" needs a confirmation.
type fakeSystem struct {
	mu    sync.Mutex
	now   Settings
	err   error // of every method that does something
	calls []string
}

func (f *fakeSystem) called(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	return f.err
}

// took returns what was asked since the last time.
func (f *fakeSystem) took() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.calls
	f.calls = nil
	return strings.Join(c, "; ")
}

func (f *fakeSystem) Settings(context.Context) (Settings, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.now.Text == "" {
		return Settings{}, &SystemError{Code: "failed", Text: "a password stands in a line of its own"}
	}
	return f.now, nil
}

func (f *fakeSystem) Check(_ context.Context, text string) (SettingsPlan, error) {
	if strings.Contains(text, "bogus") {
		return SettingsPlan{}, &SystemError{Code: SystemInvalid, Text: "wrong", Faults: []Fault{{Line: 3, Text: `unknown key "bogus"`}}}
	}
	if text == f.now.Text {
		return SettingsPlan{}, nil
	}
	return SettingsPlan{Changes: []SettingChange{{Key: "network.address", Old: "", New: "192.168.1.30/24", NeedsProof: strings.Contains(text, "network")}}}, nil
}

func (f *fakeSystem) Try(ctx context.Context, text string, within time.Duration, by Person) (SettingsPlan, error) {
	p, err := f.Check(ctx, text)
	if err != nil {
		return p, err
	}
	if strings.Contains(text, "network") {
		p.Trial = &SettingsTrial{ID: "t1", Left: 3 * time.Minute, Page: "https://192.168.1.30/", Changes: p.Changes}
		f.now.Trial = p.Trial
	}
	return p, f.called("try %d bytes within %v by %s at %s", len(text), within, by.Name, by.From)
}

func (f *fakeSystem) Confirm(_ context.Context, trial string, by Person) error {
	f.now.Trial = nil
	return f.called("confirm %s by %s", trial, by.Name)
}

func (f *fakeSystem) Revert(_ context.Context, trial string, by Person) error {
	f.now.Trial = nil
	return f.called("revert %s by %s", trial, by.Name)
}

func (f *fakeSystem) Backup(_ context.Context, passphrase string, by Person) ([]byte, error) {
	return []byte("age-encryption.org/v1\n"), f.called("backup with %d letters by %s", len(passphrase), by.Name)
}

func (f *fakeSystem) Restore(_ context.Context, file []byte, passphrase string, by Person) (BackupInfo, error) {
	return BackupInfo{Box: "old.office.example", Version: "1", Time: tuesday, Hash: "ab"}, f.called("restore %d bytes with %s by %s", len(file), passphrase, by.Name)
}

func (f *fakeSystem) FindMe(_ context.Context, by Person) error {
	return f.called("find me by %s", by.Name)
}

func (f *fakeSystem) End(_ context.Context, how string, by Person) error {
	return f.called("%s by %s", how, by.Name)
}
