package boot

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// A role that hangs is ended at once, its reason is told as that of a crash, and
// the ladder says when the next run begins.
func TestSupervisorKillsARunThatHangs(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- f.Run(ctx, Role{
			Name: "relay", Args: []string{"gatepost"},
			Payload: func() ([]byte, error) { return json.Marshal(order{Do: "stubborn"}) },
		})
	}()
	f.until(t, "the role", f.said("relay: ignoring"))
	before := f.States()[0]
	f.Kill(before.PID+1, "is another process") // nothing happens
	f.Kill(before.PID, "did not answer and was ended")
	f.until(t, "the crash", func() bool { return len(f.crashes) > 0 })
	if got := f.crashes[0]; !strings.HasPrefix(got, "relay did not answer and was ended, again in 1s") {
		t.Errorf("got %q", got)
	}
	f.until(t, "the next run", func() bool { st := f.States()[0]; return st.Up && st.PID != before.PID })
	if st := f.States()[0]; st.LastExit != "did not answer and was ended" || !st.Next.IsZero() || st.Since.Sub(before.Since) < time.Second {
		t.Errorf("got %+v", st)
	}
	cancel()
	f.Kill(f.States()[0].PID, "the end")
	<-done
}
