package spool

import (
	"context"
	"sync"
)

// Run lets records be written and flushed, and frees segments, until ctx ends.
// It then makes durable what was handed in before, refuses the rest with
// ErrClosed, and returns nil. Append and Record wait until it runs; messages
// can be read without it. End the log's users before it. It must be called once
// only.
func (l *Log) Run(ctx context.Context) error {
	stop := make(chan struct{})
	var committer, compactor sync.WaitGroup
	committer.Go(func() { l.runCommitter(stop) })
	compactor.Go(func() { l.runCompactor(ctx) })
	<-ctx.Done()
	compactor.Wait() // it hands records to the committer
	close(stop)
	committer.Wait()
	return nil
}

// Close closes the files. Call it after Run has returned, or instead of Run;
// readers that are still open keep their segments' files.
func (l *Log) Close() error {
	l.mu.Lock()
	l.stopped = true
	waiting := l.queue
	l.queue = nil
	seg := l.active
	if seg != nil {
		seg.closed = true
		l.active = nil
	}
	l.mu.Unlock()
	finish(waiting, ErrClosed)
	if seg != nil {
		l.unpin(seg)
	}
	return nil
}
