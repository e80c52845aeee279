package control

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"gatepost/appliance/config"
)

// serveActs serves what act does to those of uids.
func serveActs(t *testing.T, act func(context.Context, Request) (Answer, error), uids ...uint32) Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	s := &Server{Hub: NewHub(Box{}), UIDs: []uint32{me()}, Act: act, ActUIDs: uids}
	go func() { done <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: got %v, want nil", err)
		}
	})
	return Client{path}
}

func TestActTravelsWhole(t *testing.T) {
	change := []config.Change{{Key: "network.mode", Old: "dhcp", New: "static"}}
	req := Request{
		Op: OpSettingsTry, By: "Anna", From: "192.168.1.14", Settings: "version = 1\n", Within: time.Minute, Trial: "t",
		Passphrase: "four quiet herons", Backup: []byte{0, 255},
	}
	ans := Answer{
		Settings: "version = 1\n", Hash: "ab", Use: "file", Changes: change,
		Trial:  &Trial{ID: "t", Left: time.Minute, Changes: change, Page: "https://192.168.1.30/"},
		Backup: []byte{1, 2, 3}, Contents: &Contents{Box: "gate", Version: "1", Time: time.Unix(1e9, 0).UTC(), Hash: "cd"},
	}
	var got Request
	c := serveActs(t, func(_ context.Context, r Request) (Answer, error) { got = r; return ans, nil }, me())
	back, err := c.Act(t.Context(), req)
	if err != nil || !reflect.DeepEqual(back, ans) {
		t.Errorf("answer: got %+v, %v\nwant %+v", back, err, ans)
	}
	if !reflect.DeepEqual(got, req) {
		t.Errorf("request: got %+v\nwant %+v", got, req)
	}
}

func TestActErrors(t *testing.T) {
	var fail error
	c := serveActs(t, func(_ context.Context, r Request) (Answer, error) { return Answer{}, fail }, me())
	for _, want := range []*ActError{
		{Code: CodeInvalid, Text: "wrong", Faults: []config.Error{{File: "config.toml", Line: 3, Text: "no"}}},
		{Code: CodeNoTrial, Text: "over"},
		{Code: CodeFailed, Text: "disk on fire"},
	} {
		fail = want
		if want.Code == CodeFailed {
			fail = errors.New(want.Text) // one without a code
		}
		_, err := c.Act(t.Context(), Request{Op: OpRestart})
		var got *ActError
		if !errors.As(err, &got) || !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %+v", err, want)
		}
	}
	_, err := c.Act(t.Context(), Request{Op: OpRestore, Backup: make([]byte, maxRequest)})
	var got *ActError
	if !errors.As(err, &got) || got.Code != CodeTooLarge {
		t.Errorf("too large: got %v", err)
	}
}

// Who may look may not ask for anything by that.
func TestActIsNotForEveryone(t *testing.T) {
	asked := false
	c := serveActs(t, func(context.Context, Request) (Answer, error) { asked = true; return Answer{}, nil }, me()+1)
	_, err := c.Act(t.Context(), Request{Op: OpPowerOff})
	var got *ActError
	if !errors.As(err, &got) || got.Code != CodeNotAllowed || asked {
		t.Errorf("got %v, asked %v; want it refused", err, asked)
	}
	if _, err := c.Box(t.Context()); err != nil {
		t.Errorf("looking: got %v", err)
	}
}

// Two wishes are never under way at once.
func TestActsTakeTurns(t *testing.T) {
	entered, leave := make(chan string, 2), make(chan bool)
	c := serveActs(t, func(_ context.Context, r Request) (Answer, error) {
		entered <- r.By
		<-leave
		return Answer{}, nil
	}, me())
	done := make(chan error, 2)
	for _, by := range []string{"a", "b"} {
		go func() {
			_, err := c.Act(t.Context(), Request{Op: OpRestart, By: by})
			done <- err
		}()
	}
	first := <-entered
	select {
	case second := <-entered:
		t.Errorf("%s came in beside %s", second, first)
	case <-time.After(100 * time.Millisecond):
	}
	leave <- true
	<-entered
	leave <- true
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
