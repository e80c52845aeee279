package spool

import (
	"context"
	"slices"
	"time"
)

// request is one record on its way to the disk.
type request struct {
	kind   byte
	number uint64
	rec    []byte // finished, without tag and synced mark
	done   chan struct{}
	err    error
	at     place // where it is, after done

	rcpts   int // of a new message
	parts   []place
	marks   []mark // of a new outcome
	version uint32 // of an outcome
	// copyOf is where the compactor read the record; the zero value says
	// that it is new.
	copyOf   place
	original *outcomeRecord // of a copied outcome
	part     int            // index of a copied part
}

func newRequest(rec []byte, number uint64) *request {
	return &request{kind: rec[4], number: number, rec: rec, done: make(chan struct{})}
}

// needsFlush reports whether somebody waits for the record to be durable. A new
// part counts only when its message record is there.
func (r *request) needsFlush() bool { return r.kind != kindPart || r.copyOf.seg != nil }

// patient reports whether the record had better wait for company: a new
// outcome, of which nobody was told a thing, shares the flush of the next
// message.
func (r *request) patient() bool {
	return (r.kind == kindOutcome || r.kind == kindDead) && r.copyOf.seg == nil
}

// submit hands in a record and returns when it is durable (a new part: when it
// is written and pinned). Who finds nobody at work commits at once, without a
// change of goroutines; who finds somebody waits, and the committer takes all
// that wait together. When ctx ends before the record was taken it is
// withdrawn.
func (l *Log) submit(ctx context.Context, r *request) error {
	l.mu.Lock()
	if l.stopped {
		l.mu.Unlock()
		return ErrClosed
	}
	l.queue = append(l.queue, r)
	if l.running && !l.leading {
		if l.patience == 0 || !r.patient() {
			l.leading = true
			l.mu.Unlock()
			l.commit(l.take())
			l.release()
			<-r.done
			return r.err
		}
		if len(l.queue) == 1 {
			l.wait()
		}
	}
	l.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
	}
	l.mu.Lock()
	if i := slices.Index(l.queue, r); i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
		l.mu.Unlock()
		return ctx.Err()
	}
	l.mu.Unlock()
	<-r.done
	return r.err
}

// enqueue hands in a record without waiting for it.
func (l *Log) enqueue(r *request) error {
	l.mu.Lock()
	if l.stopped {
		l.mu.Unlock()
		return ErrClosed
	}
	l.queue = append(l.queue, r)
	l.mu.Unlock()
	l.lead()
	return nil
}

// lead makes the committer lead if something waits and nobody leads.
func (l *Log) lead() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running && !l.leading && len(l.queue) > 0 {
		l.leading = true
		nudge(l.wake)
	}
}

// wait lets what is in the queue, outcomes only, wait for company. The caller
// holds the lock, and nobody leads.
func (l *Log) wait() { time.AfterFunc(2*l.patience, l.lead) }

// take returns what waits.
func (l *Log) take() []*request {
	l.mu.Lock()
	defer l.mu.Unlock()
	batch := l.queue
	l.queue = nil
	return batch
}

// goOn reports whether something in the queue had better not wait. If not, the
// lead is over. The caller holds the lock and leads.
func (l *Log) goOn() bool {
	if l.stopped {
		return true
	}
	for _, r := range l.queue {
		if l.patience == 0 || !r.patient() {
			return true
		}
	}
	l.leading = false
	if len(l.queue) > 0 {
		l.wait()
	}
	return false
}

// release ends the lead of a caller of submit. What has gathered meanwhile is
// the committer's, which goes on until nothing presses.
func (l *Log) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.goOn() {
		nudge(l.wake)
	}
}

// runCommitter commits what others leave to it until stop is closed, then takes
// nothing more and ends with a mark.
func (l *Log) runCommitter(stop <-chan struct{}) {
	l.mu.Lock()
	l.running = true
	l.mu.Unlock()
	l.lead() // what was handed in before
	for {
		select {
		case <-l.wake:
		case <-stop:
			l.mu.Lock()
			l.stopped = true
			mine := !l.leading
			l.leading = true
			l.mu.Unlock()
			if !mine {
				<-l.wake
			}
			l.commit(l.take())
			l.writeMark()
			return
		}
		for more := true; more; {
			l.commit(l.take())
			l.mu.Lock()
			more = l.goOn()
			l.mu.Unlock()
		}
	}
}
