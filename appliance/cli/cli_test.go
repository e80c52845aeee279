package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"gatepost/appliance/api"
	"gatepost/relay/verdict"
)

func TestList(t *testing.T) {
	c := newConsole(t, office())
	c.want("queue list", `
ID  SINCE         SIZE    FROM                TO                   TRIES  STATE
0a  Monday 13:41  240 kB  bob@office.example  anna@example.com +1  9      Held
    Held: example.com says mail must be encrypted, but its server mx.example.com showed a certificate for another name (mail.hoster.example). We keep trying until Friday 13:41.
0b  09:40         900 B   <>                  carl@old.example     0      Paused
    Mail to old.example is paused by Anna since Monday 18:41. It stays here until someone resumes it.
0c  09:41         12 B    bob@office.example  new@new.example      0      New
`)
	c.want("queue list -limit 1", `
ID  SINCE         SIZE    FROM                TO                   TRIES  STATE
0a  Monday 13:41  240 kB  bob@office.example  anna@example.com +1  9      Held
    Held: example.com says mail must be encrypted, but its server mx.example.com showed a certificate for another name (mail.hoster.example). We keep trying until Friday 13:41.

1 shown, 3 messages in all; -all shows every one.
`)
	c.want("queue list -from nobody", "None of the waiting mail (3 messages) fits.\n")
	if got := c.engine.asked[len(c.engine.asked)-1]; !reflect.DeepEqual(got, api.MessageQuery{From: "nobody", Limit: 100}) {
		t.Errorf("the relay was asked %+v", got)
	}
	c.engine.messages = nil
	c.want("queue list", "No mail is waiting.\n")
}

// A message's way is a story: what DNS said, each server, its certificate, its
// answer, and the rule that decided.
func TestShow(t *testing.T) {
	c := newConsole(t, office())
	c.want("queue show 0a", `
Message 0a
  From        bob@office.example
  Subject     "Invoice 2211"
  Size        240 kB
  Came in     Monday 13:41 from 192.168.1.20 (exchange.office.example), TLS 1.3
  Received id tr1
  Kept until  Friday 13:41

To anna@example.com: 9 tries, next 09:55
  Held: example.com says mail must be encrypted, but its server mx.example.com showed a certificate for another name (mail.hoster.example). We keep trying until Friday 13:41.
  Who can fix it: the other side. They need a certificate on that server that carries the server's own name.

To info@example.com: 9 tries, next 09:55
  Held: example.com says mail must be encrypted, but its server mx.example.com showed a certificate for another name (mail.hoster.example). We keep trying until Friday 13:41.
  Who can fix it: the other side. They need a certificate on that server that carries the server's own name.

Its way:
  Mon 23 Nov 13:41:00  came in
  Tue 24 Nov 08:41:00  try 9 for anna@example.com, info@example.com
      rules of example.com: must be encrypted; servers mx.example.com (id 20260101, read Monday 03:41, good until 6 Dec 21:41)
      DNS: mail for example.com goes to mx.example.com (10) (unsigned)
      mx.example.com [192.0.2.7], 300 ms
        listed in the rules as mx.example.com
        TLS 1.3 TLS_AES_128_GCM_SHA256, certificate not checked
        certificate mail.hoster.example, issuer Example CA, 22 Nov 2026 to 14 Dec 2026, SHA-256 ab12
          signed by Example CA, issuer Example Root, ? to 12 Jun 2027, SHA-256 cd34
        so: held, certificate-host-mismatch (RFC 8461, Section 4.2)
      Held: example.com says mail must be encrypted, but its server showed a certificate for another name. We keep trying.
      Reason: certificate-host-mismatch (RFC 8461, Section 4.2)
`)
	c.want("queue show 09", `
Message 09 waits no more.
  From  bob@office.example

Its way:
  Tue 24 Nov 07:41:00  try 1 for dora@good.example
      mx.good.example [192.0.2.9]
        TLS 1.3 TLS_AES_256_GCM_SHA384, certificate checked
        answered: 250 2.0.0 OK id=1
      Delivered to mx.good.example, TLS 1.3, certificate checked
`)
	out, err := c.run("queue show 0c")
	if err != nil || !strings.HasSuffix(out, "\nIt has not been tried yet.\n") {
		t.Errorf("got %v\n%s", err, out)
	}
}

