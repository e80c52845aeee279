package appliance

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/appliance/config"
	"gatepost/appliance/control"
	"gatepost/appliance/health"
)

// tried is a box's settings, and what was put into effect.
type tried struct {
	*settings
	t       *testing.T
	applied []string // host names in force, in order
	said    []string
}

func newTried(t *testing.T, files map[string]string) *tried {
	t.Helper()
	data, system := disk(t, files)
	s := &tried{t: t, settings: &settings{data: data, system: system}}
	s.apply = func(_, after inForce) { s.applied = append(s.applied, after.config.Hostname) }
	s.tell = func(format string, _ ...any) { s.said = append(s.said, format) }
	f, _ := chooseSettings(data, system)
	s.setInForce(f)
	return s
}

// file is a file of the disk, "" when it is not there.
func (s *tried) file(name string) string {
	text, _ := os.ReadFile(filepath.Join(s.data.Name(), name))
	return string(text)
}

func noPage(config.Config) string { return "" }

func code(err error) string {
	var e *control.ActError
	if !errors.As(err, &e) {
		return ""
	}
	return e.Code
}

const otherHost = "version = 1\nhostname = \"new.office.example\"\n"

func TestTryWaitsForItsConfirmation(t *testing.T) {
	const pending = "system/" + pendingName
	for _, tc := range []struct {
		name string
		do   func(s *tried, id string)
		host string // afterwards
		file string
	}{
		{"confirmed", func(s *tried, id string) {
			time.Sleep(longestTrial - time.Second)
			synctest.Wait()
			if err := s.confirmTrial(id); err != nil {
				s.t.Error(err)
			}
			time.Sleep(time.Hour)
			synctest.Wait()
		}, "new.office.example", otherHost},
		{"not confirmed", func(s *tried, id string) {
			time.Sleep(longestTrial + time.Second)
			synctest.Wait()
			if err := s.confirmTrial(id); code(err) != control.CodeNoTrial {
				s.t.Errorf("too late: got %v, want %s", err, control.CodeNoTrial)
			}
			if len(s.said) != 1 {
				s.t.Errorf("got %q, want it said", s.said)
			}
		}, "gate.office.example", rightConfig},
		{"gone back", func(s *tried, id string) {
			if err := s.revertTrial(id); err != nil {
				s.t.Error(err)
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			if len(s.said) != 0 {
				s.t.Errorf("said %q", s.said)
			}
		}, "gate.office.example", rightConfig},
		{"another id", func(s *tried, id string) {
			if err := s.confirmTrial("x" + id); code(err) != control.CodeNoTrial {
				s.t.Errorf("got %v, want %s", err, control.CodeNoTrial)
			}
			time.Sleep(longestTrial + time.Second)
			synctest.Wait()
		}, "gate.office.example", rightConfig},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTried(t, map[string]string{configName: rightConfig})
				trial, changes, err := s.trySettings(otherHost, 0, noPage)
				if err != nil || trial == nil || trial.Left != longestTrial || len(changes) != 1 {
					t.Fatalf("got %+v, %v, %v; want a trial of %v", trial, changes, err, longestTrial)
				}
				if s.current().Hostname != "new.office.example" || s.file(configName) != rightConfig || s.file(pending) != otherHost {
					t.Errorf("while it waits: got %s, file %q, pending %q", s.current().Hostname, s.file(configName), s.file(pending))
				}
				if _, _, err := s.trySettings(rightConfig, 0, noPage); code(err) != control.CodeTrial {
					t.Errorf("a second change: got %v, want %s", err, control.CodeTrial)
				}
				tc.do(s, trial.ID)
				if s.current().Hostname != tc.host || s.file(configName) != tc.file || s.file("system/"+lastGoodName) != tc.file || s.file(pending) != "" {
					t.Errorf("got %s, file %q, pending %q; want %s, %q", s.current().Hostname, s.file(configName), s.file(pending), tc.host, tc.file)
				}
				if got := s.applied[len(s.applied)-1]; got != tc.host {
					t.Errorf("in effect: got %s, want %s", got, tc.host)
				}
			})
		})
	}
}

