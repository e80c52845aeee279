package mtasts

import "time"

// Answer is what holds for a domain at one moment, with its evidence.
type Answer struct {
	// Domain is the policy domain in the form of PolicyDomain; "" for an
	// address literal, which has none.
	Domain string
	// Held: a policy is in force (of any mode). Without it the rest, but for
	// the troubles, is zero: deliver as if MTA-STS did not exist.
	Held   bool
	Policy Policy
	// Body is the policy text as served.
	Body string
	// RecordID is the id of the record under which the policy was fetched.
	RecordID string
	// FetchedAt is the last fetch over HTTPS, ExpiresAt when the policy ends.
	FetchedAt, ExpiresAt time.Time
	// Host is what was seen of the policy host at that fetch.
	Host HostEvidence
	// Seen is the id that the DNS gave last, "" when it gave none. It differs
	// from RecordID while the policy of a new id cannot be fetched.
	Seen string
	// RecordChecked says that the DNS gave a definite answer for this Answer:
	// a record, or that there is none. A failure must not be made permanent
	// without it (Section 5.1, step 3).
	RecordChecked bool
	// Trouble is the id of what is wrong with the domain's MTA-STS although
	// the Answer stands, "" when nothing is: ReasonFetch, ReasonInvalid,
	// ReasonWebPKI, ReasonDNS, ReasonRecordGone, ReasonRecord or ReasonClock.
	// The first three are RFC 8460 result types and belong into a TLS report.
	Trouble Reason
	// Detail is the cause of Trouble for a technical reader.
	Detail string
}

// EventKind names what a cache has to tell.
type EventKind string

// The kinds of Event. Alarm says which of them a person should look at.
const (
	PolicyNew      EventKind = "policy-new"      // a first policy for the domain
	PolicyChanged  EventKind = "policy-changed"  // the text is a different one
	PolicyWeakened EventKind = "policy-weakened" // mode enforce became testing or none
	PolicyExpiring EventKind = "policy-expiring" // it will end soon and cannot be refreshed
	PolicyExpired  EventKind = "policy-expired"  // it has ended and could not be refreshed
	FetchFailed    EventKind = "fetch-failed"    // no policy is cached, the fetch failed
	RefreshFailed  EventKind = "refresh-failed"  // a cached policy holds, the fetch failed
	RecordVanished EventKind = "record-vanished" // no record, a cached policy holds
	RecordBroken   EventKind = "record-broken"   // doubled or malformed record
	RecordFlapping EventKind = "record-flapping" // too many different ids in a short time
	MXLeftPolicy   EventKind = "mx-left-policy"  // no MX host of the domain is listed
	StoreFailed    EventKind = "store-failed"    // reading or saving failed; the cache works on
	EntryDamaged   EventKind = "entry-damaged"   // a saved entry was unreadable and is dropped
	ClockJumped    EventKind = "clock-jumped"    // the clock leapt; policies are not ended by it
	CacheFull      EventKind = "cache-full"      // a policy is used, but there is no room to keep it
	EntryRemoved   EventKind = "entry-removed"   // an entry long unused has left
)

// Alarm reports whether a person should look at an event of the kind. One
// alarm of a kind and domain is told once a day at most.
func (k EventKind) Alarm() bool {
	switch k {
	case PolicyNew, PolicyChanged, FetchFailed, EntryRemoved:
		return false
	}
	return true
}

// Event is a fact that a cache has to tell.
type Event struct {
	Kind   EventKind
	Time   time.Time
	Domain string // "" when it concerns the cache as a whole
	// ID and OldID are record ids, Mode and OldMode policy modes, where they
	// apply.
	ID, OldID     string
	Mode, OldMode Mode
	ExpiresAt     time.Time
	// Detail is for a technical reader; a stranger's text in it is bounded.
	Detail string
}

// EntryInfo is one line of Cache.Entries.
type EntryInfo struct {
	Domain    string
	Mode      Mode
	MX        []string
	RecordID  string
	MaxAge    time.Duration
	FetchedAt time.Time
	ExpiresAt time.Time
	Ended     bool      // its life is over; it is kept for a while, but does not hold
	UsedAt    time.Time // last question for the domain, to the day after a restart
	RefreshAt time.Time // next planned refresh, zero when none is planned
	// Trouble and Detail are those of the last attempt, see Answer.
	Trouble Reason
	Detail  string
}

// Entry is everything that is kept of a domain.
type Entry struct {
	EntryInfo
	// Body is the policy text as served, Host what was seen of the policy host
	// when it was fetched.
	Body string
	Host HostEvidence
	// Seen is the id that the DNS gave last, "" when it gave none or was not
	// asked since the start.
	Seen string
}
