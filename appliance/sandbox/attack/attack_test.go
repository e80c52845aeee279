package attack

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gatepost/appliance/sandbox"
)

// orderEnv makes this binary the one that attacks.
const orderEnv = "GATEPOST_ATTACK"

// order is what the attacker is told.
type order struct {
	Closed  bool
	Rules   sandbox.Rules
	Target  Target
	Program string // the name of one action of Programs; "" runs the others
}

func TestMain(m *testing.M) {
	if text := os.Getenv(orderEnv); text != "" {
		os.Exit(attacker(text))
	}
	if len(os.Args) == 1 && len(os.Environ()) == 0 {
		fmt.Println(started)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// started is what this binary says when an attacker could start it.
const started = "a second program was started"

// none is an empty set of capabilities, as the kernel prints it.
const none = "0000000000000000"

func attacker(text string) int {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		fmt.Println(err)
		return 2
	}
	if o.Closed {
		// Opened before, read in the cage.
		status, err := os.Open("/proc/thread-self/status")
		if err != nil {
			fmt.Println(err)
			return 2
		}
		defer status.Close()
		report, err := sandbox.Enter(o.Rules)
		if err != nil {
			fmt.Println("the cage could not be closed:", err)
			return 2
		}
		fmt.Println("cage:", report)
		text, _ := io.ReadAll(status)
		for _, want := range []string{
			"CapInh:\t" + none, "CapPrm:\t" + none, "CapEff:\t" + none, "CapAmb:\t" + none, "NoNewPrivs:\t1", "Seccomp:\t2",
		} {
			if !strings.Contains(string(text), want) {
				fmt.Printf("the kernel does not say %q:\n%s", want, text)
				return 2
			}
		}
		if os.Getuid() == 0 && !strings.Contains(string(text), "CapBnd:\t"+none) {
			fmt.Printf("root can get a capability back:\n%s", text)
			return 2
		}
	}
	if o.Program != "" {
		for _, a := range Programs(o.Target) {
			if a.Name == o.Program {
				fmt.Println("came back:", a.Do())
			}
		}
		return 3
	}
	Run(os.Stdout, "test", append(Files(o.Target), Calls(o.Target)...))
	return 0
}

// build compiles this test anew, without cgo: the race detector needs cgo, and
// a program with cgo cannot be caged.
func build(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "attacker")
	cmd := exec.Command("go", "test", "-c", "-o", file, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go test -c: %v\n%s", err, out)
	}
	return file
}

