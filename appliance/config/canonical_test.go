package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestChanges(t *testing.T) {
	parse := func(text string) Config {
		t.Helper()
		c, err := Parse("c", []byte("version = 1\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, tc := range []struct {
		before, after string
		want          string
		proof         bool
	}{
		{"", "# only a comment", "[]", false},
		{"[relay]\nlifetime = \"5d\"\n", "", "[]", false}, // the built-in value
		{"", "[relay]\nmax_message_mb = 10\n", "[{relay.max_message 52428800 10485760}]", false},
		{"", "hostname = \"gate.office.example\"\n", "[{hostname gatepost.local gate.office.example}]", true},
		{"", "[admin]\nhosts = [\"a.example\"]\n", "[{admin.hosts  a.example}]", true},
		{"[network]\ndns = [\"192.168.1.1\"]\n", "", "[{network.dns 192.168.1.1 }]", true},
		{
			"[smart_host]\nserver = \"a.example\"\nuser = \"u\"\npassword = \"old\"\n",
			"[smart_host]\nserver = \"a.example\"\nuser = \"u\"\npassword = \"new\"\n",
			"[{smart_host.password (hidden) (hidden)}]", false,
		},
	} {
		got := Changes(parse(tc.before), parse(tc.after))
		if fmt.Sprint(got) != tc.want {
			t.Errorf("%q to %q: got %v, want %s", tc.before, tc.after, got, tc.want)
		}
		proof := false
		for _, c := range got {
			proof = proof || c.NeedsProof()
		}
		if proof != tc.proof {
			t.Errorf("%q to %q: needs proof: got %v, want %v", tc.before, tc.after, proof, tc.proof)
		}
	}
}

// Every setting counts in the hash, but not the form of the file and no
// password.
func TestHash(t *testing.T) {
	text, err := os.ReadFile("testdata/good/whole.toml")
	if err != nil {
		t.Fatal(err)
	}
	hash := func(text string) string {
		t.Helper()
		c, err := Parse("c", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return Hash(c)
	}
	want := hash(string(text))
	if len(want) != 64 || want == Hash(Default()) {
		t.Errorf("got %q", want)
	}
	same := "# a comment\n" + strings.ReplaceAll(string(text), " = ", "   =   ")
	if got := hash(same); got != want {
		t.Error("the form of the file changes the hash")
	}
	if got := hash(strings.Replace(string(text), `"kettle"`, `"another"`, 1)); got != want {
		t.Error("the hash tells a password")
	}
	for _, change := range [][2]string{{"192.168.1.30/24", "192.168.1.31/24"}, {`"mail.lan:2525"`, `"mail.lan:2526"`}, {`"required"`, `"watch"`}, {"25\n", "26\n"}, {`"Anna@`, `"Anne@`}} {
		if !strings.Contains(string(text), change[0]) {
			t.Fatalf("the good file has no %s any more", change[0])
		}
		if hash(strings.Replace(string(text), change[0], change[1], 1)) == want {
			t.Errorf("%q to %q does not change the hash", change[0], change[1])
		}
	}
}

func TestKeyName(t *testing.T) {
	for field, want := range map[string]string{
		"Hostname": "hostname", "MaxMessage": "max_message", "DNS": "dns", "TLSRule": "tls_rule", "ImplicitTLS": "implicit_tls", "V4": "v4", "SMTP": "smtp",
	} {
		if got := keyName(field); got != want {
			t.Errorf("%s: got %s, want %s", field, got, want)
		}
	}
}