func TestTrace(t *testing.T) {
	c := newConsole(t, office())
	c.want("trace dora@good.example", `
09  Tue 24 Nov 07:41:00  from bob@office.example
    dora@good.example: Delivered to mx.good.example, TLS 1.3, certificate checked
`)
	out, err := c.run("trace 0a")
	if err != nil || !strings.HasPrefix(out, "Message 0a\n") {
		t.Errorf("an id: got %v\n%s", err, out)
	}
	out, err = c.run("trace bob@office.example -way")
	if err != nil || !strings.Contains(out, "certificate mail.hoster.example, issuer Example CA") || !strings.Contains(out, "answered: 250 2.0.0 OK id=1") {
		t.Errorf("-way: got %v\n%s", err, out)
	}
	out, err = c.run("trace -json good.example -days 2")
	var a api.Attempt
	if err != nil || strings.Count(out, "\n") != 1 || json.Unmarshal([]byte(out), &a) != nil || !reflect.DeepEqual(a, c.engine.history[2]) {
		t.Errorf("-json: got %v\n%s", err, out)
	}
	if got := c.engine.asked[len(c.engine.asked)-1].(api.HistoryQuery); got.Address != "good.example" || !got.Since.Equal(now.Add(-48*time.Hour)) {
		t.Errorf("the relay was asked %+v", got)
	}
	if out, err := c.run("trace nobody@nowhere.example"); err == nil || !strings.HasPrefix(err.Error(), `no message of "nobody@nowhere.example" found.`) {
		t.Errorf("got %q, %v", out, err)
	}
}

// What a person does is told with how to take it back, and with a name.
func TestActs(t *testing.T) {
	c := newConsole(t, office())
	c.want("queue retry 0a 0b gone", "2 messages will be tried now.\n")
	c.want("queue retry -domain old.example", "2 messages will be tried now.\n")
	c.want("queue retry -all", "3 messages will be tried now.\n")
	c.want("queue pause", "Nothing is paused.\n")
	c.want("queue pause -domain old.example", "Mail to old.example is paused by root on the console since 09:41.\n")
	c.want("queue pause 0a", "Mail to old.example is paused by root on the console since 09:41.\nMessage 0a is paused by root on the console since 09:41.\n")
	c.want("queue resume -all", "Nothing is paused.\n")
	c.want("queue return 0a gone -text Sorry", `
1 message will be returned to its sender, at 09:42:00.
To take it back: gatepost queue undo a1
1 other did not wait here any more.
`)
	if got, want := c.engine.asked[len(c.engine.asked)-1], (api.Return{IDs: []string{"0a", "gone"}, By: "root on the console", Text: "Sorry"}); !reflect.DeepEqual(got, want) {
		t.Errorf("the relay was asked %+v, want %+v", got, want)
	}
	c.want("queue undo", `
ACTION  WHAT    MESSAGES  UNTIL     BY
a1      return  1         09:42:00  root on the console
`)
	c.want("queue undo a1", "1 message is waiting again.\n")
	c.want("queue undo", "There is nothing to take back.\n")
	c.want("queue delete -from bob@office.example", `
2 messages will be deleted; the senders are not told, at 09:56:00.
To take it back: gatepost queue undo a1
`)
}

