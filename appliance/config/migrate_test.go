package config

import (
	"os"
	"strings"
	"testing"
)

// fromZero leads from a version that there never was to the first one.
var fromZero = []migration{{from: 0, rewrite: func(r *rewriter) {
	r.rename("relay.networks", "trusted_networks")
	r.rename("submission.devices.hash", "password_hash")
	r.comment("lights.night", "not known since version 1")
}}}

func TestUpgradeKeepsWhatAPersonWrote(t *testing.T) {
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile("testdata/migrate/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	old, want := read("0.toml"), read("0.want.toml")
	got, changed, err := upgrade("c", old, fromZero, 1)
	if err != nil || !changed || got != want {
		t.Errorf("got %v, %v\n%s\nwant\n%s", changed, err, got, want)
	}
	if strings.Count(got, "\n") != strings.Count(old, "\n") {
		t.Error("lines were added or removed: faults would be told with wrong lines")
	}
	c, err := Parse("c", []byte(got))
	if err != nil || len(c.Relay.TrustedNetworks) != 2 || c.Submission.Devices[1].PasswordHash != "$argon2id$y" {
		t.Errorf("got %+v, %v", c.Relay, err)
	}
	if again, changed, err := upgrade("c", got, fromZero, 1); changed || err != nil || again != got {
		t.Errorf("twice: got %v, %v", changed, err)
	}
}

func TestUpgradeByMoreThanOneStep(t *testing.T) {
	list := append(fromZero, migration{from: 1, rewrite: func(r *rewriter) { r.rename("hostname", "name") }})
	got, _, err := upgrade("c", "version = 0\nhostname = \"a.example\"\nrelay.networks = []\n", list, 2)
	if want := "version = 2\nname = \"a.example\"\nrelay.trusted_networks = []\n"; err != nil || got != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, got, want)
	}
}

// A version that nobody knows is told as that alone, and with what to do.
func TestUnknownVersions(t *testing.T) {
	for text, want := range map[string]string{
		"# new\nversion = 2\nnew_key = 1\n": "c: line 2: version 2 is newer than this Gatepost, which knows versions up to 1: update the box, or use the settings from before",
		"version = 0\nold_key = 1\n":        "c: line 1: version 0 is not known to this Gatepost; it knows version 1",
		"version = -5\n":                    "c: line 1: version -5 is not known to this Gatepost; it knows version 1",
	} {
		if _, err := Parse("c", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestWithDHCP(t *testing.T) {
	whole, err := os.ReadFile("testdata/good/whole.toml")
	if err != nil {
		t.Fatal(err)
	}
	const head = "version = 1\nhostname = \"gate.office.example\"\n"
	for name, text := range map[string]string{
		"whole":            string(whole),
		"nothing":          head,
		"one line":         head + "network = { mode = \"static\", address = \"192.168.1.30/24\", dns = [\"192.168.1.1\"] } # fixed\n[relay]\nparallel = 3\n",
		"dotted":           head + "network.mode = \"static\"\nnetwork.address = \"192.168.1.30/24\"\nnetwork.dns = [\"192.168.1.1\"]\n[relay]\nparallel = 3\n",
		"over more lines":  head + "[network]\nmode = \"static\"\naddress = \"192.168.1.30/24\"\ndns = [\n  \"192.168.1.1\", # router\n  \"192.168.1.2\",\n]\n[relay]\nparallel = 3\n",
		"strange spelling": head + "[ network ]\n\"mode\" = 'static'\n'address'='192.168.1.30/24'\n dns=[ '192.168.1.1' ]\n",
	} {
		before, err := Parse("c", []byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, ok := WithDHCP(text)
		if !ok {
			t.Errorf("%s: not done:\n%s", name, got)
			continue
		}
		after, _ := Parse("c", []byte(got))
		before.Network = Default().Network
		if ch := Changes(before, after); len(ch) > 0 {
			t.Errorf("%s: also changed: %v", name, ch)
		}
		if strings.Count(got, "\n") != strings.Count(text, "\n") {
			t.Errorf("%s: lines are gone:\n%s", name, got)
		}
	}
	if _, ok := WithDHCP("version = 1\nbogus = 1\n"); ok {
		t.Error("a wrong text was taken")
	}
}
