package lab

import (
	"strings"
	"testing"
	"time"
)

func TestStory(t *testing.T) {
	at := time.Date(2026, 9, 1, 14, 3, 5, 0, time.UTC)
	stamp := Stamp{at}
	var b strings.Builder
	s := NewStory(&b, time.UTC)
	for _, e := range []Event{
		MXReceived{Stamp: stamp, Domain: "good.example", Host: "mx.good.example", From: "a@office.example", TLS: "TLS 1.3"},
		MXReceived{Stamp: stamp, Domain: "good.example", Host: "mx.good.example", From: "a@office.example", TLS: "TLS 1.3"},
		MXReceived{Stamp: Stamp{at.Add(time.Minute)}, Domain: "good.example", Host: "mx.good.example", From: "a@office.example", TLS: "TLS 1.3"},
		MXReceived{Stamp: stamp, Domain: "plain.example", Host: "mx.plain.example", From: "evil\x1b[31m\r\n" + strings.Repeat("x", 500)},
		MXLeft{Stamp: stamp, Domain: "wrongname.example", Host: "mx.wrongname.example", TLS: "TLS 1.3"},
		MXLeft{Stamp: stamp, Domain: "stripped.example", Host: "mx.stripped.example", Stripped: true},
		PolicyServed{Stamp: stamp, Domain: "good.example", Status: 200},
		Repaired{stamp, "repairing.example"},
	} {
		s.Event(e)
	}
	want := `14:03:05  good       mx.good.example has mail from a@office.example, encrypted (TLS 1.3)
14:04:05  good       mx.good.example has mail from a@office.example, encrypted (TLS 1.3)
14:03:05  plain      mx.plain.example has mail from evil\x1b[31m\r\n` + strings.Repeat("x", 109) + `..., sent IN CLEAR
14:03:05  wrongname  the appliance saw the certificate of mx.wrongname.example and left, no mail was sent
14:03:05  stripped   the appliance was offered no encryption by mx.stripped.example and left, no mail was sent
14:03:05  good       the policy was fetched
14:03:05  repairing  REPAIRED: the certificate is fine now
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

// TestStoryTellsRestarts has a guest come twice within a minute.
func TestStoryTellsRestarts(t *testing.T) {
	var b strings.Builder
	s := NewStory(&b, time.UTC)
	for range 2 {
		for _, e := range []Event{GuestConnected{}, LeaseGiven{}, LeaseGiven{Renewal: true}, GuestGone{}} {
			s.Event(e)
		}
	}
	if got := strings.Count(b.String(), "\n"); got != 7 {
		t.Errorf("got %d lines, want 7 (only the renewal is not told again):\n%s", got, b.String())
	}
}

// TestStoryTellsAll has a line for every kind of event.
func TestStoryTellsAll(t *testing.T) {
	for _, e := range []Event{
		GuestConnected{},
		GuestGone{},
		LeaseGiven{},
		LeaseGiven{Renewal: true},
		LeaseRefused{},
		TimeGiven{},
		MailSent{},
		MailRefused{},
		OfficeWaits{},
		PolicyServed{},
		PolicyBlocked{},
		MXReceived{},
		MXLeft{},
		MXLeft{Handshake: "x"},
		STARTTLSStripped{},
		AttackStarted{Kind: Strip},
		AttackStarted{Kind: Forge},
		AttackEnded{},
		AnswerForged{},
		Repaired{},
		ConnectionRefused{},
	} {
		if got := tell(e); len(got) < 20 || strings.Contains(got, "%!") {
			t.Errorf("%T: got %q", e, got)
		}
	}
}
