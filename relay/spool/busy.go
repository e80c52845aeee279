package spool

import "time"

// Busy returns for how long the write of now has been going on, 0 when there is
// none. Seconds mean a slow disk; a minute means one that answers no more.
func (l *Log) Busy() time.Duration {
	began := l.began.Load()
	if began == nil {
		return 0
	}
	return time.Since(*began)
}
