package manifest

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

var sum = strings.Repeat("0b", 32)

func example() Manifest {
	return Manifest{
		Format: Format, Version: "1.2.3", BuildTime: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Profile: "qemu-virt", Architecture: "arm64", Go: "go1.26",
		Kernel: Kernel{Release: "6.1.0-2-arm64", Source: Source{
			Package: Package{"linux-image", "6.1.2-1", sum},
			Locked:  &Package{"linux-image", "6.1.1-1", sum},
		}},
		Stub:         &Source{Package: Package{"stub", "252-1", sum}},
		CommandLine:  "quiet",
		Tools:        []Tool{{"mke2fs", "1.47.0"}},
		Modules:      []File{{"ext4.ko", 5, sum}},
		Init:         File{"init", 7, sum},
		InitramfsRaw: 12,
		DataTemplate: File{"data.ext4", 32, sum},
		Artefacts:    []File{{"vmlinuz", 1, sum}, {"initrd.zst", 2, sum}},
	}
}

func TestThereAndBack(t *testing.T) {
	data, err := example().Encode()
	if err != nil {
		t.Fatal(err)
	}
	m, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(m, example()) {
		t.Errorf("got %+v, want %+v", m, example())
	}
	if f, ok := m.Artefact("initrd.zst"); !ok || f.Size != 2 {
		t.Errorf("got %v, %v, want the initrd", f, ok)
	}
	if _, ok := m.Artefact("nothing"); ok {
		t.Error("an artefact that is not there: got one")
	}
}

// The time zone and the fraction of a second leave no trace.
func TestEncodeIsTheSameEverywhere(t *testing.T) {
	want, err := example().Encode()
	if err != nil {
		t.Fatal(err)
	}
	m := example()
	m.BuildTime = m.BuildTime.In(time.FixedZone("far", 9*3600)).Add(time.Millisecond)
	if got, err := m.Encode(); err != nil || string(got) != string(want) {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func TestBadManifests(t *testing.T) {
	good, err := example().Encode()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, old, new, want string }{
		{"another format", `"format": 2`, `"format": 1`, "format"},
		{"an unknown key", `"version"`, `"verzion"`, "verzion"},
		{"no version", `"version": "1.2.3",
  "build`, `"version": "",
  "build`, "no version"},
		{"a name that leaves the folder", `"vmlinuz"`, `"../vmlinuz"`, "../vmlinuz"},
		{"a bad digest", sum, "zz", "sha256"},
		{"a stub without a version", `"252-1"`, `""`, "stub"},
		{"a negative size", `"size": 7`, `"size": -7`, "size"},
		{"no JSON", "{", "[", "manifest"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(string(good), tt.old, tt.new, 1)
			if text == string(good) {
				t.Fatal("the test changes nothing")
			}
			if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to contain %q", err, tt.want)
			}
		})
	}
	if _, err := Parse([]byte(`{"format":9,"later":true}`)); !errors.Is(err, ErrFormat) {
		t.Errorf("a later format: got %v, want %v", err, ErrFormat)
	}
	if _, err := Parse(make([]byte, maxBytes+1)); err == nil {
		t.Error("a huge manifest: got no error")
	}
	if _, err := (Manifest{}).Encode(); err == nil {
		t.Error("an empty manifest: got no error")
	}
}

func FuzzParse(f *testing.F) {
	good, err := example().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"format":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data)
		if err != nil {
			return
		}
		if _, err := m.Encode(); err != nil {
			t.Errorf("parsed and cannot be written: %v", err)
		}
	})
}
