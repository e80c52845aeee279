package session

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestClaimCode(t *testing.T) {
	seen := map[string]bool{}
	for range 200 {
		code := NewClaim(nil).Code()
		if len(code) != 11 || code[5] != '-' || strings.Trim(code, crockford+"-") != "" || seen[code] {
			t.Fatalf("got %q, want a new XXXXX-XXXXX", code)
		}
		seen[code] = true
	}
	c := NewClaim(nil)
	c.code = "01ABCDEFGH"
	for _, typed := range []string{"01ABC-DEFGH", "01abcdefgh", " o1 abc - defgh ", "OIABCDEFGH", "0lABCDEFGH"} {
		if ticket, _, _ := c.Try(typed); ticket == "" || !c.Holds(ticket) {
			t.Errorf("%q was refused", typed)
		}
	}
	for _, typed := range []string{"", "01ABC-DEFG", "01ABC-DEFGHH", strings.Repeat("0", 1000)} {
		if ticket, _, _ := c.Try(typed); ticket != "" {
			t.Errorf("%.20q was taken", typed)
		}
	}
}

func TestClaimPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewClaim(nil)
		for i := range ClaimTries {
			ticket, left, wait := c.Try("wrong")
			if want := ClaimTries - 1 - i; ticket != "" || left != want || (wait > 0) != (want == 0) {
				t.Errorf("try %d: got %d left and %v, want %d", i+1, left, wait, want)
			}
		}
		if ticket, _, wait := c.Try(c.Code()); ticket != "" || wait != ClaimPause {
			t.Errorf("got %q and %v during the pause, want none and %v", ticket, wait, ClaimPause)
		}
		time.Sleep(ClaimPause)
		ticket, _, wait := c.Try(c.Code())
		if ticket == "" || wait != 0 {
			t.Fatalf("got %v after the pause, want a ticket", wait)
		}
		second, _, _ := c.Try(c.Code())
		if c.Holds(ticket) || !c.Holds(second) || c.Holds("") {
			t.Error("only the newest ticket may hold")
		}
		time.Sleep(ticketLife)
		if c.Holds(second) {
			t.Error("the ticket outlived its life")
		}
		if (&Claim{now: time.Now}).Holds("") {
			t.Error("no ticket was given, but one holds")
		}
		// Slow wrong tries never add up to a pause.
		for range 20 {
			time.Sleep(20 * time.Second)
			if _, _, wait := c.Try("wrong"); wait > 0 {
				t.Fatal("a pause although tries were slow")
			}
		}
	})
}
