package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"gatepost/appliance/config"
)

// What PID 1 can be asked to do.
const (
	OpSettings        = "settings"         // tell the settings in force
	OpSettingsCheck   = "settings-check"   // say what would change; change nothing
	OpSettingsTry     = "settings-try"     // put settings into force
	OpSettingsConfirm = "settings-confirm" // keep those that wait for it
	OpSettingsRevert  = "settings-revert"  // go back to those before
	OpRestart         = "restart"
	OpPowerOff        = "power-off"
	OpFactoryReset    = "factory-reset"  // erase everything, restart
	OpRecoveryReset   = "recovery-reset" // new owner, address by DHCP; mail and the other settings stay
	OpBackup          = "backup"
	OpRestore         = "restore"
	OpFindMe          = "find-me"    // the lights show which box it is, for a minute
	OpEraseData       = "erase-data" // make a new file system on the data disk
)

// Limits of a request.
const (
	maxRequest = 8 << 20          // bytes, with a backup in it
	maxAnswer  = 8 << 20          // bytes
	actRead    = 30 * time.Second // for the request to come in
	actTime    = 90 * time.Second // for the answer
)

// Request is one wish. By and From are for the journal: who asked, and from
// where, as the page knows it.
type Request struct {
	Op   string `json:"op"`
	By   string `json:"by,omitempty"`
	From string `json:"from,omitempty"`

	// Settings is the whole text of a config.toml, at most 1 MiB. Passwords that
	// Answer.Settings hid may stand in it as they were told.
	Settings string `json:"settings,omitempty"`
	// Within is how long the settings wait for their confirmation, 30 seconds to
	// 3 minutes; 0 is 3 minutes.
	Within time.Duration `json:"within,omitempty"`
	Trial  string        `json:"trial,omitempty"` // the one to confirm or to revert

	Passphrase config.Secret `json:"passphrase,omitempty"` // of a backup
	Backup     []byte        `json:"backup,omitempty"`     // to restore
}

// Answer is what came of a Request. Which fields are set depends on the op.
type Answer struct {
	// Settings is the text in force, its passwords hidden; Hash is config.Hash of
	// it, Use where it came from ("file", "last-good" or "default").
	Settings string `json:"settings,omitempty"`
	Hash     string `json:"hash,omitempty"`
	Use      string `json:"use,omitempty"`
	// Erasable: the data disk was set aside, and OpEraseData can make it anew.
	Erasable bool `json:"erasable,omitempty"`

	// Changes is what a check or a try found.
	Changes []config.Change `json:"changes,omitempty"`
	// Trial waits for its confirmation; nil: the settings are kept already.
	Trial *Trial `json:"trial,omitempty"`

	Backup []byte `json:"backup,omitempty"`
	// Contents says what a backup that is about to be restored holds.
	Contents *Contents `json:"contents,omitempty"`
}

// Trial is a change of settings that is in force and waits for somebody to say
// that the page can still be reached.
type Trial struct {
	ID      string          `json:"id"`
	Left    time.Duration   `json:"left"` // until the old settings come back
	Changes []config.Change `json:"changes"`
	// Page is where the page is to be found afterwards, "" for where it is now.
	Page string `json:"page,omitempty"`
}

// Contents describes a backup.
type Contents struct {
	Box     string    `json:"box"` // host name of the box that made it
	Version string    `json:"version"`
	Time    time.Time `json:"time"`
	Hash    string    `json:"hash"` // config.Hash of its settings
}

// Codes of an ActError: what the one who asked can do about it.
const (
	CodeInvalid    = "invalid"    // the settings are wrong: Faults says where
	CodeNoTrial    = "no-trial"   // nothing waits for a confirmation: the time is over
	CodeTrial      = "trial"      // a change waits already: confirm or revert it first
	CodeNoDisk     = "no-disk"    // nothing can be kept without the data disk
	CodePassphrase = "passphrase" // not the passphrase of this backup, or too short a one
	CodeBadBackup  = "bad-backup" // not a backup, damaged, or of another kind
	CodeTooLarge   = "too-large"
	CodeNotAllowed = "not-allowed" // not for the one who asked
	CodeUnknown    = "unknown"     // there is no such op
	CodeFailed     = "failed"      // see Text and the journal
)

// ActError is a wish that was not fulfilled; nothing was changed.
type ActError struct {
	Code   string         `json:"code"`
	Text   string         `json:"text"` // for people, in English
	Faults []config.Error `json:"faults,omitempty"`
}

func (e *ActError) Error() string { return e.Text }

// refuse is an ActError with a text.
func refuse(code, format string, args ...any) *ActError {
	return &ActError{Code: code, Text: fmt.Sprintf(format, args...)}
}

var statusOf = map[string]int{
	CodeInvalid: http.StatusUnprocessableEntity, CodePassphrase: http.StatusUnprocessableEntity, CodeBadBackup: http.StatusUnprocessableEntity,
	CodeNoTrial: http.StatusConflict, CodeTrial: http.StatusConflict,
	CodeNotAllowed: http.StatusForbidden, CodeUnknown: http.StatusNotFound, CodeTooLarge: http.StatusRequestEntityTooLarge,
}

// act takes one wish at a time; those who come meanwhile wait for their turn,
// as long as they care to.
func (s *Server) act(turn chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.SetReadDeadline(time.Now().Add(actRead))
		rc.SetWriteDeadline(time.Now().Add(actRead + actTime))
		uid, known := r.Context().Value(uidKey{}).(uint32)
		if s.Act == nil || !known || !slices.Contains(s.ActUIDs, uid) {
			fail(w, refuse(CodeNotAllowed, "this process may not ask for that"))
			return
		}
		var req Request
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&req); err != nil {
			var large *http.MaxBytesError
			if errors.As(err, &large) {
				fail(w, refuse(CodeTooLarge, "at most %d MB are taken", maxRequest>>20))
			} else {
				fail(w, refuse(CodeUnknown, "the request cannot be read: %v", err))
			}
			return
		}
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-r.Context().Done():
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), actTime)
		defer cancel()
		a, err := s.Act(ctx, req)
		if err != nil {
			fail(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(a)
	}
}

func fail(w http.ResponseWriter, err error) {
	var e *ActError
	if !errors.As(err, &e) {
		e = refuse(CodeFailed, "%v", err)
	}
	status := statusOf[e.Code]
	if status == 0 {
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(e)
}

// Act asks PID 1 to do something and waits for the answer, at most two minutes.
// The error is an *ActError when PID 1 said no.
func (c Client) Act(ctx context.Context, r Request) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, actRead+actTime)
	defer cancel()
	body, wr := io.Pipe()
	go func() { wr.CloseWithError(json.NewEncoder(wr).Encode(r)) }()
	defer body.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://gatepost/v1/act", body)
	if err != nil {
		return Answer{}, err
	}
	tr := c.transport()
	tr.ResponseHeaderTimeout = 0 // the context bounds it
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return Answer{}, fmt.Errorf("control socket: %w", err)
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode != http.StatusOK {
		var e ActError
		if err := dec.Decode(&e); err != nil || e.Code == "" {
			return Answer{}, fmt.Errorf("control socket: %s", resp.Status)
		}
		return Answer{}, &e
	}
	var a Answer
	if err := dec.Decode(&a); err != nil {
		return Answer{}, fmt.Errorf("control socket: %w", err)
	}
	return a, nil
}

// uidKey is under which a request's context holds who is at the other end.
type uidKey struct{}

// checkedConn remembers who is at the other end.
type checkedConn struct {
	net.Conn
	uid uint32
}
