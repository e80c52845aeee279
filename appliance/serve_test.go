package appliance

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/smtp"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/appliance/cli"
	"gatepost/relay/smtpd"
)

// patience bounds every wait of these tests; a quiet machine needs a hundredth.
const patience = 30 * time.Second

// innerServer is the office's own mail server: our SMTP server in front of a
// list.
type innerServer struct {
	addr string
	mu   sync.Mutex
	got  []string
}

func newInnerServer(t *testing.T) *innerServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &innerServer{addr: l.Addr().String()}
	srv := smtpd.New(smtpd.Config{
		Hostname: "exchange.office.example", Listeners: []smtpd.Listener{{Listener: l, Role: smtpd.Trusted}},
		TrustedNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Accept: func(_ context.Context, _ smtpd.Envelope, body io.Reader) (string, error) {
			text, err := io.ReadAll(body)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.got = append(s.got, string(text))
			return "x", err
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("inner server: %v", err)
		}
	})
	return s
}

// wait waits for n messages and returns the last of them.
func (s *innerServer) wait(t *testing.T, n int) string {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		s.mu.Lock()
		have := len(s.got)
		last := ""
		if have > 0 {
			last = s.got[have-1]
		}
		s.mu.Unlock()
		if have == n {
			return last
		}
		if have > n || time.Now().After(end) {
			t.Fatalf("the inner server got %d messages, want %d", have, n)
		}
	}
}

// served is one running Serve.
type served struct {
	t      *testing.T
	data   string
	out    *lockedBuffer
	cancel context.CancelFunc
	done   chan error
	smtp   string
	page   string
}

var readyForm = regexp.MustCompile(`(?m)^ready: smtp (\S+), page (\S+)$`)

// startServe runs Serve until it is ready.
func startServe(t *testing.T, data, configFile string) *served {
	t.Helper()
	s := &served{t: t, data: data, out: &lockedBuffer{}, done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	log := slog.New(slog.NewTextHandler(s.out, &slog.HandlerOptions{Level: slog.LevelWarn}))
	go func() {
		s.done <- Serve(ctx, ServeOptions{ConfigFile: configFile, DataDir: data, Version: "test", Stdout: s.out, Log: log})
	}()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if m := readyForm.FindStringSubmatch(s.out.String()); m != nil {
			s.smtp, s.page = m[1], m[2]
			return s
		}
		select {
		case err := <-s.done:
			t.Fatalf("serve ended: %v\n%s", err, s.out)
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("serve is not ready:\n%s", s.out)
		}
	}
}

func (s *served) stop() {
	s.t.Helper()
	s.cancel()
	select {
	case err := <-s.done:
		if err != nil || !strings.HasSuffix(s.out.String(), "stopped\n") {
			s.t.Errorf("stop: %v\n%s", err, s.out)
		}
	case <-time.After(patience):
		s.t.Fatal("serve does not stop")
	}
}

// run gives a command line, as a person at the machine does.
func (s *served) run(line string) (string, error) {
	var out bytes.Buffer
	env := cli.Env{Out: &out, Now: time.Now, Zone: time.UTC, By: "Anna on the console"}
	err := cli.Run(s.t.Context(), env, append(strings.Fields(line), "-data", s.data))
	return out.String(), err
}

// want runs a command and wants each part in what it prints.
func (s *served) want(line string, parts ...string) string {
	s.t.Helper()
	out, err := s.run(line)
	for _, p := range parts {
		if err != nil || !strings.Contains(out, p) {
			s.t.Errorf("gatepost %s: got %v\n%s\nwant %q in it", line, err, out, p)
		}
	}
	return out
}

// await repeats a command until it prints part.
func (s *served) await(line, part string) {
	s.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		out, err := s.run(line)
		if err == nil && strings.Contains(out, part) {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("gatepost %s: got %v\n%s\nwant %q in it", line, err, out, part)
		}
	}
}

// send hands a message over without encryption, as an old printer does.
func (s *served) send(text string) {
	s.t.Helper()
	c, err := smtp.Dial(s.smtp)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	err = errors.Join(c.Mail("bob@office.example"), c.Rcpt("anna@office.example"))
	w, dataErr := c.Data()
	if err = errors.Join(err, dataErr); err != nil {
		s.t.Fatalf("send: %v", err)
	}
	_, err = io.WriteString(w, text)
	if err = errors.Join(err, w.Close(), c.Quit()); err != nil {
		s.t.Fatalf("send: %v", err)
	}
}

