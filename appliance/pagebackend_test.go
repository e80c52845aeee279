package appliance

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"

	"gatepost/appliance/api"
)

// spoolEngine is a relay of which only the state of its spool matters.
type spoolEngine struct {
	api.Engine
	state string
}

func (e spoolEngine) Status() api.Status {
	return api.Status{Spool: api.Spool{State: e.state, Text: "permission denied"}}
}

func (spoolEngine) Messages(api.MessageQuery) api.Messages { return api.Messages{} }

// TestNothingWaitsIsOnlySaidWhenKnown has a relay that cannot read its mail.
func TestNothingWaitsIsOnlySaidWhenKnown(t *testing.T) {
	for state, known := range map[string]bool{"ok": true, "full": true, "missing": false, "failed": false} {
		t.Run(state, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "api.sock")
			ln, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- api.Serve(ctx, ln, spoolEngine{state: state}, slog.New(slog.DiscardHandler)) }()
			p := pageBackend{api: api.NewClient(path), box: &latestBox{}}
			if _, err := p.Waiting(ctx); (err == nil) != known {
				t.Errorf("Waiting: got error %v, want one: %v", err, !known)
			}
			h, err := p.Home(ctx)
			if err != nil || (h.Queue != nil) != known {
				t.Errorf("Home: got queue %v, %v, want one: %v", h.Queue, err, known)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
