package boardcmd

import (
	"context"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"gatepost/appliance/cli"
	"gatepost/webui/words"
)

// run does a command on a machine that is a Raspberry Pi by its device tree
// and has nothing else.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out strings.Builder
	env := Env{Out: &out, Root: fstest.MapFS{
		"sys/firmware/devicetree/base/compatible": {Data: []byte("raspberrypi,4-model-b\x00brcm,bcm2711\x00")},
		"sys/class/leds/input0::capslock":         {Mode: fs.ModeSymlink},
	}}
	err := Run(t.Context(), env, args)
	return out.String(), err
}

func TestSimulate(t *testing.T) {
	got, err := run(t, "simulate", "-state", "held", "-for", "3s")
	want := `qemu-virt (QEMU virt (arm64)), 4 lights, from left to right
held: mail is held for safety
          0s        1s        2s
  status  ##############################
  network ##############################
  mail    ##############################
  alert   ##...##.....................##
  = Mail is held for safety
`
	if err != nil || got != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, got, want)
	}
	got, err = run(t, "simulate", "-profile", "raspi4b", "-lights", "1", "-state", "mail", "-for", "2s")
	want = `raspi4b (Raspberry Pi 4), 1 light
mail: all is well, and messages pass
          0s        1s
  status  #############:######
  = All is well
`
	if err != nil || got != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, got, want)
	}
}

// Every state is shown, each with words of the legend, and the manual shows
// what the command shows.
func TestEveryState(t *testing.T) {
	manual, err := os.ReadFile("../../docs/lights.md")
	if err != nil {
		t.Fatal(err)
	}
	all, err := run(t, "simulate")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(all, "\n  = "); got != len(states()) {
		t.Errorf("%d states have words, want %d", got, len(states()))
	}
	for _, state := range []string{"booting", "mail", "held", "backlog", "no-network", "dead"} {
		got, err := run(t, "simulate", "-state", state)
		if err != nil {
			t.Fatal(err)
		}
		_, got, _ = strings.Cut(got, "\n") // the board
		if !strings.Contains(string(manual), got) {
			t.Errorf("docs/lights.md does not show\n%s", got)
		}
	}
}

// The legend that is printed has the words of the page.
func TestTheManualHasTheWordsOfThePage(t *testing.T) {
	manual, err := os.ReadFile("../../docs/lights.md")
	if err != nil {
		t.Fatal(err)
	}
	book, err := words.Load("en")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range book.LightIDs() {
		l, _ := words.Voice{Book: book}.Light(id)
		if !strings.Contains(string(manual), l.Meaning) {
			t.Errorf("docs/lights.md does not say %q (%s)", l.Meaning, id)
		}
	}
}

func TestLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		env := Env{Out: &out, Root: fstest.MapFS{}, Live: true}
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		if err := Run(ctx, env, []string{"simulate", "-lights", "2", "-state", "booting"}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"\r  status (#)  alert ( )     0.0 s  booting:", "\r  status ( )  alert ( )     1.0 s", "\r  status (#)  alert ( )     2.0 s"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("the live view never showed %q", want)
			}
		}
	})
}

func TestShow(t *testing.T) {
	got, err := run(t, "show")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"device tree  raspberrypi,4-model-b, brcm,bcm2711\n", "board        raspi4b (Raspberry Pi 4)\n",
		"  light status: line 17 of pinctrl-bcm2711: NOT USABLE: ", "  button: line 24 of pinctrl-bcm2711, pressed when low: NOT USABLE: ",
		"  light of the kernel's own death: kernel LED PWR: NOT USABLE: ", "kernel LEDs\n  input0::capslock\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got\n%s\nwithout %q", got, want)
		}
	}
	got, err = run(t, "show", "-profile", "none")
	if err != nil || !strings.Contains(got, "neither lights nor a button") {
		t.Errorf("got %v\n%s", err, got)
	}
}

func TestWrongCommands(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"paint"},
		{"show", "-profile", "toaster"},
		{"show", "now"},
		{"simulate", "-state", "sad"},
		{"simulate", "-for", "-1s"},
		{"simulate", "-for", "11m"},
		{"simulate", "-lights", "3"},
		{"simulate", "-what"},
	} {
		if _, err := run(t, args...); cli.ExitCode(err) != 2 {
			t.Errorf("%q: got %v, want an error of usage", args, err)
		}
	}
	if _, err := run(t, "simulate", "-profile", "kernel-leds"); cli.ExitCode(err) != 1 {
		t.Errorf("a board without lights: got %v", err)
	}
	if got, err := run(t, "-h"); err != nil || !strings.Contains(got, "no-network") || !strings.Contains(got, "raspi4b") {
		t.Errorf("help: got %v\n%s", err, got)
	}
}