// What cannot take the page away is kept at once.
func TestTryKeepsWhatIsHarmless(t *testing.T) {
	s := newTried(t, map[string]string{configName: rightConfig})
	text := rightConfig + "[relay]\nparallel = 7\n"
	trial, changes, err := s.trySettings(text, 0, noPage)
	if err != nil || trial != nil || len(changes) != 1 || changes[0].Key != "relay.parallel" {
		t.Fatalf("got %+v, %v, %v", trial, changes, err)
	}
	if s.file(configName) != text || s.current().Relay.Parallel != 7 || len(s.applied) != 1 {
		t.Errorf("got file %q, applied %v", s.file(configName), s.applied)
	}
}

func TestTryRefusesFaults(t *testing.T) {
	s := newTried(t, map[string]string{configName: rightConfig})
	_, _, err := s.trySettings("version = 1\nhostnam = \"a.example\"\n[relay]\nparallel = 0\n", 0, noPage)
	var e *control.ActError
	if !errors.As(err, &e) || len(e.Faults) != 2 || e.Faults[0].Line != 2 || !strings.Contains(e.Faults[0].Text, `did you mean "hostname"?`) || e.Faults[1].Line != 4 {
		t.Errorf("got %+v, want the faults of lines 2 and 4", err)
	}
	if s.file(configName) != rightConfig || len(s.applied) != 0 || s.current().Hostname != "gate.office.example" {
		t.Error("something was changed")
	}
	bare := &settings{force: inForce{config: config.Default(), use: health.ConfigDefault}}
	if _, _, err := bare.trySettings(rightConfig, 0, noPage); code(err) != control.CodeNoDisk {
		t.Errorf("without a disk: got %v, want %s", err, control.CodeNoDisk)
	}
}

// A disk that takes no file changes nothing, and a change that cannot be kept
// comes back.
func TestTryOnAFailingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTried(t, map[string]string{configName: rightConfig})
		// A folder where the file would be written fails for root too.
		block := func(dir, name string) { os.Mkdir(filepath.Join(s.data.Name(), dir, name+".new"), 0o700) }
		fill := func(dir, name string) {
			os.WriteFile(filepath.Join(s.data.Name(), dir, name+".new", "x"), nil, 0o600)
		}
		block("system", pendingName)
		fill("system", pendingName)
		if _, _, err := s.trySettings(otherHost, 0, noPage); err == nil || len(s.applied) != 0 {
			t.Errorf("got %v, applied %v; want an error and nothing changed", err, s.applied)
		}
		os.RemoveAll(filepath.Join(s.data.Name(), "system", pendingName+".new"))
		trial, _, err := s.trySettings(otherHost, 0, noPage)
		if err != nil {
			t.Fatal(err)
		}
		block("", configName)
		fill("", configName)
		if err := s.confirmTrial(trial.ID); err == nil {
			t.Error("confirmed although nothing could be written")
		}
		time.Sleep(longestTrial + time.Second)
		synctest.Wait()
		if s.current().Hostname != "gate.office.example" || s.file(configName) != rightConfig {
			t.Errorf("got %s, want the settings before", s.current().Hostname)
		}
	})
}

// After a power cut in the three minutes the old settings are in force; after
// one in the moment of the confirmation, the new ones.
func TestPowerCutWhileAChangeWaits(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		dropped    bool
	}{
		{"not confirmed", rightConfig, true},
		{"confirmed, not tidied up", otherHost, false},
	} {
		data, system := disk(t, map[string]string{configName: tc.file, "system/" + pendingName: otherHost})
		if got := forgetPending(data, system); got != tc.dropped {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.dropped)
		}
		if forgetPending(data, system) {
			t.Errorf("%s: told twice", tc.name)
		}
		f, err := chooseSettings(data, system)
		if err != nil || string(f.text) != tc.file {
			t.Errorf("%s: got %q, %v; want %q", tc.name, f.text, err, tc.file)
		}
	}
	if forgetPending(nil, nil) {
		t.Error("without a disk something was dropped")
	}
}

