package board

import (
	"slices"
	"testing"
	"testing/fstest"
)

// The rules that every row of the table has to follow.
func TestProfiles(t *testing.T) {
	names := map[string]bool{}
	compatible := map[string]string{}
	for _, p := range Profiles() {
		if p.Name == "" || p.Title == "" || names[p.Name] {
			t.Errorf("profile %q: name or title missing, or the name is taken", p.Name)
		}
		names[p.Name] = true
		for _, c := range p.Compatible {
			if other := compatible[c]; other != "" {
				t.Errorf("%s and %s are both %s", p.Name, other, c)
			}
			compatible[c] = p.Name
		}
		var lights []string
		lines := map[Line]string{p.PowerKey: "the power key"}
		for _, l := range p.Lights {
			lights = append(lights, l.Name)
			if l.Line.Chip == "" || l.Line.Number < 0 || lines[l.Line] != "" {
				t.Errorf("%s: light %s: bad line %v, or it is taken by %s", p.Name, l.Name, l.Line, lines[l.Line])
			}
			lines[l.Line] = l.Name
		}
		layouts := [][]string{nil, {Status}, {Status, Alert}, {Status, Network, Mail, Alert}}
		if !slices.ContainsFunc(layouts, func(want []string) bool { return slices.Equal(lights, want) }) {
			t.Errorf("%s: lights %v are none of the layouts %v", p.Name, lights, layouts)
		}
		roots := p.ModuleRoots()
		for _, m := range Common() {
			if !slices.Contains(roots, m) {
				t.Errorf("%s: the modules %v lack %s", p.Name, roots, m)
			}
		}
	}
	if last := Profiles()[len(Profiles())-1]; last.Name != NoneName {
		t.Errorf("the last profile is %s, want %s", last.Name, NoneName)
	}
}

// The machine's wiring is known outside the program, too: tests read the
// lights by line number.
func TestQEMUWiring(t *testing.T) {
	p, ok := Lookup("qemu-virt")
	if !ok {
		t.Fatal("no profile qemu-virt")
	}
	want := map[string]int{Status: 0, Network: 1, Mail: 2, Alert: 4}
	for _, l := range p.Lights {
		if l.Line != (Line{"9030000.pl061", want[l.Name]}) || l.ActiveLow {
			t.Errorf("light %s: got %+v, want line %d", l.Name, l, want[l.Name])
		}
	}
	if p.PowerKey.Number != 3 {
		t.Errorf("power key: got line %d, want 3", p.PowerKey.Number)
	}
}

func TestChangingAProfileChangesNoOther(t *testing.T) {
	a, _ := Lookup("qemu-virt")
	a.Lights[0].Name = "changed"
	a.Modules[0] = "changed"
	if b, _ := Lookup("qemu-virt"); b.Lights[0].Name != Status || b.Modules[0] == "changed" {
		t.Error("a profile is shared")
	}
}

func TestLookup(t *testing.T) {
	if p, ok := Lookup("toaster"); ok {
		t.Errorf("got %v for a board that nobody knows", p)
	}
	for _, name := range Names() {
		if p, ok := Lookup(name); !ok || p.Name != name {
			t.Errorf("%s: got %v, %v", name, p.Name, ok)
		}
	}
}

func TestDetect(t *testing.T) {
	const sys, proc = "sys/firmware/devicetree/base/compatible", "proc/device-tree/compatible"
	tests := []struct {
		name string
		file string
		data string
		want string
		said []string
	}{
		{"virt", sys, "linux,dummy-virt\x00", "qemu-virt", []string{"linux,dummy-virt"}},
		{"virt by proc", proc, "linux,dummy-virt\x00", "qemu-virt", []string{"linux,dummy-virt"}},
		{"a later name", sys, "maker,box\x00linux,dummy-virt\x00", "qemu-virt", []string{"maker,box", "linux,dummy-virt"}},
		{"unknown", sys, "maker,box\x00", NoneName, []string{"maker,box"}},
		{"a part of a name", sys, "linux,dummy-virtual\x00", NoneName, []string{"linux,dummy-virtual"}},
		{"empty", sys, "\x00", NoneName, nil},
		{"no device tree", "etc/hosts", "", NoneName, nil},
		{"huge", sys, string(make([]byte, maxCompatible)) + "linux,dummy-virt", NoneName, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, said := Detect(fstest.MapFS{tt.file: {Data: []byte(tt.data)}})
			if p.Name != tt.want || !slices.Equal(said, tt.said) {
				t.Errorf("got %s, %q, want %s, %q", p.Name, said, tt.want, tt.said)
			}
		})
	}
}
