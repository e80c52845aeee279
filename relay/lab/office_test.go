package lab

import (
	"bytes"
	"context"
	"errors"
	"net/textproto"
	"testing"
	"testing/synctest"
	"time"
)

func TestSend(t *testing.T) {
	everywhere(t, func(t *testing.T, n Network) {
		r := start(t, Office(), n, Options{})
		g := &relay{}
		g.serve(t, n, r.Lab)
		s, err := r.Send(within(t), "printer", "plain.example")
		if err != nil {
			t.Fatal(err)
		}
		if s.Client != "printer" || s.From != "printer@office.example" || s.To != "sales@plain.example" || s.Tries != 1 || s.Reply != "250 2.0.0 kept" {
			t.Errorf("got %+v", s)
		}
		if want := bytes.ReplaceAll(s.Message, []byte("\r\n"), []byte("\n")); len(g.mails) != 1 || !bytes.Equal(g.mails[0], want) {
			t.Errorf("the guest got %q, want %q", g.mails, want)
		}
		if got := findCanaries(s.Message); len(got) != 1 || got[0] != s.Canary || bytes.Count(s.Message, []byte(s.Canary)) != 2 {
			t.Errorf("canaries: got %q, want %q in subject and body", got, s.Canary)
		}
		if err := r.deliver("plain.example", s.Message); !errors.Is(err, errNotOffered) {
			t.Error(err)
		}
		leaks := r.Leaks()
		if len(leaks) != 1 || !leaks[0].Allowed || leaks[0].Intended != "plain.example" || leaks[0].Domain != "plain.example" {
			t.Errorf("leaks: got %+v, want one that is allowed", leaks)
		}
		s, err = r.Send(within(t), "", "stripped.example")
		if err != nil || s.Client != "mail server" {
			t.Fatalf("got %+v, %v", s, err)
		}
		if err := r.deliver("stripped.example", s.Message); !errors.Is(err, errNotOffered) {
			t.Error(err)
		}
		if leaks = r.Leaks(); len(leaks) != 2 || leaks[1].Allowed || leaks[1].Domain != "stripped.example" {
			t.Errorf("leaks: got %+v, want a second that is not allowed", leaks)
		}
		if _, err := r.Send(within(t), "toaster", "good.example"); err == nil {
			t.Error("a client that does not exist sent mail")
		}
	})
}

// TestSendWaits has a guest that comes late, then defers, then refuses.
func TestSendWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewMemory()
		r := start(t, Office(), n, Options{})
		if err := n.Claim(Office().LAN.Guest); err != nil {
			t.Fatal(err)
		}
		g := &relay{refuse: []string{"450 4.3.2 not yet"}}
		time.AfterFunc(time.Minute, func() { g.serve(t, n, r.Lab) })
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		s, err := r.Send(ctx, "", "good.example")
		if err != nil || s.Tries < 3 || time.Until(s.Time) > 0 {
			t.Errorf("got %+v, %v; want several tries", s, err)
		}
		if got := happened[OfficeWaits](r); len(got) != 1 {
			t.Errorf("waiting was told %d times, want once", len(got))
		}
		g.refuse = []string{"550 5.7.1 go away"}
		_, err = r.Send(ctx, "", "good.example")
		var reply *textproto.Error
		if !errors.As(err, &reply) || reply.Code != 550 {
			t.Errorf("got %v, want 550", err)
		}
		if got := happened[MailRefused](r); len(got) != 1 || got[0].Reply != "550 5.7.1 go away" {
			t.Errorf("got %+v", got)
		}
	})
}

// TestOfficeSends lets the office work for ten minutes.
func TestOfficeSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewMemory()
		r := start(t, Office(), n, Options{OfficeSends: true})
		g := &relay{}
		g.serve(t, n, r.Lab)
		for _, d := range Office().Domains {
			if _, err := r.WaitSent(within(t), d.Name, 2); err != nil { // from both clients
				t.Error(err)
			}
		}
		time.Sleep(10 * time.Minute)
		want := 2*11 + 10*60/20 + 10*60/45
		if got := len(r.Sent()); got < want-2 || got > want+2 {
			t.Errorf("in ten minutes the office sent %d messages, want about %d", got, want)
		}
		seen := make(map[string]bool)
		for _, s := range r.Sent() {
			if seen[s.Canary] {
				t.Errorf("canary %s was used twice", s.Canary)
			}
			seen[s.Canary] = true
		}
	})
}