func TestPolicies(t *testing.T) {
	c := newConsole(t, office())
	c.want("policy list", `
DOMAIN         RULES              SERVERS  READ          GOOD UNTIL   TROUBLE
example.com    must be encrypted  1        Monday 03:41  6 Dec 21:41  -
watch.example  watch only         2        08:41         6 Dec 21:41  sts-policy-fetch-error
`)
	c.want("policy list nothing", "None of the saved rules (2 domains) fit.\n")
	c.want("policy show watch.example", `
watch.example: watch only
  servers     a.example, b.example
  id          -
  read        08:41
  good until  6 Dec 21:41
  last used   -
  read again  -
  trouble     sts-policy-fetch-error
              no route to host
  DNS says    20261124
  read from   192.0.2.1:443, TLS 1.3, certificate for mta-sts.watch.example by R11
  as served   version: STSv1
              mode: testing
              ‹U+001B›[2Jmx: a.example
`)
	c.want("policy check a.example", `
a.example: mail would be sent, not encrypted.
  DNS: mail for a.example goes to mx1.a.example (10) (unsigned)
  mx1.a.example [192.0.2.1]
    without encryption
`)
	c.want("policy check inside.example", `
inside.example: the settings of this box say where this mail goes; that server is not asked.
  the settings say which server is inside for inside.example
`)
	if out, err := c.run("policy check held.example"); err != nil || !strings.Contains(out, "held.example: mail would not be sent now. Held: ") {
		t.Errorf("got %v: %s", err, out)
	}
	if _, err := c.run("policy check bad"); err == nil || err.Error() != "bad: not a domain" {
		t.Errorf("got %v", err)
	}
	if _, err := c.run("policy refresh no.example"); err == nil || err.Error() != "no.example: no such name" {
		t.Errorf("got %v", err)
	}
	c.engine.answer = api.PolicyAnswer{Domain: "a.example", Held: true, Mode: "enforce", MX: []string{"mx.a.example"}, Expires: now}
	c.want("policy refresh a.example", "Read again. Nothing changed.\n  must be encrypted; servers mx.a.example; good until 09:41\n")
	c.engine.answer.Trouble = "sts-policy-fetch-error"
	out, err := c.run("policy refresh a.example")
	if err != nil || !strings.Contains(out, "The saved rules stay in force until 09:41.") {
		t.Errorf("got %v\n%s", err, out)
	}
}

func TestStatus(t *testing.T) {
	c := newConsole(t, office())
	c.engine.status.Pauses = []api.Pause{{All: true, By: "Anna", Since: now}}
	c.engine.notes = []api.Note{{Time: now, Kind: "double-bounce", ID: "0x", Rcpt: "x@y.example", Text: "Hello"}}
	c.want("status", `
Gatepost 1.4.2, running since Monday 07:41
Does mail go out and in?  yes
  last in 09:41, last out 09:40
  All outgoing mail is paused by Anna since 09:41.
Is anything waiting?      1 held for safety, 2 waiting for a normal retry
Today                     12 in, 10 out, 0 returned
  encrypted with a checked certificate 9, encrypted without a check 1, not encrypted 0
Storage                   ok, disk 12 % full, 240 kB of waiting mail
What no sender was told:
  Tue 24 Nov 09:41:00  message 0x for x@y.example was given up, and nobody is left to be told: "Hello"
`)
}

// Lists are read page by page, whole and without repeats.
func TestPaging(t *testing.T) {
	e := office()
	e.messages = nil
	for i := range 2*pageSize + 7 {
		e.messages = append(e.messages, api.Message{ID: fmt.Sprintf("%06d", i), Rcpts: []api.Recipient{{Addr: "a@b.example"}}})
	}
	c := newConsole(t, e)
	for _, p := range []struct {
		line string
		want int
	}{{"-all", len(e.messages)}, {"", 100}, {"-limit 700", 700}} {
		out, err := c.run("queue list -json " + p.line)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for line := range strings.Lines(out) {
			var m api.Message
			if err := json.Unmarshal([]byte(line), &m); err != nil || m.ID != e.messages[n].ID {
				t.Fatalf("%s: line %d is %q, %v", p.line, n, line, err)
			}
			n++
		}
		if n != p.want {
			t.Errorf("%s: got %d messages, want %d", p.line, n, p.want)
		}
	}
}

// hostile is text that would move the cursor, ring, hide or turn around what is
// printed, or forge a line.
const hostile = "a\x1b[2J\x07\r\nID  0z\u202egpj\u009b31m\u200b\x00\xff"

