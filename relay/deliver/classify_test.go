package deliver

import (
	"strings"
	"testing"

	"gatepost/relay/verdict"
)

// replies are refusals in the forms that mail servers use: the code, the text
// with its RFC 3463 code where there is one, and what is behind it.
var replies = []struct {
	code int
	text string
	want verdict.Reason
}{
	// The recipient does not exist.
	{550, "5.1.1 The email account that you tried to reach does not exist. Please try double-checking the address", verdict.NoSuchUser},
	{550, "5.1.1 <anna@a.example>: Recipient address rejected: User unknown in local recipient table", verdict.NoSuchUser},
	{550, "5.1.1 <anna@a.example>: Recipient address rejected: User unknown in virtual mailbox table", verdict.NoSuchUser},
	{550, "5.1.1 <anna@a.example>... User unknown", verdict.NoSuchUser},
	{550, "5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", verdict.NoSuchUser},
	{550, "5.4.1 Recipient address rejected: Access denied. [mail.a.example 2026-11-24]", verdict.NoSuchUser},
	{550, "5.5.0 Requested action not taken: mailbox unavailable (S2017062302).", verdict.NoSuchUser},
	{550, "No such user here", verdict.NoSuchUser},
	{550, "No Such User Here\"", verdict.NoSuchUser},
	{550, "Unrouteable address", verdict.NoSuchUser},
	{550, "Unknown user", verdict.NoSuchUser},
	{550, "Requested action not taken: mailbox unavailable", verdict.NoSuchUser},
	{550, "<anna@a.example> No such mailbox", verdict.NoSuchUser},
	{550, "Invalid recipient anna@a.example (#5.1.1)", verdict.NoSuchUser},
	{550, "Mailbox not found", verdict.NoSuchUser},
	{550, "5.7.1 Recipient not found. <http://a.example/help>", verdict.NoSuchUser},
	{550, "5.2.1 The email account that you tried to reach is inactive.", verdict.NoSuchUser},
	{550, "5.2.1 <anna@a.example>: mailbox disabled for this recipient", verdict.NoSuchUser},
	{550, "sorry, no mailbox here by that name (#5.1.1)", verdict.NoSuchUser},
	{550, "5.0.0 <anna@a.example>... This user doesn't exist here", verdict.NoSuchUser},
	{553, "5.1.3 <anna..b@a.example>... User address required", verdict.NoSuchUser},
	{553, "sorry, that domain isn't in my list; recipient unknown", verdict.NoSuchUser},
	{554, "delivery error: dd This user doesn't have an a.example account (anna@a.example) [0]", verdict.NoSuchUser},
	{554, "5.1.1 anna@a.example is not a valid mailbox", verdict.NoSuchUser},
	{551, "5.1.6 anna@a.example has moved; the address is no longer in use", verdict.NoSuchUser},
	{550, "5.1.0 Address rejected anna@a.example", verdict.NoSuchUser},
	{511, "5.1.1 unknown address or alias: anna@a.example", verdict.NoSuchUser},
	{550, "account not found", verdict.NoSuchUser},

	// The mailbox is full.
	{452, "4.2.2 The email account that you tried to reach is over quota. Please direct the recipient to clear it", verdict.MailboxFull},
	{552, "5.2.2 The email account that you tried to reach is over quota", verdict.MailboxFull},
	{452, "4.2.2 Mailbox full", verdict.MailboxFull},
	{552, "5.2.2 Mailbox size limit exceeded", verdict.MailboxFull},
	{554, "5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException", verdict.MailboxFull},
	{452, "4.2.2 <anna@a.example>: Mailbox quota exceeded", verdict.MailboxFull},
	{550, "Quota exceeded (mailbox for user is full)", verdict.MailboxFull},
	{552, "Requested mail action aborted: exceeded storage allocation", verdict.MailboxFull},
	{422, "4.2.2 The recipient's mailbox is over its storage limit: over quota", verdict.MailboxFull},
	{451, "4.2.0 <anna@a.example>: user is over quota", verdict.MailboxFull},
	{554, "delivery error: dd Sorry, your message to anna@a.example cannot be delivered. This mailbox is full (554.30)", verdict.MailboxFull},
	{552, "5.7.0 Insufficient disk space: disk quota exceeded", verdict.MailboxFull},

	// The message is too big.
	{552, "5.3.4 Message size exceeds fixed limit", verdict.TooBig},
	{552, "5.3.4 Error: message file too big", verdict.TooBig},
	{552, "Message size exceeds maximum permitted", verdict.TooBig},
	{552, "5.3.4 Your message exceeded Google's message size limits.", verdict.TooBig},
	{550, "5.3.4 ROUTING.SizeLimit; message size exceeds a fixed maximum size for route", verdict.TooBig},
	{550, "5.2.3 RESOLVER.RST.RecipSizeLimit; message too large for this recipient", verdict.TooBig},
	{552, "message size exceeds maximum value", verdict.TooBig},
	{552, "too much mail data", verdict.TooBig},
	{523, "5.3.4 the message is larger than the recipient accepts", verdict.TooBig},
	{554, "5.3.4 Message too big for system", verdict.TooBig},

	// Greylisting, and whoever only says "later".
	{450, "4.2.0 <anna@a.example>: Recipient address rejected: Greylisted, see http://a.example/postgrey", verdict.Greylisted},
	{451, "4.7.1 Greylisting in action, please come back later", verdict.Greylisted},
	{450, "4.7.1 <mail.office.example[192.0.2.1]>: Client host rejected: Greylisted for 300 seconds", verdict.Greylisted},
	{451, "Graylisted - please try again in five minutes", verdict.Greylisted},
	{451, "4.7.0 Temporary greylisting in place: try again in 00:04:58", verdict.Greylisted},
	{451, "4.7.1 Please try again later", verdict.Greylisted},
	{450, "4.7.1 You must wait 5 minutes before sending again", verdict.Greylisted},
	{451, "4.7.1 This message has been deferred, retry in 300 seconds", verdict.Greylisted},
	{450, "Requested mail action not taken: mailbox unavailable, try again later", verdict.Greylisted},
	{421, "4.3.2 Service not available, closing transmission channel, try later", verdict.Greylisted},
	{451, "Temporary local problem - please try later", verdict.Greylisted},
	{451, "4.3.0 Temporary server error. Please try again later. PRX4", verdict.Greylisted},
	{451, "4.3.5 Server configuration problem, please try again later", verdict.Greylisted},
	{450, "4.7.0 Client not yet known here, come back in a moment", verdict.Greylisted},
	{421, "4.3.0 Service temporarily unavailable", verdict.Greylisted},
	{450, "4.2.0 first contact from this network", verdict.Greylisted},
	{451, "4.3.2 Please try again later", verdict.Greylisted},
	{452, "4.3.1 Insufficient system storage, try again later", verdict.Greylisted},
	{421, "4.4.5 Directory harvest attack detection: come back later", verdict.Greylisted},

	// Too much at a time.
	{421, "4.7.0 Too many connections from your host, slow down", verdict.RateLimited},
	{421, "4.7.28 Our system has detected an unusual rate of unsolicited mail originating from your IP address", verdict.RateLimited},
	{450, "4.2.1 The user you are trying to contact is receiving mail too quickly. Please resend your message at a later time", verdict.RateLimited},
	{421, "4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints", verdict.RateLimited},
	{451, "4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77714)", verdict.RateLimited},
	{451, "4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation.", verdict.RateLimited},
	{421, "4.7.0 concurrent connections limit reached", verdict.RateLimited},
	{452, "4.5.3 Too many recipients", verdict.RateLimited},
	{452, "4.3.2 Connection rate limit exceeded.", verdict.RateLimited},
	{450, "4.7.1 Error: too much mail from 192.0.2.1, limit exceeded", verdict.RateLimited},
	{421, "Too many concurrent SMTP connections; please try again later.", verdict.RateLimited},
	{421, "4.3.2 All server ports are busy; the load is too high: server busy", verdict.RateLimited},
	{451, "Your host has sent too many messages per hour", verdict.RateLimited},
	{450, "4.7.0 maximum number of messages from this sender reached", verdict.RateLimited},
	{421, "4.3.2 The maximum number of concurrent connections has exceeded a limit, closing transmission channel", verdict.RateLimited},
	{450, "4.1.0 <bob@office.example>: Sender address rejected: rate-limit reached", verdict.RateLimited},
	{432, "4.3.2 STOREDRV.Deliver; recipient thread limit exceeded", verdict.RateLimited},

	// On somebody's list.
	{554, "5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org; https://www.spamhaus.org/query/ip/192.0.2.1", verdict.BlockedByList},
	{550, "5.7.1 Service unavailable, Client host [192.0.2.1] blocked using Spamhaus. To request removal from this list see a page (AS16012612)", verdict.BlockedByList},
	{550, "5.7.606 Access denied, banned sending IP [192.0.2.1]. To request removal from this list please visit a page", verdict.BlockedByList},
	{550, "5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your provider since part of their network is on our block list (S3150).", verdict.BlockedByList},
	{554, "5.7.1 The server sending your mail [192.0.2.1] does not have a good reputation; poor reputation", verdict.BlockedByList},
	{553, "5.3.0 Dynamic pool 192.0.2.1. See: http://www.sorbs.net/lookup.shtml?192.0.2.1", verdict.BlockedByList},
	{550, "Rejected because 192.0.2.1 is in a black list at b.barracudacentral.org", verdict.BlockedByList},
	{550, "5.7.1 Mail from 192.0.2.1 refused by a local blacklist", verdict.BlockedByList},
	{554, "IMTA16 192.0.2.1 listed at bl.spamcop.net", verdict.BlockedByList},
	{450, "4.7.1 Service unavailable; client [192.0.2.1] blocked using bl.a.example", verdict.BlockedByList},
	{521, "5.7.1 192.0.2.1 found on one or more RBLs", verdict.BlockedByList},
	{554, "5.7.0 Your server IP address is in the Abusix database", verdict.BlockedByList},

	// Refused for what it is or whom it is from.
	{550, "5.7.1 Our system has detected that this message is likely unsolicited mail", verdict.Refused},
	{554, "5.7.1 Message contains a virus: Eicar-Test-Signature", verdict.Refused},
	{552, "5.7.0 This message was blocked because its content presents a potential security issue.", verdict.Refused},
	{554, "5.6.0 Message content rejected", verdict.Refused},
	{550, "5.7.1 Message rejected as spam by Content Filtering.", verdict.Refused},
	{550, "5.7.26 This mail has been blocked because the sender is unauthenticated. SPF = did not pass", verdict.Refused},
	{550, "5.7.1 Unauthenticated email from office.example is not accepted due to domain's DMARC policy", verdict.Refused},
	{550, "5.7.23 The message was rejected because of Sender Policy Framework violation", verdict.Refused},
	{550, "5.7.25 The IP address sending this message does not have a PTR record setup", verdict.Refused},
	{554, "5.7.1 <mail.office.example[192.0.2.1]>: Client host rejected: Access denied", verdict.Refused},
	{554, "5.7.1 <anna@a.example>: Relay access denied", verdict.Refused},
	{550, "5.7.1 Unable to relay", verdict.Refused},
	{550, "relay not permitted", verdict.Refused},
	{550, "5.7.54 SMTP; Unable to relay recipient in non-accepted domain", verdict.Refused},
	{550, "5.1.8 <bob@office.example>: Sender address rejected: Domain not found", verdict.Refused},
	{553, "5.1.8 <bob@office.example>... Domain of sender address bob@office.example does not exist", verdict.Refused},
	{550, "5.7.1 <bob@office.example>: Sender address rejected: not owned by user", verdict.Refused},
	{550, "Sender verify failed", verdict.Refused},
	{550, "5.7.1 Helo command rejected: Host not found", verdict.Refused},
	{554, "5.7.1 Spam message rejected", verdict.Refused},
	{550, "Message was not accepted -- invalid mail", verdict.Refused},
	{554, "Transaction failed", verdict.Refused},
	{550, "5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required", verdict.Refused},
	{550, "5.7.27 Sender domain has a null MX", verdict.Refused},
	{550, "5.4.5 Daily user sending quota exceeded.", verdict.Refused},
	{521, "5.3.2 This host does not accept mail", verdict.Refused},

	// Loops, lacks, and domains that take no mail.
	{554, "5.4.6 Too many hops", verdict.Loop},
	{554, "5.4.14 Hop count exceeded - possible mail loop ATTR34", verdict.Loop},
	{550, "5.4.6 mail.a.example: mail loops back to me (MX problem?)", verdict.Loop},
	{554, "Too many \"Received\" headers - suspected mail loop", verdict.Loop},
	{550, "5.6.7 Non-ASCII addresses are not supported", verdict.Unsupported},
	{554, "5.6.3 Conversion required but not supported", verdict.Unsupported},
	{556, "5.1.10 Domain does not accept mail (null MX)", verdict.NullMX},
	{550, "5.1.2 <anna@a.example>: Recipient address rejected: Domain not found", verdict.NoRoute},
	{550, "5.4.4 Unable to route: no mail hosts for domain", verdict.NoRoute},
	{550, "Host unknown (Name server: a.example: host not found)", verdict.NoRoute},

	// What says nothing.
	{451, "4.3.0 Internal error", verdict.Unknown},
	{450, "4.1.1 <anna@a.example>: Recipient address rejected: unverified address", verdict.Unknown},
	{451, "4.4.3 Temporary lookup failure of the directory", verdict.Unknown},
	{450, "4.1.8 <bob@office.example>: Sender address rejected: Domain not found", verdict.Unknown},
	{451, "qq read error (#4.3.0)", verdict.Unknown},
	{421, "4.4.2 mx.a.example Error: timeout exceeded", verdict.Unknown},
}

