package smtpd

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A client that is not ours, when it is installed.
func TestSwaks(t *testing.T) {
	swaks, err := exec.LookPath("swaks")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("swaks is not installed") // make test installs it: here a skip would hide the check
		}
		t.Skip("swaks is not installed")
	}
	f := start(t, nil)
	run := func(server string, args ...string) string {
		t.Helper()
		args = append([]string{"--server", server, "--ehlo", "client.example", "--from", "bob@office.example", "--to", "anna@good.example,b@good.example", "--body", ".dot\n..dots"}, args...)
		out, err := exec.Command(swaks, args...).CombinedOutput()
		if err != nil {
			t.Errorf("swaks %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run(f.trusted)
	run(f.trusted, "--pipeline")
	want := 2
	support, _ := exec.Command(swaks, "--support").CombinedOutput()
	if strings.Contains(string(support), "TLS supported") {
		login := []string{"--auth-user", "printer", "--auth-password", "secret"}
		run(f.trusted, "--tls")
		run(f.submission, append(login, "--tls", "--auth", "PLAIN")...)
		run(f.implicit, append(login, "--tlsc", "--auth", "LOGIN")...)
		want += 3
	}
	got := f.all()
	if len(got) != want {
		t.Fatalf("got %d messages, want %d", len(got), want)
	}
	for _, m := range got {
		if _, rest := m.split(); !strings.Contains(rest, "\r\n\r\n.dot\r\n..dots\r\n") || len(m.env.Rcpts) != 2 {
			t.Errorf("got %q for %+v", rest, m.env)
		}
	}
}

// Postfix's load generator, when it is installed: it says HELO, and its own
// Received field.
func TestSmtpSource(t *testing.T) {
	source, err := exec.LookPath("smtp-source")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("smtp-source is not installed")
		}
		t.Skip("smtp-source is not installed")
	}
	f := start(t, nil)
	for _, args := range [][]string{
		{"-s", "5", "-m", "20", "-l", "4096"},
		{"-d", "-s", "5", "-m", "20", "-l", "102400"}, // more messages on one connection
	} {
		args = append(args, "-f", "bob@office.example", "-t", "anna@good.example", f.trusted)
		if out, err := exec.Command(source, args...).CombinedOutput(); err != nil {
			t.Errorf("smtp-source %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	got := f.all()
	if len(got) != 40 {
		t.Errorf("got %d messages, want 40", len(got))
	}
	for _, m := range got {
		if m.env.From != "bob@office.example" || m.body.Size < 4000 {
			t.Errorf("got %d bytes from %s", m.body.Size, m.env.From)
		}
	}
}
