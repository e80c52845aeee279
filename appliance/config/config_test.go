package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatepost/board"
)

func TestGoodFile(t *testing.T) {
	data, err := os.ReadFile("testdata/good/whole.toml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("whole.toml", data)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Hostname = "gatepost.office.example"
	want.Relay.TrustedNetworks = []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("192.168.2.9/32")}
	want.Relay.MaxMessage = 25 << 20
	want.Relay.Retry = []time.Duration{30 * time.Second, 30 * time.Minute}
	want.Relay.Lifetime = 4 * 24 * time.Hour
	want.Relay.PerDomain = 2
	want.Network = Network{
		Mode: "static", Address: netip.MustParsePrefix("192.168.1.30/24"),
		Gateway: netip.MustParseAddr("192.168.1.1"), DNS: []netip.Addr{netip.MustParseAddr("192.168.1.1")}, IPv6: IPv6Auto,
	}
	want.Clock.Servers = []string{"ntp.office.example"}
	want.Admin.Hosts = []string{"mail-box.office.example"}
	want.Relay.DelayNotice, want.Relay.RatePerMinute = -1, 60
	want.Relay.Bind = Bind{V4: netip.MustParseAddr("192.168.1.30"), V6: netip.MustParseAddr("2001:db8::30")}
	want.Inbound = []Inbound{
		{Domain: "office.example", Server: Server{Host: "192.168.1.5", Port: 25, TLS: TLSTry}, Recipients: RecipientsAsk, TLSRule: InboundTLSOff},
		{
			Domain: "xn--bcher-kva.example",
			Server: Server{
				Host: "mail.lan", Port: 2525, TLS: TLSVerify, CertificateName: "mail.office.example",
				User: "gatepost", Password: "kettle", Final: true,
			},
			Recipients: RecipientsList, List: []string{"Anna", "info"},
			TLSRule: InboundTLSRequired, ReportAddresses: []string{"tls-reports"},
		},
		{
			Domain:     "old.example",
			Server:     Server{Host: "fd00::5", Port: 465, TLS: TLSTry, ImplicitTLS: true},
			Recipients: RecipientsAny, TLSRule: InboundTLSOff,
		},
	}
	want.SmartHost = &Server{Host: "smtp.provider.example", Port: 587, TLS: TLSVerify, User: "office", Password: "blue"}
	want.Listen = Listen{SMTP: "127.0.0.1:2525", Page: "[::1]:8443"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// A board that the settings describe.
func TestCustomBoard(t *testing.T) {
	c, err := Parse("c", []byte(`version = 1
[lights]
mode = "night"
button = false
[[lights.light]]
name = "status"
chip = "pinctrl-x"
line = 17
second_line = 18
active_low = true
colour = "blue"
[[lights.light]]
name = "alert"
led = "box:amber:alarm"
[lights.reset_button]
line_name = "button-reset"
active_low = true
pull_up = true
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Lights{Profile: board.CustomName, Mode: LightsNight, Custom: board.Profile{
		Name: board.CustomName, Title: "the board of the settings",
		Lights: []board.Light{
			{
				Name: board.Status, Line: board.Line{Chip: "pinctrl-x", Number: 17}, Second: board.Line{Chip: "pinctrl-x", Number: 18},
				ActiveLow: true, Colour: "blue",
			},
			{Name: board.Alert, LED: "box:amber:alarm"},
		},
		Button: board.Button{Line: board.Line{Name: "button-reset"}, ActiveLow: true, PullUp: true},
	}}
	if !reflect.DeepEqual(c.Lights, want) {
		t.Errorf("got  %+v\nwant %+v", c.Lights, want)
	}
	for _, name := range append([]string{ProfileAuto}, board.Names()...) {
		if _, err := Parse("c", []byte("version = 1\n[lights]\nprofile = \""+name+"\"\n")); err != nil {
			t.Errorf("profile %s: %v", name, err)
		}
	}
}

// A password is shown nowhere: not by a verb, not in a fault of its table, and
// yet it survives the way from PID 1 to its roles.
func TestPasswordsHidden(t *testing.T) {
	const password = "kettle-of-blue"
	text := "version = 1\n[smart_host]\nserver = \"smtp.provider.example\"\nuser = \"office\"\npassword = \"" + password + "\"\n"
	c, err := Parse("c", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("settings", "smart_host", *c.SmartHost, "password", c.SmartHost.Password)
	for _, shown := range []string{
		fmt.Sprint(c.SmartHost.Password), fmt.Sprintf("%v %+v %#v %q %x", *c.SmartHost, *c.SmartHost, *c.SmartHost, c.SmartHost.Password, c.SmartHost.Password), log.String(),
	} {
		if strings.Contains(shown, password) || strings.Contains(shown, fmt.Sprintf("%x", password)) || !strings.Contains(shown, "hidden") {
			t.Errorf("got %s, want it without the password", shown)
		}
	}
	for _, broken := range []string{
		strings.Replace(text, "user = \"office\"\n", "", 1),
		strings.Replace(text, "smtp.provider.example", "not a server", 1),
		text + "tls = \"try\"\n", text + "tls = 5\n", text + "password = \"twice\"\n",
		strings.Replace(text, "password = \"", "password = \"\"\"", 1),
		strings.Replace(text, "password = \"", "password = ", 1),
		strings.Replace(text, password, password+"\\q", 1),
		strings.Replace(text, password, password+"\n", 1),
	} {
		if _, err := Parse("c", []byte(broken)); err == nil || strings.Contains(err.Error(), password) {
			t.Errorf("got %v, want a fault without the password", err)
		}
	}
	wire, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var back Config
	if err := json.Unmarshal(wire, &back); err != nil || !reflect.DeepEqual(back, c) {
		t.Errorf("after the pipe: got %+v, %v", back, err)
	}
}

// All faults are told at once, in the order of the lines.
func TestAllFaults(t *testing.T) {
	_, err := Parse("c", []byte("version = 1\nbogus = 1\n[relay]\nparallel = 0\ntrusted_networks = [\"x\"]\n"))
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 3 {
		t.Fatalf("got %d faults, want 3:\n%v", len(lines), err)
	}
	for i, want := range []string{"c: line 2: ", "c: line 4: ", "c: line 5: "} {
		if !strings.HasPrefix(lines[i], want) {
			t.Errorf("fault %d: got %q, want it to begin with %q", i, lines[i], want)
		}
	}
	if got := FirstLine(err); got != lines[0] {
		t.Errorf("FirstLine: got %q, want %q", got, lines[0])
	}
}

// The defaults must relay for nobody.
func TestDefaultIsClosed(t *testing.T) {
	if d := Default(); len(d.Relay.TrustedNetworks) != 0 || len(d.Submission.Devices) != 0 || len(d.Inbound) != 0 || d.SmartHost != nil {
		t.Errorf("the defaults let someone send: %+v", d.Relay)
	}
}

func TestTooLarge(t *testing.T) {
	if _, err := Parse("c", make([]byte, maxFile+1)); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("got %v, want a complaint about the size", err)
	}
}

// The list for "did you mean" must name each key that the schema has.
func TestKeysComplete(t *testing.T) {
	var walk func(table string, typ reflect.Type)
	walk = func(table string, typ reflect.Type) {
		var have []string
		for _, f := range reflect.VisibleFields(typ) {
			if f.Anonymous {
				continue // its fields are keys of this table
			}
			tag := f.Tag.Get("toml")
			have = append(have, tag)
			ft := f.Type
			if ft.Kind() == reflect.Slice {
				ft = ft.Elem()
			}
			if ft.Kind() == reflect.Struct {
				walk(join(table, tag), ft)
			}
		}
		if !reflect.DeepEqual(have, keys[table]) {
			t.Errorf("table %q: got %v, want %v", table, keys[table], have)
		}
	}
	walk("", reflect.TypeFor[file]())
}

// docs/config.md has a row for each key, and none for a key that is gone.
func TestKeysDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for table, list := range keys {
		known["["+table+"]"], known["[["+table+"]]"] = true, true
		for _, key := range list {
			known[key] = true
			_, isTable := keys[join(table, key)]
			if want := "`" + key + "`"; !isTable && !strings.Contains(string(doc), want) {
				t.Errorf("[%s] %s has no row", table, want)
			}
		}
	}
	for line := range strings.Lines(string(doc)) {
		cell, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		if !ok || !strings.HasPrefix(line, "| `") {
			continue
		}
		for _, key := range strings.Split(cell, ", ") {
			if !known[strings.Trim(key, "`")] {
				t.Errorf("there is no key %s", key)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.toml", "testdata/broken/*.toml"} {
		files, _ := filepath.Glob(pattern)
		for _, path := range files {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("c", data)
		if err != nil {
			return
		}
		if c.Relay.MaxMessage <= 0 || len(c.Relay.Retry) == 0 || c.Relay.Lifetime <= 0 || c.Relay.Parallel <= 0 || !validName(c.Hostname) {
			t.Errorf("accepted a configuration that cannot work: %+v", c)
		}
		servers := []Server{}
		for _, in := range c.Inbound {
			servers = append(servers, in.Server)
			if !validName(in.Domain) || in.Recipients == RecipientsList && len(in.List) == 0 {
				t.Errorf("accepted the domain %+v", in)
			}
		}
		if c.SmartHost != nil {
			servers = append(servers, *c.SmartHost)
		}
		for _, s := range servers {
			safe := s.TLS == TLSRequire || s.TLS == TLSVerify
			if s.Host == "" || s.Port == 0 || (s.User != "" || s.Password != "") && !safe {
				t.Errorf("accepted the server %+v", s)
			}
		}
		for _, p := range c.Relay.TrustedNetworks {
			if p.Bits() == 0 {
				t.Errorf("accepted %v", p)
			}
		}
	})
}
