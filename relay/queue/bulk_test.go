package queue

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"gatepost/relay/verdict"
)

// The outcomes of one attempt may be more than one record of the spool holds:
// what was delivered must be written down all the same, else it is delivered
// again after the next start.
func TestOutcomesOfManyRecipients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fake.setAnswer(func(Message, string) verdict.Verdict {
			return verdict.Verdict{Outcome: verdict.Delivered, Reply: strings.Repeat("<", 1000)}
		})
		var rcpts []string
		for i := range 1000 {
			rcpts = append(rcpts, fmt.Sprintf("u%d@a.example", i))
		}
		r.send(rcpts...)
		synctest.Wait()
		if n := r.queue.Counts().Waiting; n != 0 {
			t.Errorf("%d messages are still waiting", n)
		}
		if n := len(r.fake.to("a.example")); n != 1 {
			t.Fatalf("got %d attempts, want 1", n)
		}
		r.restart()
		synctest.Wait()
		if n := len(r.fake.to("a.example")); n != 1 {
			t.Errorf("after a restart: got %d attempts, want 1", n)
		}
	})
}
