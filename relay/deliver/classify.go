package deliver

import (
	"slices"
	"strings"
	"unicode"

	"gatepost/relay/verdict"
)

// classify finds the reason behind a server's reply from its RFC 3463 code
// where there is one, and from its words where the code says little.
func classify(code int, enhanced, text string) verdict.Reason {
	t := strings.ToLower(text)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(t, w) {
				return true
			}
		}
		return false
	}
	_, detail, _ := strings.Cut(enhanced, ".") // "1.1" of "5.1.1"
	temporary := code/100 == 4
	switch {
	case detail == "3.4" || code == 552 && detail != "2.2" || has("message size exceeds", "message too large", "too big"):
		return verdict.TooBig
	case detail == "2.2" || has("mailbox full", "mailbox is full", "over quota", "quota exceeded"):
		return verdict.MailboxFull
	case temporary && has("greylist", "graylist", "grey-list", "greylisted", "try again later, first"):
		return verdict.Greylisted
	case has("spamhaus", "blocklist", "blacklist", "block list", "dnsbl", "barracuda", "spamcop") || word(t, "rbl", "sorbs", "xbl", "sbl", "pbl"):
		return verdict.BlockedByList
	case temporary && (detail == "7.28" || has("rate limit", "too many", "throttl", "too fast", "unusual rate")):
		return verdict.RateLimited
	case detail == "1.1" || detail == "1.0" || detail == "1.3" || detail == "1.6" || detail == "2.1" ||
		!temporary && has("user unknown", "unknown user", "no such user", "does not exist", "mailbox unavailable", "recipient unknown", "invalid recipient", "no mailbox"):
		if temporary {
			return verdict.Unknown
		}
		return verdict.NoSuchUser
	case detail == "4.6" || has("too many hops", "mail loop", "loops back"):
		return verdict.Loop
	case detail == "6.3" || detail == "6.7":
		return verdict.Unsupported
	case temporary && detail == "7.1" && has("later", "moment", "minutes", "seconds"):
		return verdict.Greylisted
	case temporary:
		return verdict.Unknown
	}
	return verdict.Refused
}

// word reports whether one of the words stands in t by itself.
func word(t string, words ...string) bool {
	return slices.ContainsFunc(strings.FieldsFunc(t, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}), func(w string) bool { return slices.Contains(words, w) })
}
