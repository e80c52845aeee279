package session

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
)

func TestHasher(t *testing.T) {
	h, ctx := NewHasher(), t.Context()
	hash, err := h.Hash(ctx, "four quiet herons")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("got %q, want argon2id with 19 MiB, 2 passes, 1 thread", hash)
	}
	other, _ := h.Hash(ctx, "four quiet herons")
	if other == hash {
		t.Error("two hashes of one password are the same: no salt")
	}
	for password, want := range map[string]bool{
		"four quiet herons": true, "four quiet heron": false, "": false, strings.Repeat("x", 10_000): false,
	} {
		if got, err := h.Verify(ctx, password, hash); err != nil || got != want {
			t.Errorf("%.20q: got %v %v, want %v", password, got, err, want)
		}
	}
	for _, bad := range []string{
		"", "four quiet herons", "$argon2i$v=19$m=19456,t=2,p=1$YWJjZGVmZ2g$YWJjZGVmZ2hpamtsbW5vcA",
		"$argon2id$v=19$m=99999999,t=2,p=1$YWJjZGVmZ2g$YWJjZGVmZ2hpamtsbW5vcA", "$argon2id$v=19$m=19456,t=2,p=1$$", "$$$$$",
		"$argon2id$v=19$m=19456,t=2,p=1$YWJjZGVmZ2g$", "$argon2id$v=19$m=19456,t=900,p=1$YWJjZGVmZ2g$YWJjZGVmZ2hpamtsbW5vcA",
	} {
		if _, err := h.Verify(ctx, "", bad); !errors.Is(err, ErrBadHash) {
			t.Errorf("%q: got %v, want ErrBadHash", bad, err)
		}
	}
}

func TestHasherIsBounded(t *testing.T) {
	h := NewHasher()
	h.turn <- struct{}{} // somebody is being checked
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	busy := make(chan error, 20)
	for range 20 {
		wg.Go(func() { busy <- h.VerifyNobody(ctx, "x") })
	}
	var refused int
	for range 20 - cap(h.queue) {
		if err := <-busy; errors.Is(err, ErrBusy) {
			refused++
		}
	}
	if refused != 12 {
		t.Errorf("got %d refused of 20, want 12", refused)
	}
	cancel()
	wg.Wait()
}

func TestCheckStrength(t *testing.T) {
	for password, want := range map[string]error{
		"":                              ErrTooShort,
		"elevenchars":                   ErrTooShort,
		"four quiet herons":             nil,
		"äöüäöüßéèêîï":                  nil,
		"correct horse battery":         nil,
		strings.Repeat("ab cd ef ", 40): ErrTooLong,
		"aaaaaaaaaaaaaaaa":              ErrCommon,
		"123456789012":                  ErrCommon,
		"password1234":                  ErrCommon,
		"Passwort2026!":                 ErrCommon,
		"gatepostgatepost":              ErrCommon,
		"Gatepost-Admin-1":              ErrCommon,
		"abcdefghijkl":                  ErrCommon,
		"abcabcabcabc":                  ErrCommon,
		"qwertyuiop123":                 ErrCommon,
		"annaannaanna1":                 ErrCommon,
		"20261124":                      ErrTooShort,
	} {
		if got := CheckStrength(password, "Anna"); !errors.Is(got, want) {
			t.Errorf("%.30q: got %v, want %v", password, got, want)
		}
	}
}
