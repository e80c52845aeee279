package board

import (
	"io/fs"
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
		use := func(l Line, by string) {
			if l.Chip == "" || l.Number < 0 || lines[l] != "" {
				t.Errorf("%s: %s: bad line %v, or it is taken by %s", p.Name, by, l, lines[l])
			}
			lines[l] = by
		}
		for _, l := range p.Lights {
			lights = append(lights, l.Name)
			use(l.Line, l.Name)
			if l.Second != (Line{}) {
				use(l.Second, l.Name)
			}
		}
		if p.Button.Line != (Line{}) {
			use(p.Button.Line, "the button")
		}
		if len(lights) > 0 && !IsLayout(lights) {
			t.Errorf("%s: lights %v are no layout", p.Name, lights)
		}
		if l := p.Onboard; l.LED == "" && l != (Light{}) || l.LED != "" && l.LED == p.FaultLED {
			t.Errorf("%s: the light on the board is %+v, that of faults %q", p.Name, l, p.FaultLED)
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
		if l.Line != (Line{Chip: "9030000.pl061", Number: want[l.Name]}) || l.ActiveLow {
			t.Errorf("light %s: got %+v, want line %d", l.Name, l, want[l.Name])
		}
	}
	if want := (Button{Line: Line{Chip: "9030000.pl061", Number: 5}}); p.Button != want {
		t.Errorf("button: got %+v, want %+v", p.Button, want)
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
		{"Pi 3", sys, "raspberrypi,3-model-b\x00brcm,bcm2837\x00", "raspi3b", []string{"raspberrypi,3-model-b", "brcm,bcm2837"}},
		{"Pi 3 plus", sys, "raspberrypi,3-model-b-plus\x00brcm,bcm2837\x00", "raspi3b", []string{"raspberrypi,3-model-b-plus", "brcm,bcm2837"}},
		{"Pi 4", sys, "raspberrypi,4-model-b\x00brcm,bcm2711\x00", "raspi4b", []string{"raspberrypi,4-model-b", "brcm,bcm2711"}},
		{"Pi Zero 2 W", sys, "raspberrypi,model-zero-2-w\x00brcm,bcm2837\x00", "raspi-zero-2w", []string{"raspberrypi,model-zero-2-w", "brcm,bcm2837"}},
		{"no row, kernel LEDs", "sys/class/leds/box:white:status", "", KernelLEDsName, nil},
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

func TestFindLEDs(t *testing.T) {
	for _, tt := range []struct {
		name  string
		have  []string
		want  []string
		first string // the LED of the first light
	}{
		{"none", nil, nil, ""},
		{"keyboard lights", []string{"input3::capslock", "input3::numlock"}, nil, ""},
		{"all four", []string{"b:white:status", "b:white:lan", "b:white:mail", "b:amber:alarm"}, []string{Status, Network, Mail, Alert}, "b:white:status"},
		{"three are two", []string{"b:white:status", "b:white:lan", "b:amber:fault"}, []string{Status, Alert}, "b:white:status"},
		{"a power light", []string{"green:power"}, []string{Status}, "green:power"},
		{"the status light is better", []string{"a:power", "b:status"}, []string{Status}, "b:status"},
		{"a name that was taken", []string{"white:status_1"}, []string{Status}, "white:status_1"},
		{"an alarm alone is no layout", []string{"red:alarm"}, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := fstest.MapFS{}
			for _, name := range tt.have {
				files["sys/class/leds/"+name] = &fstest.MapFile{Mode: fs.ModeSymlink}
			}
			var names []string
			got := FindLEDs(files)
			for _, l := range got {
				names = append(names, l.Name)
			}
			if !slices.Equal(names, tt.want) || len(got) > 0 && got[0].LED != tt.first {
				t.Errorf("got %v, want %v beginning with %q", got, tt.want, tt.first)
			}
		})
	}
}

func TestWhere(t *testing.T) {
	for want, got := range map[string]string{
		"line 5 of chip":                  Light{Line: Line{Chip: "chip", Number: 5}}.Where(),
		`line "led-mail", on when low`:    Light{Line: Line{Name: "led-mail"}, ActiveLow: true}.Where(),
		"kernel LED ACT":                  Light{LED: "ACT"}.Where(),
		"line 1 of c, alarm line 2 of c":  Light{Line: Line{Chip: "c", Number: 1}, Second: Line{Chip: "c", Number: 2}}.Where(),
		`line "x" of c, pressed when low`: Button{Line: Line{Chip: "c", Name: "x"}, ActiveLow: true}.Where(),
		"key 408 of the kernel":           Button{Key: 408}.Where(),
		"none":                            Button{}.Where(),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