// nasty are settings that are right as far as anyone can tell, and that would
// cut off the one who types them.
var nasty = map[string]string{
	"an address in another network": "[network]\nmode = \"static\"\naddress = \"10.99.99.99/24\"\ndns = [\"10.99.99.1\"]\n",
	"the address of the router":     "[network]\nmode = \"static\"\naddress = \"192.168.77.1/24\"\ndns = [\"192.168.77.1\"]\n",
	"a network of one":              "[network]\nmode = \"static\"\naddress = \"192.168.77.50/32\"\ndns = [\"192.168.77.1\"]\n",
	"no way out":                    "[network]\nmode = \"static\"\naddress = \"192.168.77.50/24\"\ndns = [\"192.168.77.1\"]\n",
	"an address of one cable only":  "[network]\nmode = \"static\"\naddress = \"169.254.1.1/16\"\ndns = [\"192.168.77.1\"]\n",
	"a name server that is none":    "[network]\ndns = [\"192.0.2.1\"]\n",
	"page names of another":         "[admin]\nhosts = [\"www.example.com\"]\n",
	"a name with a trap":            "[admin]\nhosts = [\"192.168.77.50.example.com\"]\n",
}

// Each of them waits for its confirmation and comes back without one; and in
// whatever settings, the page answers to the addresses of the box.
func TestNastySettingsNeverTakeThePageAway(t *testing.T) {
	hosts := []string{"localhost.localdomain", "a.b", "xn--bcher-kva.example", strings.Repeat("a", 63) + ".example"}
	table := map[string]string{}
	for name, rest := range nasty {
		table[name] = rightConfig + rest
	}
	for _, h := range hosts {
		table["the name "+h] = "version = 1\nhostname = \"" + h + "\"\n"
	}
	for name, text := range table {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTried(t, map[string]string{configName: rightConfig})
				trial, _, err := s.trySettings(text, shortestTrial, noPage)
				if err != nil || trial == nil {
					t.Fatalf("got %+v, %v; want it to wait for a confirmation", trial, err)
				}
				f := s.inForce()
				b := control.Box{Config: f.shown(), Network: control.Network{Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.77.50/24")}}}
				got := pageHosts(RoleInput{Config: f.config}, b)
				if !slices.Contains(got, "192.168.77.50") || !slices.Contains(got, f.config.Hostname) {
					t.Errorf("the page answers to %v only", got)
				}
				time.Sleep(shortestTrial + time.Second)
				synctest.Wait()
				if s.current().Hostname != "gate.office.example" || len(config.Changes(s.current(), mustParse(t, rightConfig))) > 0 {
					t.Errorf("the settings before are not back: %+v", s.current())
				}
			})
		})
	}
}

func mustParse(t *testing.T, text string) config.Config {
	t.Helper()
	c, err := config.Parse("c", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Only what a change touches is disturbed.
func TestPartsOfAChange(t *testing.T) {
	base := inForce{config: mustParse(t, rightConfig), use: health.ConfigFile}
	for text, want := range map[string]string{
		"":                                       "",
		"[network]\ndns = [\"192.0.2.1\"]\n":     "network",
		"[clock]\nservers = [\"a.example\"]\n":   "clock",
		"[lights]\nprofile = \"none\"\n":         "lights",
		"[admin]\nhosts = [\"a.example\"]\n":     "admin",
		"[relay]\nparallel = 3\n":                "relay",
		"[smart_host]\nserver = \"a.example\"\n": "relay smart_host",
		"[[inbound]]\ndomain = \"a.example\"\nserver = \"b.example\"\n": "inbound relay",
	} {
		touched := parts(base, inForce{config: mustParse(t, rightConfig+text), use: health.ConfigFile})
		var got []string
		for part, yes := range touched {
			if yes {
				got = append(got, part)
			}
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("%q: got %v, want %s", text, got, want)
		}
	}
	if !parts(inForce{use: health.ConfigDefault}, inForce{use: health.ConfigFile})[RoleRelay] {
		t.Error("the relay goes on without knowing that there are settings now")
	}
}

// A file of an earlier version is rewritten, and the old one kept.
func TestUpgradeSettings(t *testing.T) {
	data, system := disk(t, map[string]string{configName: "version = 0\n"})
	next := inForce{config: mustParse(t, rightConfig), text: []byte(rightConfig), use: health.ConfigFile}
	if f, err := upgradeSettings(data, system, next, []byte("version = 0\n")); err != nil || f.use != health.ConfigFile {
		t.Fatalf("got %+v, %v", f, err)
	}
	for name, want := range map[string]string{configName: rightConfig, "system/" + oldFormName: "version = 0\n", "system/" + lastGoodName: rightConfig} {
		if got, _ := os.ReadFile(filepath.Join(data.Name(), name)); string(got) != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