// settingsFile writes a settings file for an inner server and returns its name.
func settingsFile(t *testing.T, dir, inner, more string) string {
	t.Helper()
	text := fmt.Sprintf(`version = 1
hostname = "gatepost.office.example"
[relay]
trusted_networks = ["127.0.0.0/8"]
[network]
dns = ["127.0.0.1"]
[[inbound]]
domain = "office.example"
server = %q
tls = "none"
recipients = "any"
%s`, inner, more)
	file := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const listenSome = "[listen]\nsmtp = \"127.0.0.1:0\"\npage = \"127.0.0.1:0\"\n"

// A whole Gatepost on this machine: mail goes to the inner server, and the
// command line sees, stops, deletes, takes back and exports.
func TestServe(t *testing.T) {
	inner := newInnerServer(t)
	dir := t.TempDir()
	file := settingsFile(t, dir, inner.addr, listenSome)
	s := startServe(t, filepath.Join(dir, "d"), file)

	s.send("Subject: one\r\n\r\nhello\r\n")
	if got := inner.wait(t, 1); !strings.HasSuffix(got, "Subject: one\r\n\r\nhello\r\n") {
		t.Errorf("the inner server got\n%s", got)
	}
	s.await("queue list", "No mail is waiting.")
	s.want("status", "Does mail go out and in?", "1 in, 1 out, 0 returned")
	s.want("trace anna@office.example", "from bob@office.example", "anna@office.example: Delivered to ")

	s.want("queue pause -domain office.example", "Mail to office.example is paused by Anna on the console since")
	s.send("Subject: two\r\n\r\nwait\r\n")
	id := strings.Fields(strings.Split(s.want("queue list", "Paused", "Mail to office.example is paused by Anna on the console"), "\n")[1])[0]
	s.want("queue show "+id, "Message "+id, `"two"`, "To anna@office.example: 0 tries", "It has not been tried yet.")
	s.want("queue export "+id, "Subject: two\r\n\r\nwait\r\n")
	action := lastWord(s.want("queue delete "+id, "1 message will be deleted; its sender is not told"))
	s.want("queue list", "Going", "gatepost queue undo "+action)
	s.want("queue undo", action)
	s.want("queue undo "+action, "1 message is waiting again.")
	action = lastWord(s.want("queue return "+id+" -text Sorry", "1 message will be returned to its sender"))
	s.want("queue undo "+action, "1 message is waiting again.")
	s.want("queue resume -domain office.example", "Nothing is paused.")
	if got := inner.wait(t, 2); !strings.Contains(got, "Subject: two") {
		t.Errorf("after the pause the inner server got\n%s", got)
	}
	s.want("policy list", "No rules of other domains are saved yet.")

	web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: patience}
	defer web.CloseIdleConnections()
	if resp, err := web.Get(s.page); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the page: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	if st, err := os.Stat(filepath.Join(s.data, "relay", "api.sock")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v; want it for its owner alone", st, err)
	}
	err := Serve(t.Context(), ServeOptions{ConfigFile: file, DataDir: s.data, Stdout: io.Discard})
	if err == nil || err.Error() != "another gatepost works in "+s.data {
		t.Errorf("a second one: got %v", err)
	}
	s.stop()
	if _, err := s.run("queue list"); err == nil || !strings.Contains(err.Error(), "no relay answers at ") {
		t.Errorf("after the end: got %v", err)
	}
}

