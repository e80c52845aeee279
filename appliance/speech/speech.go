// Package speech puts the verdicts of the mail machine into the words of the
// page, for the console, the command line and the notices to senders. The words
// themselves are in webui/words; this package only hands the evidence over, in
// a form that cannot break a terminal.
//
// It decides nothing. It imports relay/verdict, webui/words and webui/foreign.
package speech

import (
	"strings"
	"time"

	"gatepost/relay/verdict"
	"gatepost/webui/foreign"
	"gatepost/webui/words"
)

// Speaker speaks of mail at one place and time, in English. It is a value.
type Speaker struct {
	Now  time.Time      // times are told relative to it
	Zone *time.Location // nil is UTC
}

// About is what belongs to a verdict but is not in it.
type About struct {
	Rcpt    string
	Next    time.Time // next attempt, zero when there is none
	Expires time.Time // when the message is given up
}

// Said is a verdict in words.
type Said struct {
	Sentence string
	Owner    string // who can mend it, "" when nothing is to be mended
	Next     string // what that person would do, "" when nothing
}

// Verdict explains why a message is held, waits or was returned. For one that
// was delivered use Delivered.
func (s Speaker) Verdict(v verdict.Verdict, a About) Said {
	voice, ok := s.voice()
	if !ok {
		return Said{Sentence: string(v.Reason)}
	}
	names := make([]foreign.Text, len(v.CertNames))
	for i, n := range v.CertNames {
		names[i] = foreign.Text(n)
	}
	kind := words.Waiting
	switch v.Outcome {
	case verdict.Held:
		kind = words.Held
	case verdict.Returned:
		kind = words.Returned
	}
	date := v.PolicyFetched
	if v.Reason == verdict.CertificateExpired {
		date = v.CertNotAfter
	}
	e := voice.Reason(string(v.Reason), kind, words.Params{
		Domain: foreign.Text(v.Domain), MX: foreign.Text(v.MX), Names: names, Rcpt: foreign.Text(a.Rcpt),
		Reply: foreign.Text(v.Reply), Deadline: a.Expires, Next: a.Next, Date: date, Tried: v.MXTried,
	})
	return Said{
		Sentence: strings.TrimSpace(e.Sentence.String()), Owner: e.Owner, Next: strings.TrimSpace(e.Next.String()),
	}
}

// Delivered says where to and how well protected.
func Delivered(v verdict.Verdict) string {
	how := "without encryption"
	switch v.Protection {
	case verdict.Verified:
		how = v.TLSVersion + ", certificate checked"
	case verdict.Encrypted:
		how = v.TLSVersion + ", certificate not checked"
	}
	return "delivered to " + foreign.Text(v.MX).Cut(60) + ", " + how
}

// Address is a mail address for one line of text.
func Address(a string) string {
	if a == "" {
		return "<>"
	}
	return foreign.Text(a).Cut(80)
}

// Time is a time as people say it: the hour alone today, with the weekday in
// the week around now, with the date else.
func (s Speaker) Time(t time.Time) string {
	voice, ok := s.voice()
	if !ok || t.IsZero() {
		return "-"
	}
	return voice.Time(t)
}

// Size is a number of bytes as kB or MB.
func (s Speaker) Size(n int64) string {
	voice, ok := s.voice()
	if !ok {
		return "-"
	}
	return voice.Size(n)
}

// voice is false when the catalogue in the program is broken.
func (s Speaker) voice() (words.Voice, bool) {
	book, err := words.Load("en")
	return words.Voice{Book: book, Zone: s.Zone, Now: s.Now}, err == nil
}
