package queue

import (
	"time"

	"gatepost/relay/verdict"
)

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
func (q *Queue) judgeDomain(j *job, results []Result, now time.Time) {
	d := j.domain
	network := true
	for _, r := range results {
		network = network && unreachable(r.Verdict)
	}
	if network {
		if !j.network {
			d.unreached = append(d.unreached, j)
		}
		j.network = true
		v := results[0].Verdict
		v.Evidence = nil
		d.failures++
		d.failedAt, d.last = now, &v
		d.probeAt = now.Add(min(q.delay(d.failures), maxProbe))
		return
	}
	revived := d.failures > 0
	j.network, d.failures, d.last, d.good = false, 0, nil, true
	if !revived {
		return
	}
	// What waited only because nobody answered need not wait any longer.
	for _, other := range d.unreached {
		if other.network && other.state == jobWaiting && other.left == nil {
			other.next = now
			q.alarms.set(other, now)
		}
		other.network = false
	}
	d.unreached = nil
}

// limit is how many attempts at once a domain may have.
func (q *Queue) limit(d *domain) int {
	switch {
	case d.failures > 0:
		return 1
	case !d.good:
		return min(2, q.cfg.PerDomain)
	}
	return q.cfg.PerDomain
}

// probeWaits reports whether only urgent jobs may go: the domain is suspect and
// its next probe is not due.
func (d *domain) probeWaits(now time.Time) bool { return d.failures > 0 && now.Before(d.probeAt) }

// mayStart reports whether the domain has a job that may start now. If only
// time is missing it says until when; the zero time means that something else
// has to happen first.
func (q *Queue) mayStart(d *domain, now time.Time) (ok bool, until time.Time) {
	switch {
	case d.pause != nil || d.active >= q.limit(d) || d.urgent.jobs+d.ready.jobs == 0:
		return false, time.Time{}
	case q.cfg.RatePerMinute > 0 && now.Before(d.rateAt):
		return false, d.rateAt
	case d.urgent.jobs == 0 && d.probeWaits(now):
		return false, d.probeAt
	}
	return true, time.Time{}
}

// offer gives the lines of a domain places in the turns, if it has a job that
// may start. Of many lines only the first have one: the domain chooses whose
// job goes, and the places are only the way to ask it.
func (q *Queue) offer(d *domain, now time.Time) {
	ok, until := q.mayStart(d, now)
	if !ok {
		if !until.IsZero() {
			q.wakes.set(d, until)
		}
		return
	}
	t := &q.healthy
	if d.failures > 0 {
		t = &q.suspect
	}
	d.urgent.offer(t)
	if !d.probeWaits(now) {
		d.ready.offer(t)
	}
}

func (ls *lines) offer(t *turns) {
	ls.trim()
	for _, l := range ls.ring[:min(len(ls.ring), fewLines)] {
		if l.head != nil && !l.queued {
			t.push(l)
		}
	}
}

// take takes the job out whose turn it is in the domain, or returns nil when
// none may start. Jobs whose time is over are given up here when the last
// probe can speak for them.
func (q *Queue) take(d *domain, now time.Time) *job {
	for {
		if ok, _ := q.mayStart(d, now); !ok {
			return nil
		}
		urgent := d.urgent.jobs > 0 && (!d.turn || d.ready.jobs == 0 || d.probeWaits(now))
		d.turn = urgent
		j := d.linesOf(urgent).next()
		if !q.probeSpeaks(j, now) {
			return j
		}
		q.giveUp(j)
	}
}

// probeSpeaks reports whether the time of a job is over in a domain that nobody
// answers for: thousands of them need not wait for a time-out each.
func (q *Queue) probeSpeaks(j *job, now time.Time) bool {
	d := j.domain
	return d.last != nil && now.Sub(d.failedAt) <= freshProbe && !now.Before(q.expires(j))
}

// giveUp returns a job, that is in no line, on the word of the last probe.
func (q *Queue) giveUp(j *job) {
	j.left = &leftover{attempt: int(j.tries) + 1, lost: j.domain.last}
	j.state = jobActive
	q.unfinished = append(q.unfinished, j)
}
