package relay

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"gatepost/mtasts"
	"gatepost/relay/event"
	"gatepost/relay/queue"
	"gatepost/relay/spool"
	"gatepost/relay/store"
)

// ErrNoStorage says that there is no spool, so that nothing waits and nothing
// can be done about it.
var ErrNoStorage = errors.New("there is no usable storage")

// Waiting lists waiting messages; see queue.Queue.List.
func (m *Machine) Waiting(o queue.ListOptions) []queue.Entry {
	if m.queue == nil {
		return nil
	}
	return m.queue.List(o)
}

// Lookup finds one waiting message.
func (m *Machine) Lookup(id spool.ID) (queue.Entry, bool) {
	if m.queue == nil {
		return queue.Entry{}, false
	}
	return m.queue.Lookup(id)
}

// Message opens a waiting message as it came in. The error is the spool's when
// it is gone.
func (m *Machine) Message(id spool.ID) (io.ReadCloser, error) {
	if m.spool == nil {
		return nil, spool.ErrNotFound
	}
	return m.spool.Open(id)
}

// RetryNow makes messages due at once and says how many were found.
func (m *Machine) RetryNow(ids ...spool.ID) int {
	if m.queue == nil {
		return 0
	}
	return m.queue.RetryNow(ids...)
}

// RetryDomain makes all mail to a domain due at once.
func (m *Machine) RetryDomain(domain string) int {
	if m.queue == nil {
		return 0
	}
	return m.queue.RetryDomain(domain)
}

// Pause stops the delivery of a message, of mail to a domain, or of all mail;
// it outlives a restart. See queue.Queue.Pause for the errors.
func (m *Machine) Pause(p queue.Pause) error {
	if m.queue == nil {
		return ErrNoStorage
	}
	return m.queue.Pause(p)
}

// Resume ends what Pause began.
func (m *Machine) Resume(p queue.Pause) error {
	if m.queue == nil {
		return ErrNoStorage
	}
	return m.queue.Resume(p)
}

// Pauses lists what is stopped.
func (m *Machine) Pauses() []queue.Pause {
	if m.queue == nil {
		return nil
	}
	return m.queue.Pauses()
}

// Return gives messages back to their senders, with text in the notice, after
// a time in which Undo takes it back.
func (m *Machine) Return(ids []spool.ID, by, text string) (queue.Action, error) {
	if m.queue == nil {
		return queue.Action{}, ErrNoStorage
	}
	return m.queue.Return(ids, by, text)
}

// Delete removes messages without a word to their senders, after a time in
// which Undo takes it back.
func (m *Machine) Delete(ids []spool.ID, by string) (queue.Action, error) {
	if m.queue == nil {
		return queue.Action{}, ErrNoStorage
	}
	return m.queue.Delete(ids, by)
}

// Undo takes back a Return or Delete and says how many messages wait again.
func (m *Machine) Undo(action string) (int, error) {
	if m.queue == nil {
		return 0, ErrNoStorage
	}
	return m.queue.Undo(action)
}

// Actions lists what can be undone.
func (m *Machine) Actions() []queue.Action {
	if m.queue == nil {
		return nil
	}
	return m.queue.Actions()
}

// History reads past attempts, the newest first, with their evidence.
func (m *Machine) History(o store.HistoryOptions) ([]store.Attempt, error) {
	if m.store == nil {
		return nil, nil
	}
	return m.store.Attempts(o)
}

// Notes reads what people should know and no sender was told, the newest first.
func (m *Machine) Notes(limit int) ([]store.Note, error) {
	if m.store == nil {
		return nil, nil
	}
	return m.store.Notes(limit)
}

// Policies lists the saved policies of other domains.
func (m *Machine) Policies() []mtasts.EntryInfo { return m.policies.Entries() }

// Policy tells what is saved of a domain, false when nothing is.
func (m *Machine) Policy(domain string) (mtasts.Entry, bool) { return m.policies.Entry(domain) }

// RefreshPolicy asks a domain for its policy now, whatever is saved, and tells
// what holds then. The errors are those of mtasts.Cache.Policy.
func (m *Machine) RefreshPolicy(ctx context.Context, domain string) (mtasts.Answer, error) {
	return m.policies.Recheck(ctx, domain)
}

// pausesSetting is the name under which the pauses are kept.
const pausesSetting = "pauses"

func (m *Machine) savePauses(p []queue.Pause) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return m.store.SaveSetting(pausesSetting, b)
}

// loadPauses reads what was stopped before the restart. What cannot be read is
// told: mail that a person stopped then goes out.
func (m *Machine) loadPauses() []queue.Pause {
	b, err := m.store.Setting(pausesSetting)
	if err != nil || len(b) == 0 {
		if err != nil {
			m.cfg.Log.Error("what was paused cannot be read; nothing is paused now", "err", err)
		}
		return nil
	}
	var p []queue.Pause
	if err := json.Unmarshal(b, &p); err != nil {
		m.cfg.Log.Error("what was paused cannot be read; nothing is paused now", "err", err)
		return nil
	}
	return p
}

// note keeps the events that a person should find again.
func (m *Machine) note(e event.Event) {
	if m.store == nil {
		return
	}
	switch e := e.(type) {
	case event.DoubleBounce:
		m.store.AddNote(store.Note{Time: e.Time, Kind: "double-bounce", ID: e.ID, Rcpt: e.Rcpt, Text: e.Subject})
	case event.Removed:
		m.store.AddNote(store.Note{Time: e.Time, Kind: "removed", ID: e.ID, From: e.From, By: e.By})
	case event.Paused:
		kind := "resumed"
		if e.On {
			kind = "paused"
		}
		m.store.AddNote(store.Note{Time: e.Time, Kind: kind, Text: e.What, By: e.By})
	}
}
