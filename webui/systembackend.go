package webui

import (
	"context"
	"time"
)

// SystemBackend looks after the box itself: its settings, backups, restarts.
// The context of a call has a deadline of two minutes. An error that a person
// can do something about is a *SystemError; nothing was changed then.
type SystemBackend interface {
	// Settings returns what is in force.
	Settings(ctx context.Context) (Settings, error)
	// Check says what a text would change, and changes nothing.
	Check(ctx context.Context, text string) (SettingsPlan, error)
	// Try puts a text into force. When Trial is set in the answer, it comes back
	// by itself unless Confirm is called with the trial's id; within, 30 seconds
	// to 3 minutes, is the time for that.
	Try(ctx context.Context, text string, within time.Duration, by Person) (SettingsPlan, error)
	Confirm(ctx context.Context, trial string, by Person) error
	Revert(ctx context.Context, trial string, by Person) error
	// Backup makes an encrypted file. Restore checks one, and restarts the box
	// with what is in it.
	Backup(ctx context.Context, passphrase string, by Person) ([]byte, error)
	Restore(ctx context.Context, file []byte, passphrase string, by Person) (BackupInfo, error)
	// FindMe lets the lights show for a minute which box this is.
	FindMe(ctx context.Context, by Person) error
	// End stops the box a moment later, in one of the ways of Ends.
	End(ctx context.Context, how string, by Person) error
}

// Ends are the ways in which a person can stop the box.
var Ends = []string{EndRestart, EndPowerOff, EndFactoryReset, EndEraseData}

// The ways to stop. A factory reset erases everything that the box knows, and
// an erased data disk gets a new file system; both restart it.
const (
	EndRestart      = "restart"
	EndPowerOff     = "power-off"
	EndFactoryReset = "factory-reset"
	EndEraseData    = "erase-data"
)

// Person is who asks, for the journal.
type Person struct {
	Name string
	From string // address
}

// Settings are the settings in force.
type Settings struct {
	Text string // passwords hidden
	Hash string // hex
	// Use is "file", or "last-good" or "default" when the file is not in force.
	Use   string
	Trial *SettingsTrial // nil: nothing waits for a confirmation
	// Erasable: there is a data disk that cannot be used as it is, and
	// EndEraseData makes it anew.
	Erasable bool
}

// SettingsPlan is what a text changes.
type SettingsPlan struct {
	Changes []SettingChange
	Trial   *SettingsTrial
}

// SettingChange is one setting with another value; "" is not set.
type SettingChange struct {
	Key, Old, New string
	NeedsProof    bool // a wrong value can take the page away
}

// SettingsTrial is a change that is in force until Left is over.
type SettingsTrial struct {
	ID      string
	Left    time.Duration
	Page    string // where the page is then, "" for where it is now or not known
	Changes []SettingChange
}

// BackupInfo says what a backup holds.
type BackupInfo struct {
	Box, Version string
	Time         time.Time
	Hash         string
}

// Codes of a SystemError that this page has words for. Others are told as
// "failed".
const (
	SystemInvalid    = "invalid"    // Faults says where
	SystemNoTrial    = "no-trial"   // the time to confirm is over
	SystemTrial      = "trial"      // another change waits
	SystemNoDisk     = "no-disk"    // nothing can be kept
	SystemPassphrase = "passphrase" // not that of the backup
	SystemBadBackup  = "bad-backup" // something else, or damaged
)

// SystemError is a wish that was not fulfilled.
type SystemError struct {
	Code   string
	Text   string // technical, in English
	Faults []Fault
}

// Fault is one fault of a text.
type Fault struct {
	Line int // 0 when it has none
	Text string
}

func (e *SystemError) Error() string { return e.Text }