// scene is a machine in small: two roles, a secret, and a process that must
// not be touched.
func scene(t *testing.T, program string, uid int) (Target, sandbox.Rules) {
	t.Helper()
	// Below /var/tmp and not in t.TempDir, whose parent folders the other user
	// may not enter.
	dir, err := os.MkdirTemp("/var/tmp", "gatepost-cage-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Chmod(dir, 0o755))
	for _, d := range []string{"own", "run", "other"} {
		must(os.Mkdir(filepath.Join(dir, d), 0o700))
	}
	for _, d := range []string{"own", "run"} {
		must(os.Chown(filepath.Join(dir, d), uid, uid))
	}
	for _, f := range []string{"other/key", "config.toml"} {
		must(os.WriteFile(filepath.Join(dir, f), []byte("secret"), 0o600))
	}
	must(os.WriteFile(filepath.Join(dir, "resolv.conf"), nil, 0o644))
	copied := filepath.Join(dir, "program")
	text, err := os.ReadFile(program)
	must(err)
	must(os.WriteFile(copied, text, 0o755))

	victim := exec.Command("sleep", "600")
	must(victim.Start())
	t.Cleanup(func() { victim.Process.Kill(); victim.Wait() })
	target := Target{
		Own: filepath.Join(dir, "own"), Run: filepath.Join(dir, "run"), Other: filepath.Join(dir, "other/key"),
		Secret: []string{filepath.Join(dir, "config.toml")}, Read: []string{filepath.Join(dir, "resolv.conf"), "/dev/null"},
		Disk: blockDevice(), Device: []string{"/dev/mem", "/dev/kmsg"}, Init: victim.Process.Pid, Program: copied,
	}
	rules := sandbox.Rules{
		Write: []string{target.Own}, Sockets: []string{target.Run}, Read: target.Read[:1], Devices: []string{"/dev/null"}, Threads: 512,
	}
	return target, rules
}

// blockDevice is some disk of this machine, or a name that is not there.
func blockDevice() string {
	all, _ := filepath.Glob("/sys/class/block/*")
	for _, d := range all {
		dev := "/dev/" + filepath.Base(d)
		if _, err := os.Stat(dev); err == nil {
			return dev
		}
	}
	return "/dev/no-disk"
}

// attempt runs the attacker and returns what it said and how it ended.
func attempt(t *testing.T, program string, uid int, o order) (string, *os.ProcessState) {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = []string{orderEnv + "=" + string(text)}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if uid != os.Getuid() {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), cmd.ProcessState
}

// results runs the whole list.
func results(t *testing.T, program string, uid int, o order) map[string]Result {
	t.Helper()
	out, state := attempt(t, program, uid, o)
	all := map[string]Result{}
	ended := false
	for sc := bufio.NewScanner(strings.NewReader(out)); sc.Scan(); {
		_, r, last, ok := Parse(sc.Text())
		switch {
		case last:
			ended = true
		case ok:
			all[r.Name] = r
		default:
			t.Logf("uid %d: %s", uid, sc.Text())
		}
	}
	if !ended || !state.Success() {
		t.Fatalf("the attacker ended early: %v\n%s", state, out)
	}
	return all
}

// user is one who owns nothing on this machine.
const user = 64123

// users are those as whom this test can attack.
func users(t *testing.T) []int {
	if os.Getuid() == 0 {
		return []int{0, user}
	}
	t.Logf("this test is not run by root: only attacks of user %d are tried, and nothing is tried with the cage open", os.Getuid())
	return []int{os.Getuid()}
}

func TestCageRefuses(t *testing.T) {
	program := build(t)
	level := sandbox.Level()
	if level == 0 {
		t.Log("this kernel has no Landlock: what it alone refuses is not looked at")
	}
	open := map[string]Result{}
	for i, uid := range users(t) {
		target, rules := scene(t, program, uid)
		if uid == 0 {
			// The proof that the list can fail: with the cage open, root may
			// do nearly everything.
			target.Dial = true
			open = results(t, target.Program, uid, order{Target: target})
			let := 0
			for name, r := range open {
				if r.Outcome == Allowed {
					let++
				} else {
					t.Logf("with the cage open: %s: %s %s", name, r.Outcome, r.Error)
				}
			}
			if let < 50 {
				t.Errorf("with the cage open only %d of %d actions were let through: the list proves nothing", let, len(open))
			}
		}
		for _, dial := range []bool{true, false} {
			rules.Dial, target.Dial = dial, dial
			o := order{Closed: true, Rules: rules, Target: target}
			refused := 0
			for name, r := range results(t, target.Program, uid, o) {
				switch {
				case r.May && r.Outcome != Allowed:
					t.Errorf("uid %d, dial %t: %q must work and was %s: %s", uid, dial, name, r.Outcome, r.Error)
				case r.May:
				case r.Outcome == Refused:
					refused++
				case r.Outcome == Absent && (len(open) == 0 || open[name].Outcome == Absent), level == 0 && isFile(target, name):
				default:
					t.Errorf("uid %d, dial %t: %q was %s %s", uid, dial, name, r.Outcome, r.Error)
				}
			}
			t.Logf("uid %d, dial %t: %d actions refused", uid, dial, refused)
			if i > 0 {
				continue
			}
			for _, a := range Programs(target) {
				o.Program = a.Name
				out, state := attempt(t, target.Program, uid, o)
				if ws := state.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != unix.SIGSYS {
					t.Errorf("%s: got %v, want an end by SIGSYS\n%s", a.Name, state, out)
				}
				o.Closed = false
				if out, _ := attempt(t, target.Program, uid, o); !strings.Contains(out, started) {
					t.Errorf("%s with the cage open: got %q, want the second program", a.Name, out)
				}
				o.Closed = true
			}
		}
	}
}

// isFile reports whether an action is one on files.
func isFile(target Target, name string) bool {
	return slices.ContainsFunc(Files(target), func(a Action) bool { return a.Name == name })
}

func TestParse(t *testing.T) {
	var out bytes.Buffer
	Run(&out, "stage", []Action{
		{Name: "works", May: true, Try: func() error { return nil }},
		{Name: "is refused", Try: func() error { return unix.EPERM }},
		{Name: "is not there", Try: func() error { return unix.ENOENT }},
		{Name: "is hidden", Try: func() error { return unix.ENOENT }, hidden: true},
		{Name: "is let through", Try: func() error { return unix.EFAULT }},
	})
	want := []Result{
		{"works", true, Allowed, ""},
		{"is refused", false, Refused, "EPERM"},
		{"is not there", false, Absent, "ENOENT"},
		{"is hidden", false, Refused, "ENOENT"},
		{"is let through", false, Allowed, "EFAULT"},
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, w := range want {
		if stage, r, last, ok := Parse("relay: " + lines[i]); !ok || last || stage != "stage" || r != w {
			t.Errorf("line %q: got %q %+v, want %+v", lines[i], stage, r, w)
		}
	}
	if stage, _, last, ok := Parse(lines[len(want)]); !ok || !last || stage != "stage" {
		t.Errorf("the last line %q is not seen", lines[len(want)])
	}
	for _, line := range []string{"", "relay: hello", "attack: x|y", "attack: a|b|c"} {
		if _, _, _, ok := Parse(line); ok {
			t.Errorf("%q is taken for a line of a report", line)
		}
	}
}
