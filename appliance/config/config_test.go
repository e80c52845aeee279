package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Each broken file says in its first line what the reader must be told.
func TestBrokenFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) < 15 {
		t.Fatalf("got %d broken files (%v), want at least 15", len(files), err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(string(data), "\n")
			want, ok := strings.CutPrefix(first, "# want: ")
			if !ok {
				t.Fatal("the file does not say what it wants")
			}
			_, err = Parse("config.toml", data)
			if err == nil {
				t.Fatal("got no error")
			}
			if !strings.Contains(err.Error(), "config.toml: "+want) {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func TestGoodFile(t *testing.T) {
	data, err := os.ReadFile("testdata/good.toml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("good.toml", data)
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
		Gateway: netip.MustParseAddr("192.168.1.1"), DNS: []netip.Addr{netip.MustParseAddr("192.168.1.1")},
	}
	want.Clock.Servers = []string{"ntp.office.example"}
	want.Admin.Hosts = []string{"mail-box.office.example"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
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
	if d := Default(); len(d.Relay.TrustedNetworks) != 0 || len(d.Submission.Devices) != 0 {
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
		for i := range typ.NumField() {
			f := typ.Field(i)
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

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*.toml", "testdata/bad/*.toml"} {
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
		for _, p := range c.Relay.TrustedNetworks {
			if p.Bits() == 0 {
				t.Errorf("accepted %v", p)
			}
		}
	})
}