// Nothing that a stranger chose reaches the terminal as it is, and nothing of it
// breaks JSON.
func TestHostileText(t *testing.T) {
	e := office()
	v := verdict.Verdict{
		Time: now, Outcome: verdict.Held, Reason: verdict.Unknown, Domain: hostile, MX: hostile, Addr: hostile, TLSVersion: "TLS 1.3",
		CertNames: []string{hostile}, CertIssuer: hostile, PolicyMode: "enforce", PolicyID: hostile, PolicyMX: []string{hostile},
		Code: 450, Enhanced: "4.0.0", Reply: hostile, Detail: hostile,
	}
	v.Evidence = &verdict.Evidence{
		Route: verdict.RouteMX, DNS: &verdict.DNS{MX: []verdict.MX{{Host: hostile}}, Error: ""},
		Hosts: []verdict.Host{{
			MX: hostile, Addr: hostile, Pattern: hostile, Protection: verdict.Encrypted, Code: 450, Enhanced: hostile, Reply: hostile, Detail: hostile,
			Chain: []verdict.Certificate{{Subject: hostile, Names: []string{hostile}, Issuer: hostile, SHA256: hostile}, {Subject: hostile}},
		}},
	}
	broken := v
	broken.Evidence = &verdict.Evidence{DNS: &verdict.DNS{Error: hostile}}
	e.messages = []api.Message{{
		ID: "0a", From: hostile, Subject: hostile, Client: hostile, Hello: hostile, TLS: hostile, User: hostile, TraceID: hostile,
		Rcpts: []api.Recipient{{Addr: hostile, Domain: hostile, Verdict: &v}},
	}, {
		ID: "0b", From: hostile, Paused: &api.Pause{Domain: hostile, By: hostile}, Action: &api.Action{ID: hostile, Kind: hostile, By: hostile},
		Rcpts: []api.Recipient{{Addr: hostile}},
	}}
	e.history = []api.Attempt{
		{Seq: 2, ID: "0a", From: hostile, Rcpt: hostile, Verdict: v},
		{Seq: 1, ID: "0d", From: "x@y.example", Rcpt: "a@" + hostile, Verdict: broken},
	}
	e.policies = []api.Policy{{Domain: "a.example", Mode: hostile, MX: []string{hostile}, ID: hostile, Trouble: hostile, Detail: hostile}}
	e.answer = api.PolicyAnswer{Domain: hostile, Held: true, Mode: hostile, MX: []string{hostile}, Body: hostile, Trouble: hostile, Detail: hostile}
	e.notes = []api.Note{
		{Kind: "double-bounce", ID: hostile, Rcpt: hostile, Text: hostile},
		{Kind: "removed", From: hostile, By: hostile},
		{Kind: "paused", Text: hostile, By: hostile},
		{Kind: hostile, Text: hostile},
	}
	e.pauses = []api.Pause{{Domain: hostile, By: hostile}, {ID: hostile, By: hostile}}
	e.actions = []api.Action{{ID: hostile, Kind: hostile, By: hostile}}
	e.status.Pauses, e.status.Spool = e.pauses, api.Spool{State: "failed", Text: hostile}
	e.status.Delivering = false
	c := newConsole(t, e)
	for _, line := range []string{
		"queue list", "queue show 0a", "queue show 0b", "queue show 0d", "queue pause", "queue undo", "trace x@y.example", "trace x@y.example -way",
		"policy list", "policy show a.example", "policy refresh a.example", "status",
	} {
		for _, form := range []string{"", " -json"} {
			out, err := c.run(line + form)
			if err != nil {
				t.Errorf("%s%s: %v", line, form, err)
			}
			for _, r := range out {
				if r != '\n' && !unicode.IsGraphic(r) {
					t.Errorf("%s%s: the character %U got through:\n%q", line, form, r, out)
					break
				}
			}
			if strings.Contains(out, "\nID  0z") {
				t.Errorf("%s%s: a line was forged:\n%s", line, form, out)
			}
			if form == "" {
				continue
			}
			for l := range strings.Lines(out) {
				if !json.Valid([]byte(l)) {
					t.Errorf("%s%s: no JSON: %s", line, form, l)
				}
			}
		}
	}
	for _, line := range []string{"queue show \x1b[2J", "queue undo \x1b[2J", "trace \x1b[2J@x.example", "policy show \x1b[2J", "queue pause \x1b[2J"} {
		if _, err := c.run(line); err == nil || strings.ContainsRune(err.Error(), 0x1b) {
			t.Errorf("%q: got %q", line, err)
		}
	}
}

