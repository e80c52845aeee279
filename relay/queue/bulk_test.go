package queue

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/relay/verdict"
)

// The outcomes of one attempt may be more than one record of the spool holds:
// what was delivered must be written down all the same, else it is delivered
// again after the next start.
func TestOutcomesOfManyRecipients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(func(_ Message, addr string) verdict.Verdict {
			v := verdict.Verdict{Outcome: verdict.Delivered, Reply: strings.Repeat("<", 1000)}
			if addr == "u0@a.example" { // else nothing needs to be kept of the others
				v.Outcome = verdict.Deferred
			}
			return v
		})
		var rcpts []string
		for i := range 1000 {
			rcpts = append(rcpts, fmt.Sprintf("u%d@a.example", i))
		}
		r.send(rcpts...)
		synctest.Wait()
		r.wantWaiting(1)
		if n := len(r.fake.to("a.example")); n != 1 {
			t.Fatalf("got %d attempts, want 1", n)
		}
		r.restart()
		r.fake.setAnswer(nil)
		time.Sleep(2 * time.Minute)
		if got := r.fake.to("a.example"); len(got) != 2 || got[1].addrs != "u0@a.example" {
			t.Errorf("after a restart: got %d attempts, want one for u0@ alone", len(got)-1)
		}
	})
}
