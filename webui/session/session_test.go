package session

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStore(nil)
		token := s.Begin("Anna", "192.168.77.3")
		if _, ok := s.Find(token + "x"); ok {
			t.Fatal("a wrong token was found")
		}
		if _, ok := s.Find(""); ok {
			t.Fatal("an empty token was found")
		}
		time.Sleep(Idle - time.Second)
		if got, ok := s.Find(token); !ok || got.Person != "Anna" {
			t.Fatalf("got %v %v, want Anna's session", got, ok)
		}
		time.Sleep(Idle - time.Second) // the request above renewed it
		if _, ok := s.Find(token); !ok {
			t.Fatal("the session ended although it was used")
		}
		time.Sleep(Idle)
		if _, ok := s.Find(token); ok {
			t.Fatal("the session outlived its idle time")
		}

		token = s.Begin("Anna", "")
		for range 13 {
			time.Sleep(55 * time.Minute)
			s.Find(token)
		}
		time.Sleep(6 * time.Minute) // 12 h 1 min in all
		if _, ok := s.Find(token); ok {
			t.Fatal("the session outlived its life")
		}
	})
}

func TestSessionsEnd(t *testing.T) {
	s := NewStore(nil)
	a, b := s.Begin("Anna", ""), s.Begin("Bob", "")
	if a == b || len(a) < 43 {
		t.Fatalf("got tokens %q and %q, want two long ones", a, b)
	}
	s.End(a)
	if _, ok := s.Find(a); ok {
		t.Error("an ended session was found")
	}
	if _, ok := s.Find(b); !ok {
		t.Error("the other session ended too")
	}
}

func TestSessionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStore(nil)
		first := s.Begin("Anna", "")
		var last string
		for range maxSessions {
			time.Sleep(time.Second)
			last = s.Begin("Anna", "")
		}
		if _, ok := s.Find(first); ok {
			t.Error("the oldest session was kept")
		}
		if _, ok := s.Find(last); !ok || len(s.sessions) != maxSessions {
			t.Errorf("got %d sessions and the newest %v, want %d and true", len(s.sessions), ok, maxSessions)
		}
	})
}

func TestFlash(t *testing.T) {
	s := NewStore(nil)
	token := s.Begin("Anna", "")
	s.SetFlash("nobody", Flash{Key: "x"})
	s.SetFlash(token, Flash{Key: "flash.retry", Count: 3})
	if got, ok := s.TakeFlash(token); !ok || got.Count != 3 {
		t.Errorf("got %v %v, want the message", got, ok)
	}
	if got, ok := s.TakeFlash(token); ok {
		t.Errorf("got %v a second time", got)
	}
}