// A message that is being handed over when the end comes is taken, answered
// with 250, and delivered by the next start.
func TestServeStopsInOrder(t *testing.T) {
	inner := newInnerServer(t)
	dir := t.TempDir()
	file := settingsFile(t, dir, inner.addr, listenSome)
	s := startServe(t, filepath.Join(dir, "d"), file)
	s.want("queue pause -all")
	c, err := textproto.Dial("tcp", s.smtp)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	say := func(code int, line string) {
		t.Helper()
		if line != "" {
			if err := c.PrintfLine("%s", line); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := c.ReadResponse(code); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	say(220, "")
	say(250, "EHLO client.office.example")
	say(250, "MAIL FROM:<bob@office.example>")
	say(250, "RCPT TO:<anna@office.example>")
	say(354, "DATA")
	s.cancel()
	time.Sleep(50 * time.Millisecond)
	say(250, "Subject: late\r\n\r\nbut whole\r\n.")
	s.stop()

	s = startServe(t, filepath.Join(dir, "d"), file)
	defer s.stop()
	s.want("queue list", "All outgoing mail is paused by Anna on the console")
	s.want("queue resume -all", "Nothing is paused.")
	if got := inner.wait(t, 1); !strings.HasSuffix(got, "Subject: late\r\n\r\nbut whole\r\n") {
		t.Errorf("the inner server got\n%s", got)
	}
}

func lastWord(s string) string {
	f := strings.Fields(s)
	return f[len(f)-1]
}

// What is wrong is told to a person, before anything is served.
func TestServeRefuses(t *testing.T) {
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	noSocket := filepath.Join(dir, "file")
	if err := os.WriteFile(noSocket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		more, socket, want string
	}{
		"no listener":  {"", "", "the settings name no address to listen on"},
		"taken":        {"[listen]\nsmtp = \"" + taken.Addr().String() + "\"\n", "", "smtp " + taken.Addr().String() + ": another program listens there"},
		"not ours":     {"[listen]\nsmtp = \"192.0.2.1:25\"\n", "", "smtp: listen tcp 192.0.2.1:25"},
		"fault":        {"[listen]\nsmpt = \"\"\n", "", `config.toml: line 13: unknown key "smpt" in [listen] (did you mean "smtp"?)`},
		"long socket":  {listenSome, filepath.Join(dir, strings.Repeat("x", 120)), "name a shorter one with -socket"},
		"not a socket": {listenSome, noSocket, "is there and is no socket"},
	} {
		t.Run(name, func(t *testing.T) {
			file := settingsFile(t, dir, "127.0.0.1:1", c.more)
			err := Serve(t.Context(), ServeOptions{ConfigFile: file, DataDir: filepath.Join(dir, "d"), Socket: c.socket, Stdout: io.Discard})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
	for _, args := range [][]string{nil, {"-config", "x"}, {"-bogus"}, {"-config", "x", "-data", "y", "z"}} {
		if err := ServeCommand(InitOptions{}, args); cli.ExitCode(err) != 2 {
			t.Errorf("%q: got %v, want a fault of the command line", args, err)
		}
	}
}

// Passwords in a file that others can read are worth a word.
func TestServeWarnsOfReadablePasswords(t *testing.T) {
	for password, want := range map[string]bool{"": false, "user = \"u\"\npassword = \"kettle\"\n": true} {
		for _, mode := range []os.FileMode{0o600, 0o644} {
			file := settingsFile(t, t.TempDir(), "127.0.0.1:1", "[smart_host]\nserver = \"smtp.provider.example\"\n"+password)
			if err := os.Chmod(file, mode); err != nil {
				t.Fatal(err)
			}
			var out lockedBuffer
			if _, err := readSettings(file, slog.New(slog.NewTextHandler(&out, nil))); err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(out.String(), "chmod 600"); got != (want && mode == 0o644) || strings.Contains(out.String(), "kettle") {
				t.Errorf("password %v, mode %v: got %q", want, mode, out.String())
			}
		}
	}
}

func TestReadResolvConf(t *testing.T) {
	for text, want := range map[string]string{
		"nameserver 192.0.2.1\n":                                    "[192.0.2.1]",
		"# nameserver 192.0.2.1\nsearch a.example\noptions rotate":  "[]",
		"nameserver\tfd00::1%eth0 # here\nnameserver nonsense\n":    "[fd00::1%eth0]",
		strings.Repeat("nameserver 192.0.2.1\n", 10):                "[192.0.2.1 192.0.2.1 192.0.2.1]",
		"nameserver 127.0.0.53\n; nameserver x\nnameserver 1.1.1.1": "[127.0.0.53 1.1.1.1]",
	} {
		if got := fmt.Sprint(readResolvConf(strings.NewReader(text))); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}
