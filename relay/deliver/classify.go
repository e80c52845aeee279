package deliver

import (
	"regexp"
	"slices"
	"strings"
	"unicode"

	"gatepost/relay/verdict"
)

// reply is a server's refusal, in the form in which the rules read it.
type reply struct {
	code      int
	detail    string // "1.1" of "5.1.1"
	text      string // lower case
	temporary bool
}

// textCode is an RFC 3463 code in the form of qmail, "(#5.1.1)".
var textCode = regexp.MustCompile(`#([245]\.\d{1,3}\.\d{1,3})\b`)

// classify finds the reason behind a refusal from its RFC 3463 code where there
// is one, and from its words where the code says little or is misused. It names
// what happened for people; whether the message waits or is returned is not
// decided here.
//
// The rules stand in the order of how sure their signs are: a name of a list
// before a code that is used for everything, "mailbox full" before "size".
func classify(code int, enhanced, text string) verdict.Reason {
	if m := textCode.FindStringSubmatch(text); enhanced == "" && m != nil {
		enhanced = m[1]
	}
	_, detail, _ := strings.Cut(enhanced, ".")
	r := reply{code: code, detail: detail, text: strings.ToLower(text), temporary: code/100 == 4}
	switch {
	case r.loops():
		return verdict.Loop
	case r.listed():
		return verdict.BlockedByList
	case r.temporary && r.has("greylist", "graylist", "grey-list", "grey list", "gray-list"):
		return verdict.Greylisted
	case r.mailboxFull():
		return verdict.MailboxFull
	case r.tooBig():
		return verdict.TooBig
	case r.senderNotProven():
		return verdict.SenderNotProven
	case r.noReverseName():
		return verdict.NoReverseName
	case r.temporary && r.tooMuch():
		return verdict.RateLimited
	case r.is("6.3", "6.7"):
		return verdict.Unsupported
	case r.code == 556 || r.has("null mx", "nullmx") && !r.has("sender"):
		return verdict.NullMX // RFC 7504, RFC 7505
	case r.relayDenied():
		return verdict.RelayDenied
	case r.noSuchUser():
		return verdict.NoSuchUser
	case r.contentRefused():
		return verdict.ContentRefused
	case !r.temporary && (r.is("1.2", "4.4") || r.has("host unknown", "unknown host")):
		return verdict.NoRoute
	case r.serverTrouble():
		return verdict.ServerTrouble
	case r.comeBack():
		return verdict.Greylisted
	case r.temporary:
		return verdict.Unknown
	}
	return verdict.Refused
}

func (r reply) loops() bool {
	return r.is("4.6", "4.14") || r.has("too many hops", "hop count", "mail loop", "loops back", "loop detected",
		"mail is looping", "routing loop", "too many received")
}

func (r reply) listed() bool {
	return r.has("spamhaus", "blocklist", "blacklist", "block list", "black list", "blocked using", "dnsbl", "barracuda",
		"spamcop", "invaluement", "uceprotect", "senderscore", "abusix", "cloudmark", "ipcheck.proofpoint",
		"proofpoint.com/ipcheck", "banned sending ip", "bl.mailspike", "psbl", "s3140", "s3150", "listed at", "listed by",
		"real-time block", "realtime block", "poor reputation", "bad reputation", "low reputation", "reputation of the sending ip",
		"deny list", "denylist") || r.word("rbl", "rbls", "sorbs", "xbl", "sbl", "pbl", "css")
}

func (r reply) mailboxFull() bool {
	if r.has("sending", "daily") {
		return false // a quota of the sender
	}
	return r.is("2.2") || r.has("mailbox full", "mailbox is full", "over quota", "overquota", "quota exceeded", "exceeded quota",
		"quota exceed", "out of storage", "over its quota", "over their quota", "mailbox quota", "storage quota", "disk quota",
		"inbox is full", "exceeded storage", "mailfolder is full", "mailbox size limit", "not enough space")
}

func (r reply) tooBig() bool {
	return r.is("3.4", "2.3") || r.has("message size", "message too large", "too big", "size limit", "exceeds maximum size",
		"exceeds the maximum size", "too large", "fixed limit", "fixed maximum", "message length exceeds",
		"maximum allowed size", "too much mail data", "message is larger") ||
		r.code == 552 && r.detail == "" && !r.has("spam", "virus", "content", "policy")
}

func (r reply) tooMuch() bool {
	return r.is("7.28", "5.3") || r.has("rate limit", "ratelimit", "rate-limit", "too many", "throttl", "too fast", "unusual rate",
		"unusual amount", "too quickly", "slow down", "unexpected volume", "temporarily deferred", "server busy", "too busy",
		"is busy", "concurren", "connection limit", "limit exceeded", "exceeded the", "number of messages", "number of connections",
		"high volume", "sending limit", "frequency", "maximum number", "per hour", "per minute", "per day", "load too high",
		"high load", "overload")
}

