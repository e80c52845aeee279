package queue

import "gatepost/relay/verdict"

// unreachable reports whether nobody answered for the domain.
func unreachable(v verdict.Verdict) bool {
	if v.Outcome != verdict.Deferred {
		return false
	}
	switch v.Reason {
	case verdict.ConnectTimeout, verdict.NoRoute, verdict.DNSBroken:
		return true
	}
	return false
}

// judgeDomain draws from the results of one attempt what they say about the
// domain. The caller holds the lock.
func (q *Queue) judgeDomain(j *job, results []Result) {
	d := j.domain
	j.network = true
	for _, r := range results {
		if !unreachable(r.Verdict) {
			j.network = false
		}
	}
	now := q.cfg.Now()
	if j.network {
		v := results[0].Verdict
		d.failures++
		d.failedAt, d.last = now, &v
		d.probeAt = now.Add(min(q.delay(d.failures), maxProbe))
		return
	}
	revived := d.failures > 0
	d.failures, d.last, d.good = 0, nil, true
	if !revived {
		return
	}
	q.timers.stop(&d.timer)
	// What waited only because nobody answered need not wait any longer.
	for other := range d.jobs {
		if other.network && other.state == jobWaiting {
			other.next = now
			q.timers.set(&other.timer, now)
		}
	}
}