func TestExport(t *testing.T) {
	const text = "Subject: x\r\n\r\nhello \xff\r\n"
	c := newConsole(t, office())
	c.engine.eml = strings.NewReader(text)
	c.want("queue export 0a", text)
	file := filepath.Join(t.TempDir(), "m.eml")
	c.engine.eml = strings.NewReader(text)
	c.want("queue export 0a -o "+file, "")
	got, err := os.ReadFile(file)
	if err != nil || string(got) != text {
		t.Errorf("got %q, %v", got, err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("others can read the exported message: %v, %v", st.Mode(), err)
	}
	if _, err := c.run("queue export 0a -o " + file); !errors.Is(err, os.ErrExist) {
		t.Errorf("a file that is there: got %v", err)
	}
	c.engine.eml = io.MultiReader(strings.NewReader(strings.Repeat("x", 100_000)), brokenReader{})
	file += ".2"
	if _, err := c.run("queue export 0a -o " + file); err == nil {
		t.Error("a message that cannot be read was exported")
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Error("half a message was left behind")
	}
}

// brokenReader fails like a disk.
type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("bad sector") }

// Status 2 is for the person who types, 1 for everything else.
func TestExitCodes(t *testing.T) {
	c := newConsole(t, office())
	for line, want := range map[string]int{
		"queue list":                     0,
		"queue list -h":                  0,
		"queue -h":                       0,
		"queue list -limit x":            2,
		"queue list 0a":                  2,
		"queue list -bogus":              2,
		"queue bogus":                    2,
		"queue list -state lost":         1,
		"queue show":                     2,
		"queue show 0a 0b":               2,
		"queue show gone":                1,
		"queue export gone":              1,
		"queue retry":                    2,
		"queue retry 0a -all":            2,
		"queue retry gone":               1,
		"queue pause gone":               1,
		"queue resume":                   2,
		"queue return":                   2,
		"queue return gone":              1,
		"queue delete -from nobody@here": 1,
		"queue undo gone":                1,
		"queue undo a b":                 2,
		"trace":                          2,
		"policy show":                    2,
		"policy show gone.example":       1,
		"policy list a b":                2,
		"status now":                     2,
	} {
		if strings.HasSuffix(line, "-h") {
			var out strings.Builder
			if err := Run(t.Context(), Env{Out: &out, Now: time.Now}, strings.Fields(line)); ExitCode(err) != want || !strings.Contains(out.String(), "gatepost queue list") {
				t.Errorf("%s: got %v\n%s", line, err, out.String())
			}
			continue
		}
		if _, err := c.run(line); ExitCode(err) != want {
			t.Errorf("%s: got status %d (%v), want %d", line, ExitCode(err), err, want)
		}
	}
	if err := Run(t.Context(), Env{Now: time.Now}, []string{"queue"}); ExitCode(err) != 2 {
		t.Errorf("queue alone: got %v", err)
	}
}

// Each command has help that names it.
func TestHelp(t *testing.T) {
	for _, k := range commands() {
		var out strings.Builder
		if err := Run(t.Context(), Env{Out: &out, Now: time.Now}, append(strings.Fields(k.name), "-h")); err != nil {
			t.Errorf("%s: %v", k.name, err)
		}
		if !strings.HasPrefix(out.String(), "gatepost "+k.name) || !strings.Contains(out.String(), k.about) {
			t.Errorf("%s: got\n%s", k.name, out.String())
		}
	}
}

// docs/commands.md names each command.
func TestDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range commands() {
		if !strings.Contains(string(doc), "`"+k.name) {
			t.Errorf("gatepost %s is not there", k.name)
		}
	}
}

func TestNoRelay(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "relay", "api.sock")
	for _, args := range [][]string{{"queue", "list", "-data", dir}, {"status", "-socket", socket}, {"trace", "a@b.example", "-data", dir}} {
		err := Run(t.Context(), Env{Out: io.Discard, Now: time.Now}, args)
		if want := "no relay answers at " + socket + " (is it running?)"; err == nil || err.Error() != want || ExitCode(err) != 1 {
			t.Errorf("%q: got %v, want %s", args, err, want)
		}
	}
}

func TestWho(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		uid  int
		want string
	}{
		{nil, 0, "root on the console"},
		{map[string]string{"USER": "anna"}, 0, "root on the console"},
		{map[string]string{"SUDO_USER": "anna"}, 0, "anna as root on the console"},
		{map[string]string{"USER": "anna", "SUDO_USER": "eve"}, 1000, "anna on the console"},
		{nil, 1000, "user 1000 on the console"},
	} {
		if got := Who(func(k string) string { return c.env[k] }, c.uid); got != c.want {
			t.Errorf("%v, %d: got %q, want %q", c.env, c.uid, got, c.want)
		}
	}
}
