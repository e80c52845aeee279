package mtasts

import (
	"errors"
	"fmt"
)

// Finding the record (Section 3.1).
var (
	// ErrNoRecord: the domain publishes no MTA-STS record. Without a cached
	// policy, deliver as if MTA-STS did not exist.
	ErrNoRecord = errors.New("mtasts: no record")
	// ErrMultipleRecords: more than one record begins with "v=STSv1;". Treat
	// the domain as one without a record.
	ErrMultipleRecords = errors.New("mtasts: multiple records")
	// ErrRecordSyntax: the only record is malformed. Treat the domain as one
	// without a record.
	ErrRecordSyntax = errors.New("mtasts: record syntax")
	// ErrTemporary: the DNS could not say whether there is a record. Nothing
	// is known; do not conclude that the domain has no policy. Defer, or apply
	// your own rule for such domains.
	ErrTemporary = errors.New("mtasts: temporary failure in the DNS")
)

// Fetching and reading the policy (Sections 3.2 and 3.3).
var (
	// ErrPolicySyntax: the policy text is malformed. There is no policy in it.
	ErrPolicySyntax = errors.New("mtasts: policy syntax")
	// ErrFetch: the policy host could not be asked, or did not answer as it
	// must. Use an unexpired cached policy; without one, deliver as if
	// MTA-STS did not exist. Wait five minutes before the next attempt for the
	// same record id.
	ErrFetch = errors.New("mtasts: policy fetch")
	// ErrCertificate: the certificate of the policy host is not valid for it.
	// Treat it as ErrFetch, which it wraps too.
	ErrCertificate = errors.New("mtasts: certificate of the policy host")
	// ErrAddressRefused: every address of the policy host is one that must not
	// be asked, such as a loopback or a private address. Treat it as ErrFetch,
	// which it wraps too.
	ErrAddressRefused = errors.New("mtasts: address of the policy host refused")
)

// The rest.
var (
	// ErrPattern: a text is not an MX pattern (Section 3.2, sts-policy-mx).
	ErrPattern = errors.New("mtasts: invalid MX pattern")
	// ErrDomain: a text is not a domain name; no policy can exist for it. It
	// is the caller's mistake or the message's.
	ErrDomain = errors.New("mtasts: invalid domain name")
	// ErrClock: the time is unknown and nothing is cached, so that no
	// certificate can be judged. Keep the message and ask again later.
	ErrClock = errors.New("mtasts: clock not set")
	// ErrNotStored: a Store has no entry for the domain.
	ErrNotStored = errors.New("mtasts: not stored")
	// ErrStore: the store could not be read and no fresh policy could be had.
	// A saved policy may exist: keep the message and ask again later.
	ErrStore = errors.New("mtasts: store")
	// ErrDamaged: a saved entry is not what was written. The cache drops it
	// and says so in an event.
	ErrDamaged = errors.New("mtasts: damaged entry")
)

// SyntaxError says where a policy text is malformed. It is ErrPolicySyntax.
type SyntaxError struct {
	// Line counts from 1; 0 speaks of the text as a whole.
	Line int
	// Detail is the fault in words; text of the policy in it is quoted and
	// bounded.
	Detail string
}

func (e *SyntaxError) Error() string { return "mtasts: policy syntax: " + e.Where() }

// Where is the message without its prefix, such as "line 3: max_age is not a
// number".
func (e *SyntaxError) Where() string {
	if e.Line == 0 {
		return e.Detail
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Detail)
}

// Is makes every SyntaxError an ErrPolicySyntax.
func (e *SyntaxError) Is(target error) bool { return target == ErrPolicySyntax }

// Reason is the id of what is wrong with a policy, or with a TLS session. The
// ids of RFC 8460, Section 4.3 are used where one fits.
type Reason = string

// Reasons that concern the policy itself. None of them refuses a delivery.
const (
	ReasonFetch      Reason = "sts-policy-fetch-error"
	ReasonInvalid    Reason = "sts-policy-invalid"
	ReasonWebPKI     Reason = "sts-webpki-invalid"
	ReasonDNS        Reason = "dns-broken"
	ReasonRecordGone Reason = "sts-record-gone"    // no record under a cached policy
	ReasonRecord     Reason = "sts-record-invalid" // doubled or malformed record
	ReasonClock      Reason = "clock-wrong"
)

// Reasons for which Judge says no.
const (
	ReasonHostMismatch Reason = "certificate-host-mismatch"
	ReasonExpired      Reason = "certificate-expired"
	ReasonNotTrusted   Reason = "certificate-not-trusted"
	ReasonSTARTTLS     Reason = "starttls-not-supported"
	ReasonMXNotListed  Reason = "sts-mx-not-listed"
	ReasonValidation   Reason = "validation-failure"
)

// quote makes a stranger's text safe to show: escaped and at most 60 bytes of it.
func quote[T string | []byte](s T) string {
	if len(s) > 60 {
		return fmt.Sprintf("%q...", s[:60])
	}
	return fmt.Sprintf("%q", s)
}