func TestClassify(t *testing.T) {
	unknown := 0
	for _, c := range replies {
		enhanced, text := "", c.text
		if code, rest, ok := strings.Cut(c.text, " "); ok && len(code) >= 5 && code[1] == '.' && strings.Trim(code, "0123456789.") == "" {
			enhanced, text = code, rest
		}
		got := classify(c.code, enhanced, text)
		if got != c.want {
			t.Errorf("%d %s\ngot %s, want %s", c.code, c.text, got, c.want)
		}
		if got == verdict.Unknown {
			unknown++
		}
		if c.code/100 == 5 && got == verdict.Unknown || c.code/100 == 4 && got == verdict.Refused {
			t.Errorf("%d %s: %s does not go with the code", c.code, c.text, got)
		}
	}
	if len(replies) < 120 || unknown*20 > len(replies) {
		t.Errorf("%d of %d replies are unknown, want at most one of 20 of at least 120", unknown, len(replies))
	}
}

// Words within words, and codes that nobody knows.
func TestClassifyOddities(t *testing.T) {
	for _, c := range []struct {
		code     int
		enhanced string
		text     string
		want     verdict.Reason
	}{
		{554, "5.7.1", "listed in zen (SBL)", verdict.BlockedByList},
		{554, "5.7.1", "The request was garbled and absorbs no terrible words", verdict.Refused},
		{599, "", "", verdict.Refused},
		{499, "", "", verdict.Unknown},
		{550, "5", "", verdict.Refused},
		{550, "", strings.Repeat("x", 2000), verdict.Refused},
	} {
		if got := classify(c.code, c.enhanced, c.text); got != c.want {
			t.Errorf("%d %s %q: got %s, want %s", c.code, c.enhanced, c.text, got, c.want)
		}
	}
}
