package appliance

import (
	"bytes"
	"strings"
	"testing"

	"gatepost/appliance/config"
)

// A device logs in with its own password, under any case of its name, and may
// send only as what it may be.
func TestSubmissionRights(t *testing.T) {
	var out bytes.Buffer
	if err := PasswordHash(strings.NewReader("blue-kettle-9\n"), &out, nil); err != nil {
		t.Fatal(err)
	}
	hash := strings.TrimSpace(out.String())
	auth, maySend := submissionRights([]config.Device{
		{Name: "Scanner", PasswordHash: hash, Senders: []string{"scan@Office.example"}},
		{Name: "anna", PasswordHash: hash},
	})
	for _, c := range []struct {
		user, password string
		want           bool
	}{
		{"scanner", "blue-kettle-9", true},
		{"SCANNER", "blue-kettle-9", true},
		{"scanner", "blue-kettle-8", false},
		{"scanner", "", false},
		{"nobody", "blue-kettle-9", false},
	} {
		if got, err := auth(c.user, c.password); err != nil || got != c.want {
			t.Errorf("login %q %q: got %v, %v; want %v", c.user, c.password, got, err, c.want)
		}
	}
	for _, c := range []struct {
		user, from string
		want       bool
	}{
		{"scanner", "scan@office.EXAMPLE", true},
		{"scanner", "Scan@office.example", false}, // RFC 5321, Section 2.4: the local part is compared as it is
		{"scanner", "anna@office.example", false},
		{"scanner", "", false},
		{"anna", "whoever@office.example", true},
		{"nobody", "scan@office.example", false},
	} {
		if got := maySend(c.user, c.from); got != c.want {
			t.Errorf("%q as %q: got %v, want %v", c.user, c.from, got, c.want)
		}
	}
	if auth, _ := submissionRights(nil); auth != nil {
		t.Error("login is offered without devices")
	}
	if err := PasswordHash(strings.NewReader("\n"), &out, nil); err == nil {
		t.Error("an empty password got a hash")
	}
}
