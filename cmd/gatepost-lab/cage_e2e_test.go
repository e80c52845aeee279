//go:build e2e

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatepost/appliance"
	"gatepost/appliance/sandbox/attack"
	"gatepost/image"
	"gatepost/image/initramfs"
	"gatepost/relay/lab"
)

// attackImage builds the image whose roles turn against the box, beside the
// ordinary one, and returns its folder.
func attackImage(ctx context.Context, t *testing.T) string {
	t.Helper()
	init := filepath.Join(t.TempDir(), "init")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", "attack", "-ldflags", "-s -w",
		"-o", init, "./cmd/gatepost")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+image.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	profile, err := image.Profile("qemu-virt")
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join("build", "image-attack")
	if _, err := image.Build(ctx, image.Spec{Source: ".", Out: out, Profile: profile, Init: init, DirectOnly: true, Reuse: true}); err != nil {
		t.Fatal(err)
	}
	return out
}

// absent are the things that this machine does not have, so that opening them
// proves nothing. Every other action must be refused for want of a right.
var absent = []string{"open /dev/watchdog"}

// The image has one program. Nothing else in it can be started, and nothing
// else looks like a program that somebody could make executable; modules are
// for the kernel alone.
func TestE2EOneExecutable(t *testing.T) {
	archive, err := os.ReadFile(filepath.Join(imageDir, image.InitrdName))
	if err != nil {
		t.Fatal(err)
	}
	files, err := initramfs.List(archive)
	if err != nil {
		t.Fatal(err)
	}
	var programs []string
	for _, f := range files {
		script := bytes.HasPrefix(f.Head, []byte("#!"))
		elf := bytes.HasPrefix(f.Head, []byte("\x7fELF")) && !strings.HasSuffix(f.Name, ".ko")
		if f.Executable || script || elf {
			programs = append(programs, f.Name)
		}
	}
	check(t, len(files) > 10 && slices.Equal(programs, []string{"init"}),
		"of %d files in the image one is a program: %v", len(files), programs)
}

// A role that was taken over gets nowhere: every way out of its cage is tried
// on the box, from both roles, before the cage is closed and in it.
func TestE2ECage(t *testing.T) {
	world := lab.Office()
	o := boot(t, setup{World: world, Image: attackImage(t.Context(), t)})
	_, ok := o.console("gatepost: ready:")
	check(t, ok, "the box gets ready after the attacks")

	roles := []string{appliance.RoleRelay, appliance.RoleWeb}
	seen := map[string]map[string]attack.Result{} // role and stage, action
	ended := map[string]bool{}
	died := map[string]int{}
	var order []string
	for _, l := range o.Machine.Lines() {
		for _, role := range roles {
			if strings.Contains(l.Text, "gatepost: "+role+" was ended by the signal bad system call") {
				died[role]++
			}
			if !strings.Contains(l.Text, role+": attack: ") {
				continue
			}
			stage, r, last, ok := attack.Parse(l.Text)
			key := role + " " + stage
			switch {
			case !ok:
				check(t, false, "a line of the attack is whole: %q", l.Text)
			case last:
				ended[key] = true
			default:
				if seen[key] == nil {
					seen[key] = map[string]attack.Result{}
				}
				seen[key][r.Name] = r
				if !slices.Contains(order, r.Name) {
					order = append(order, r.Name)
				}
			}
		}
		if strings.Contains(l.Text, "CAME BACK") {
			check(t, false, "no program is started: %s", l.Text)
		}
	}
	let := 0 // by the kernel, for a user without capabilities, outside the cage
	for _, role := range roles {
		check(t, ended[role+" open"] && ended[role+" closed"], "%s: all attacks were tried", role)
		refused := 0
		for name, r := range seen[role+" closed"] {
			switch {
			case r.May && r.Outcome != attack.Allowed:
				check(t, false, "%s: %q works in the cage: %s %s", role, name, r.Outcome, r.Error)
			case r.May:
			case r.Outcome == attack.Refused:
				refused++
				if seen[role+" open"][name].Outcome == attack.Allowed {
					let++
				}
			default:
				ok := r.Outcome == attack.Absent && slices.Contains(absent, name)
				check(t, ok, "%s: %q is refused: %s %s", role, name, r.Outcome, r.Error)
			}
		}
		check(t, refused >= 60, "%s: %d attacks are refused", role, refused)
		check(t, died[role] == 2, "%s: execve and execveat end the role, and the console says it (%d times)", role, died[role])
	}
	check(t, let >= 30, "%d of the attacks were let through before the cage was closed", let)
	o.cageTable(roles, order, seen)
	o.cageWords(roles)
	o.off()
}

// cageWords wants each role's line about its cage, and nothing of PID 1 about
// something that could not be closed.
func (o *office) cageWords(roles []string) {
	o.t.Helper()
	said := map[string]string{}
	for _, l := range o.Machine.Lines() {
		for _, role := range roles {
			if _, words, ok := strings.Cut(l.Text, role+": cage: "); ok {
				said[role] = words
			}
		}
		for _, what := range []string{"the cage is open", "gatepost: privileges:", "gatepost: control groups:", "gatepost: kernel settings:", "control group:"} {
			if strings.Contains(l.Text, what) {
				check(o.t, false, "every part of the cage is closed: %s", l.Text)
			}
		}
	}
	for _, role := range roles {
		ok := strings.Contains(said[role], "no capability") && strings.Contains(said[role], "Landlock level")
		check(o.t, ok, "%s: %s", role, said[role])
	}
}

// cageTable prints what was tried and how it was refused.
func (o *office) cageTable(roles, order []string, seen map[string]map[string]attack.Result) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "\n%-50s", "ACTION")
	for _, role := range roles {
		fmt.Fprintf(&b, " %-20s %-15s", strings.ToUpper(role)+" before", "in the cage")
	}
	b.WriteString("\n")
	word := func(r attack.Result) string {
		if r.Outcome == "" {
			return "-"
		}
		return strings.TrimSpace(r.Outcome + " " + r.Error)
	}
	for _, name := range order {
		fmt.Fprintf(&b, "%-50s", name)
		for _, role := range roles {
			fmt.Fprintf(&b, " %-20s %-15s", word(seen[role+" open"][name]), word(seen[role+" closed"][name]))
		}
		b.WriteString("\n")
	}
	fmt.Println(b.String())
}
