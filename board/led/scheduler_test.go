package led

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A selfPlayer is a light that plays what it is given, as the kernel does.
type selfPlayer struct {
	recorder
	armed int
	plan  []Step
	from  time.Time
}

// settle plays what is past by now.
func (s *selfPlayer) settle() {
	at := s.from
	for _, st := range s.plan {
		if !at.After(time.Now()) && st.Lit != s.lit {
			s.lit = st.Lit
			s.changes = append(s.changes, edge{at.Sub(s.start), st.Lit})
		}
		at = at.Add(st.For)
	}
	if s.plan != nil && !at.After(time.Now()) && s.lit {
		s.lit = false
		s.changes = append(s.changes, edge{at.Sub(s.start), false})
	}
}

func (s *selfPlayer) Set(l Level) error {
	s.settle()
	s.plan = nil
	return s.recorder.Set(l)
}

func (s *selfPlayer) Schedule(steps []Step) error {
	s.settle()
	if err := s.recorder.err; err != nil {
		return err
	}
	s.armed++
	s.plan, s.from = steps, time.Now()
	s.settle()
	return nil
}

var _ Scheduler = (*selfPlayer)(nil)

func TestALightThatPlaysByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		self := &selfPlayer{recorder: recorder{start: time.Now()}}
		plain := &recorder{start: time.Now()}
		p, err := NewPlayer([]Output{self, plain}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		p.Set(Conditions{Link: true, Lease: true, Booting: true})
		time.Sleep(30*time.Second + time.Millisecond)
		synctest.Wait()
		if self.armed < 6 || self.armed > 9 {
			t.Errorf("armed %d times in 30 s, want about every 5 s", self.armed)
		}
		self.settle()
		if got := read(self.edges(), time.Second, 30*time.Second); got != "slow" {
			t.Errorf("the light that plays by itself shows %q, want slow without a seam", got)
		}
		p.Set(Conditions{Link: true, Lease: true, Dead: true}) // dark, and stays so
		time.Sleep(time.Second)
		synctest.Wait()
		before := self.armed
		time.Sleep(time.Minute)
		synctest.Wait()
		if self.armed != before || self.isLit() || !plain.isLit() {
			t.Errorf("a dark light is armed %d times in a minute", self.armed-before)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// The program that dies arms nothing more: what it has armed ends.
func TestASteadyLightDiesWithTheProgram(t *testing.T) {
	m, err := NewMachine(1, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range rows() {
		m.Set(c, time.Unix(100, 0))
		for _, steps := range m.Ahead(time.Unix(100, 0), ahead) {
			var sum time.Duration
			for _, s := range steps {
				sum += s.For
			}
			if sum != ahead {
				t.Errorf("%+v: armed for %v, want %v", c, sum, ahead)
			}
		}
	}
}
