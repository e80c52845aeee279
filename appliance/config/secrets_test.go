package config

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestHideAndReveal(t *testing.T) {
	text, err := os.ReadFile("testdata/good/whole.toml")
	if err != nil {
		t.Fatal(err)
	}
	now, err := Parse("c", text)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := Hide(string(text))
	if err != nil || strings.Contains(shown, "kettle") || strings.Contains(shown, `"blue"`) || strings.Count(shown, hidden) != 2 {
		t.Fatalf("got %v\n%s", err, shown)
	}
	back, err := Reveal("c", shown, now)
	if err != nil || back != string(text) {
		t.Errorf("got %v\n%s", err, back)
	}
	edited := strings.Replace(shown, "per_domain = 2", "per_domain = 3\n# more", 1)
	if back, err = Reveal("c", edited, now); err != nil || !strings.Contains(back, `"kettle"`) || !strings.Contains(back, "per_domain = 3") {
		t.Errorf("edited: got %v\n%s", err, back)
	}
	// Whoever asks for the password to be sent elsewhere must know it.
	for _, change := range [][2]string{
		{`"mail.lan:2525"`, `"evil.example:2525"`},
		{`tls = "verify"`, `tls = "require"`},
		{`"mail.office.example"`, `"evil.example"`},
		{`user = "gatepost"`, `user = "other"`},
		{`"bücher.example"`, `"other.example"`},
	} {
		_, err := Reveal("c", strings.Replace(strings.ReplaceAll(shown, `["Anna@bücher.example", "info"]`, `["info"]`), change[0], change[1], 1), now)
		if f := Faults(err); len(f) != 1 || f[0].Line != 40 || !strings.Contains(f[0].Text, "type it again") {
			t.Errorf("%s to %s: got %v, want a fault of line 40", change[0], change[1], err)
		}
	}
	if _, err := Reveal("c", shown+"\nbogus = 1\n", now); err == nil || strings.Contains(err.Error(), "kettle") {
		t.Errorf("a wrong text: got %v", err)
	}
}

func TestHideForms(t *testing.T) {
	const head = "version = 1\n"
	const server = "[smart_host]\nserver = \"a.example\"\nuser = \"u\"\n"
	for _, tc := range []struct {
		text string
		ok   bool
	}{
		{server + "password = \"kettle\" # the new one\n", true},
		{server + "  'password'='kettle'\n", true},
		{server + "password = \"\"\"\nkettle\nblue\"\"\"\n", true},
		{server + "#password = \"kettle\"\n# password = kettle\npassword = \"x\"\n", true},
		{"smart_host.server = \"a.example\"\nsmart_host.user = \"u\"\nsmart_host.password = \"kettle\"\n", true},
		{"smart_host = { server = \"a.example\", user = \"u\", password = \"kettle\" }\n", false},
		{server + "\"pass\\u0077ord\" = \"kettle\"\n", false},
	} {
		shown, err := Hide(head + tc.text)
		if (err == nil) != tc.ok || strings.Contains(shown, "kettle") {
			t.Errorf("%q: got %v\n%s", tc.text, err, shown)
		}
		if err != nil && !errors.Is(err, ErrCannotHide) {
			t.Errorf("%q: got %v, want ErrCannotHide", tc.text, err)
		}
	}
}

func TestQuote(t *testing.T) {
	for _, secret := range []string{"plain", `a"b\c`, "tab\tnew\nline\x01\x7f", "bücher 🫖"} {
		text := "version = 1\n[smart_host]\nserver = \"a.example\"\nuser = \"u\"\npassword = " + quote(secret) + "\n"
		c, err := Parse("c", []byte(text))
		if err != nil || string(c.SmartHost.Password) != secret {
			t.Errorf("%q: got %v", secret, err)
		}
	}
}

func TestStarter(t *testing.T) {
	c, err := Parse("starter", []byte(Starter))
	if err != nil || !reflect.DeepEqual(c, Default()) {
		t.Errorf("got %+v, %v; want the built-in settings", c, err)
	}
}

// Whatever is shown holds no password, and what is put back is the same.
func FuzzHide(f *testing.F) {
	text, err := os.ReadFile("testdata/good/whole.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add("version = 1\nsmart_host.server = \"a.example\"\nsmart_host.user = \"u\"\nsmart_host.password = '''k\ne'''\n")
	f.Fuzz(func(t *testing.T, text string) {
		now, err := Parse("c", []byte(text))
		if err != nil {
			return
		}
		shown, err := Hide(text)
		if err != nil {
			return
		}
		back, err := Reveal("c", shown, now)
		if err != nil {
			return
		}
		again, err := Parse("c", []byte(back))
		if err != nil || len(Changes(now, again)) > 0 {
			t.Errorf("got %v, %v from\n%s", Changes(now, again), err, back)
		}
	})
}
