package main

import (
	"bytes"
	"strings"
	"testing"

	"gatepost/relay/lab"
)

func TestList(t *testing.T) {
	var b bytes.Buffer
	world := lab.Office()
	if err := list(&b, world); err != nil {
		t.Fatal(err)
	}
	if len(world.Domains) != 11 {
		t.Errorf("the world has %d domains, want 11", len(world.Domains))
	}
	text := b.String()
	for _, d := range world.Domains {
		first, _, _ := strings.Cut(d.Shows, ":")
		if !strings.Contains(text, "\n"+d.Name+" ") || !strings.Contains(text, first) {
			t.Errorf("%s or what it shows is not in the list", d.Name)
		}
	}
	for line := range strings.Lines(text) {
		if len(line) > listWidth+1 || strings.HasSuffix(line, " \n") {
			t.Errorf("line %q is too long or ends in a space", line)
		}
	}
}

func TestForwardFlag(t *testing.T) {
	var f forwards
	if err := f.Set("127.0.0.1:2525=25"); err != nil || f[0] != (forward{"127.0.0.1:2525", 25}) {
		t.Errorf("got %+v, %v", f, err)
	}
	for _, bad := range []string{"", "2525=25", "127.0.0.1:2525", "127.0.0.1:2525=70000", "127.0.0.1=25"} {
		if err := f.Set(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
