package lab

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Story tells events as short lines of plain words, each with the time of
// day. A line that was told within the last minute is not told again, unless
// it is about the guest coming, going or getting an address: after a quick
// restart those happen anew. Its Event method is an Options.Events and may be called concurrently.
type Story struct {
	mu   sync.Mutex
	w    io.Writer
	zone *time.Location
	told map[string]time.Time
}

const (
	storyPause = time.Minute
	storyTold  = 1000 // remembered lines
)

// NewStory tells to w in the given time zone; nil is the local one.
func NewStory(w io.Writer, zone *time.Location) *Story {
	if zone == nil {
		zone = time.Local
	}
	return &Story{w: w, zone: zone, told: make(map[string]time.Time)}
}

// Event tells one event, if there is anything to tell.
func (s *Story) Event(e Event) {
	line := tell(e)
	if line == "" {
		return
	}
	at := e.At()
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.told[line]; ok && at.Sub(last) < storyPause && !always(e) {
		return
	}
	if len(s.told) >= storyTold {
		clear(s.told)
	}
	s.told[line] = at
	_, _ = fmt.Fprintf(s.w, "%s  %s\n", at.In(s.zone).Format("15:04:05"), line)
}

// always reports whether an event is told however lately it was told before.
func always(e Event) bool {
	switch e := e.(type) {
	case GuestConnected, GuestGone:
		return true
	case LeaseGiven:
		return !e.Renewal
	}
	return false
}

// tell puts an event into words; "" when it is not worth a line.
func tell(e Event) string {
	switch e := e.(type) {
	case GuestConnected:
		return about("lab", "the appliance's network card is plugged in")
	case GuestGone:
		return about("lab", "the appliance's network card is gone")
	case LeaseGiven:
		if e.Renewal {
			return about("lab", "the appliance renewed its address %v", e.Addr)
		}
		return about("lab", "the appliance got the address %v for %v", e.Addr, e.Lease)
	case LeaseRefused:
		return about("lab", "the appliance was refused an address")
	case TimeGiven:
		return about("lab", "the appliance asked %v for the time", e.Server)
	case OfficeWaits:
		return about("office", "the %s waits until the appliance takes mail", e.Client)
	case MailSent:
		return about("office", "the %s handed over mail for %s", e.Client, clean(e.To))
	case MailRefused:
		return about("office", "the appliance refused mail for %s: %s", clean(e.To), clean(e.Reply))
	case PolicyServed:
		if e.Status != 200 {
			return about(e.Domain, "the policy host answered %d", e.Status)
		}
		return about(e.Domain, "the policy was fetched")
	case PolicyBlocked:
		return about(e.Domain, "the attacker cut the way to the policy host")
	case MXReceived:
		if e.TLS == "" {
			return about(e.Domain, "%s has mail from %s, sent IN CLEAR", e.Host, clean(e.From))
		}
		return about(e.Domain, "%s has mail from %s, encrypted (%s)", e.Host, clean(e.From), e.TLS)
	case MXLeft:
		return about(e.Domain, "%s", left(e))
	case STARTTLSStripped:
		return about(e.Domain, "the attacker took STARTTLS out of the reply of %s", e.Host)
	case AttackStarted:
		return about(e.Domain, "ATTACK: %s", attackWords[e.Kind])
	case AttackEnded:
		return about(e.Domain, "the attack is over")
	case AnswerForged:
		return about(e.Domain, "the attacker answered for %s of %s", e.Type, clean(e.Name))
	case Repaired:
		return about(e.Domain, "REPAIRED: the certificate is fine now")
	case ConnectionRefused:
		return about(e.Domain, "nothing answers at %v", e.To)
	}
	return ""
}

var attackWords = map[AttackKind]string{
	Strip: "somebody on the path removes STARTTLS",
	Forge: "somebody forges DNS answers and blocks the policy host",
}

func left(e MXLeft) string {
	switch {
	case e.Handshake != "":
		return fmt.Sprintf("the TLS handshake with %s failed, no mail was sent", e.Host)
	case e.TLS != "":
		return fmt.Sprintf("the appliance saw the certificate of %s and left, no mail was sent", e.Host)
	case e.Stripped:
		return fmt.Sprintf("the appliance was offered no encryption by %s and left, no mail was sent", e.Host)
	}
	return fmt.Sprintf("the appliance left %s without sending mail", e.Host)
}

// about puts the one whom a line is about in front of it.
func about(who, format string, args ...any) string {
	who = strings.TrimSuffix(who, ".example")
	return fmt.Sprintf("%-9s  ", who) + fmt.Sprintf(format, args...)
}

// clean bounds a stranger's text and makes its control characters visible.
func clean(s string) string {
	const most = 120
	if len(s) > most {
		s = s[:most] + "..."
	}
	q := fmt.Sprintf("%+q", s)
	return q[1 : len(q)-1]
}
