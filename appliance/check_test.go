package appliance

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The check says which way mail would take, and shows no password.
func TestCheckFileTellsTheWays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.toml")
	text := `version = 1
hostname = "gatepost.office.example"
[[inbound]]
domain = "office.example"
server = "192.168.1.5"
[[inbound]]
domain = "old.example"
server = "fd00::5"
tls = "none"
[smart_host]
server = "smtp.provider.example"
user = "office"
password = "kettle"
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := CheckFile(&out, []string{file}); err != nil {
		t.Fatal(err)
	}
	want := file + ` is right: this box would be gatepost.office.example
mail for office.example goes to 192.168.1.5:25, encrypted when it can
mail for old.example goes to [fd00::5]:25, without encryption
other mail goes out through smtp.provider.example:587, only encrypted and with a checked certificate, with a login
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(text, "user", "usr", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	err := CheckFile(&out, []string{file})
	if err == nil || !strings.Contains(err.Error(), `config.toml: line 12: unknown key "usr" in [smart_host] (did you mean "user"?)`) || strings.Contains(err.Error(), "kettle") {
		t.Errorf("got %v", err)
	}
	for _, args := range [][]string{nil, {file, file}, {file + "x"}} {
		if err := CheckFile(&out, args); err == nil {
			t.Errorf("%q: got no error", args)
		}
	}
}