// noSuchUser: the recipient does not exist there. A code for the address counts
// only with a permanent refusal: "4.1.1" is said by servers whose directory is
// out of order. Some refusals of the sender look alike.
func (r reply) noSuchUser() bool {
	if r.temporary || r.has("sender address", "sender verify", "return path", "mail from", "helo", "sender domain", "from address") || r.relayDenied() {
		return false
	}
	return r.is("1.0", "1.1", "1.3", "1.6", "1.10", "2.1") || r.is("4.1") && r.has("recipient address rejected") ||
		r.has("user unknown", "unknown user", "no such user", "no such recipient", "no such mailbox", "no such address",
			"no such person", "does not exist", "doesn't exist", "not exist", "no mailbox", "mailbox not found",
			"mailbox unavailable", "mailbox unknown", "recipient unknown", "unknown recipient", "recipient not found",
			"recipientnotfound", "recipient does not", "invalid recipient", "invalid mailbox", "user not found",
			"account not found", "no account", "not a valid", "isn't a valid", "unknown address", "address unknown",
			"unknown local", "unknown or illegal alias", "is not known", "unrouteable address", "unroutable address",
			"no valid recipient", "unknown in virtual", "account is disabled", "account disabled", "is inactive",
			"mailbox disabled", "mailbox is disabled", "bad destination mailbox", "no longer", "delivery error: dd")
}

// senderNotProven: RFC 7372 and RFC 7489 gave codes for it (5.7.20 to 5.7.24,
// 5.7.26), most servers have words.
func (r reply) senderNotProven() bool {
	return r.is("7.20", "7.21", "7.22", "7.23", "7.24", "7.26", "7.7", "7.509", "7.515") ||
		r.has("sender policy framework", "unauthenticated email", "sender is unauthenticated", "is not allowed to send mail", "openspf") ||
		r.word("spf", "dkim", "dmarc")
}

// noReverseName: 5.7.25 of RFC 7372, and its many spellings.
func (r reply) noReverseName() bool {
	return r.is("7.25") || r.has("reverse dns", "reverse hostname", "cannot find your hostname", "reverse lookup", "reverse name") ||
		r.word("ptr", "rdns")
}

func (r reply) contentRefused() bool {
	return r.has("virus", "malware", "spam", "phishing", "unsolicited", "message content", "content rejected", "content restrictions",
		"its content", "junk mail", "attachment", "security issue") && !r.has("no virus", "anti-virus scanner")
}

// serverTrouble: the server has a fault, which X.3.z and X.4.z say and the
// words where there is no code.
func (r reply) serverTrouble() bool {
	if !r.temporary {
		return false
	}
	return strings.HasPrefix(r.detail, "3.") || strings.HasPrefix(r.detail, "4.") && !r.has("harvest") ||
		r.has("local problem", "local error", "service not available", "service unavailable", "system problem", "temporary failure",
			"temporary problem", "internal error", "internal server error", "server error", "read error", "write error", "maintenance",
			"lookup failed", "lookup failure", "temporarily failed", "disk space", "storage", "resource", "timed out", "timeout", "configuration problem")
}

// comeBack: the server asks us to come back later and says no more. It is what
// greylisting looks like on most servers.
func (r reply) comeBack() bool {
	return r.temporary && r.has("again", "later", "moment", "minutes", "seconds", "retry", "come back", "temporarily rejected", "temporarily unavailable", "not yet", "first contact")
}

// wantsLogin reports whether a refusal says that the server does not relay for
// us, because we did not log in or are not known to it.
func wantsLogin(code int, text string) bool {
	switch code {
	case 530, 534, 535, 538: // RFC 4954, Section 6
		return true
	}
	r := reply{code: code, text: strings.ToLower(text)}
	return r.relayDenied() || r.has("authentication required", "authentication is required", "must authenticate", "not authenticated", "authenticate first")
}

func (r reply) relayDenied() bool {
	return r.has("relay access denied", "relaying denied", "relay denied", "relay not permitted", "relaying not permitted",
		"not permitted to relay", "unable to relay", "not allowed to relay", "relay not allowed", "relaying is not allowed",
		"relaying prohibited", "prohibited relay", "does not relay", "we do not relay", "no relaying", "not relay for", "relay rejected", "rcpthosts", "relaying temporarily disabled")
}

// is reports whether the RFC 3463 subject and detail are one of those.
func (r reply) is(details ...string) bool { return slices.Contains(details, r.detail) }

func (r reply) has(words ...string) bool {
	for _, w := range words {
		if strings.Contains(r.text, w) {
			return true
		}
	}
	return false
}

// word reports whether one of the words stands in the text by itself.
func (r reply) word(words ...string) bool {
	return slices.ContainsFunc(strings.FieldsFunc(r.text, func(c rune) bool {
		return !unicode.IsLetter(c) && !unicode.IsDigit(c)
	}), func(w string) bool { return slices.Contains(words, w) })
}
