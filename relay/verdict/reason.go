package verdict

// Reason is a stable id for why an attempt ended as it did. The ids of RFC
// 8460, Section 4.3 are used where one fits; the others are ours. They appear
// in the API, in metrics and in reports, and each has a sentence in the web
// page's catalogue.
type Reason string

// Reasons that hold a message: TLS or policy demands were not met.
const (
	CertificateHostMismatch Reason = "certificate-host-mismatch"
	CertificateExpired      Reason = "certificate-expired"
	CertificateNotTrusted   Reason = "certificate-not-trusted"
	StartTLSNotSupported    Reason = "starttls-not-supported"
	MXNotListed             Reason = "sts-mx-not-listed"
	ValidationFailure       Reason = "validation-failure" // the TLS handshake itself failed
	RouteNotSafe            Reason = "route-not-safe"     // the TLS rule of the settings for this next hop was not met
)

// Troubles with the policy itself. They never hold a message by themselves.
const (
	PolicyFetchError Reason = "sts-policy-fetch-error"
	PolicyInvalid    Reason = "sts-policy-invalid"
	PolicyWebPKI     Reason = "sts-webpki-invalid"
	RecordGone       Reason = "sts-record-gone"    // the DNS names no policy any more, a saved one holds
	RecordInvalid    Reason = "sts-record-invalid" // the record is doubled or malformed
)

// Reasons that defer or return a message.
const (
	Greylisted     Reason = "greylisted"
	RateLimited    Reason = "rate-limited"
	MailboxFull    Reason = "mailbox-full"
	NoSuchUser     Reason = "no-such-user"
	BlockedByList  Reason = "blocked-by-list"
	NoRoute        Reason = "no-route"
	NullMX         Reason = "null-mx" // RFC 7505: the domain takes no mail
	ConnectTimeout Reason = "connect-timeout"
	DNSBroken      Reason = "dns-broken"
	ClockWrong     Reason = "clock-wrong"
	TooBig         Reason = "too-big"
	TooOld         Reason = "too-old" // the queue lifetime is over
	// ServerTrouble: their server says that it has a fault or no room.
	ServerTrouble Reason = "server-trouble"
	// SenderNotProven: SPF, DKIM or DMARC do not show that the mail is from the
	// sender's domain.
	SenderNotProven Reason = "sender-not-proven"
	NoReverseName   Reason = "reverse-name-missing" // our address has no PTR record, or a bad one
	ContentRefused  Reason = "content-refused"      // taken for spam, a virus or a dangerous attachment
	RelayDenied     Reason = "relay-denied"         // the server says that the domain is not its own
	Loop            Reason = "mail-loop"
	Unsupported     Reason = "not-supported" // 8BITMIME, SMTPUTF8: the peer cannot take it (5.6.3, 5.6.7)
	// RequireTLS: nobody on the way can promise what the sender asked for (RFC
	// 8689: 5.7.30, 5.7.10).
	RequireTLS       Reason = "requiretls-not-supported"
	LoginRefused     Reason = "login-refused"      // the next hop does not take the name and password of the settings
	ReturnedByPerson Reason = "returned-by-person" // somebody chose to return it
	Damaged          Reason = "damaged"            // our own copy of the message cannot be read back
	Refused          Reason = "refused"            // 5yz that fits no other reason
	Unknown          Reason = "unknown"            // 4yz that fits no other reason
)

// All lists every reason once, for tests and catalogues.
func All() []Reason {
	return []Reason{
		CertificateHostMismatch, CertificateExpired, CertificateNotTrusted,
		StartTLSNotSupported, MXNotListed, ValidationFailure, RouteNotSafe,
		PolicyFetchError, PolicyInvalid, PolicyWebPKI, RecordGone, RecordInvalid,
		Greylisted, RateLimited, MailboxFull, NoSuchUser, BlockedByList,
		NoRoute, NullMX, ConnectTimeout, DNSBroken, ClockWrong, TooBig, TooOld,
		ServerTrouble, SenderNotProven, NoReverseName, ContentRefused, RelayDenied, Loop, Unsupported, RequireTLS, LoginRefused, ReturnedByPerson, Damaged, Refused, Unknown,
	}
}
