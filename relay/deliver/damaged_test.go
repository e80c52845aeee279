package deliver

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"gatepost/relay/spool"
	"gatepost/relay/verdict"
)

// A message that our own disk has damaged is never completed at a server; after
// a few attempts its sender is told.
func TestDamagedOnOurDisk(t *testing.T) {
	for _, c := range []struct {
		tries int
		want  verdict.Outcome
	}{{0, verdict.Deferred}, {unreadableTries - 1, verdict.Deferred}, {unreadableTries, verdict.Returned}} {
		for _, early := range []bool{true, false} {
			s := &server{}
			m := letter(1)
			m.Tries = c.tries
			m.Body = func() (io.ReadCloser, error) {
				err := fmt.Errorf("%w: a checksum", spool.ErrDamaged)
				if early {
					return nil, err
				}
				return io.NopCloser(io.MultiReader(strings.NewReader("Subject: x\r\n\r\nhalf of it\r\n"), failing{err})), nil
			}
			v := one(t, single(s).deliverer(t, noPolicy).Deliver(t.Context(), m)).Verdict
			if v.Outcome != c.want || v.Reason != verdict.Damaged {
				t.Errorf("try %d, early %v: got %s, %s; want %s, damaged", c.tries, early, v.Outcome, v.Reason, c.want)
			}
			if len(s.texts) != 0 {
				t.Errorf("try %d, early %v: the server has %q", c.tries, early, s.texts)
			}
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
