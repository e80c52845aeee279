// Package gatepost_test holds the tests of the house itself: which folder may
// know which, through which door each foreign library comes in, and how large
// a file may grow. ARCHITECTURE.md shows the same table as a picture.
//
// These tests call "go list": run them with -count=1, since a cached result
// would not notice a new import.
package gatepost_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module is the prefix of every import path of ours.
const module = "gatepost"

// arrows says which top folders a folder may import, tests included.
var arrows = map[string][]string{
	"cmd":       {"appliance", "relay", "image", "mtasts"},
	"appliance": {"relay", "webui", "board", "image", "mtasts"},
	"relay":     {"mtasts"},
	"webui":     {"mtasts"},
	"image":     {"board"},
	"board":     {},
	"mtasts":    {},
}

// formats are the only packages of image that appliance may import.
var formats = []string{"gatepost/image/layout", "gatepost/image/manifest"}

// roofs are the folders whose own sub-packages must not import them. The root
// of board is plain data at the bottom and the root of mtasts is the library.
var roofs = []string{"appliance", "relay", "webui", "image"}

// doors says which packages may import a foreign module. A prefix ending in a
// slash stands for everything below it.
var doors = map[string][]string{
	"filippo.io/age":                 {"gatepost/appliance/backup"},
	"github.com/emersion/go-smtp":    {"gatepost/relay/smtpd", "gatepost/relay/lab"},
	"github.com/miekg/dns":           {"gatepost/relay/resolver", "gatepost/relay/dnssec", "gatepost/relay/lab"},
	"go.etcd.io/bbolt":               {"gatepost/relay/store"},
	"periph.io/x/host/v3":            {"gatepost/board/gpio"},
	"gvisor.dev/gvisor":              {"gatepost/relay/lab/wire"},
	"github.com/u-root/u-root":       {"gatepost/appliance/", "gatepost/board/watchdog", "gatepost/image", "gatepost/image/"},
	"github.com/vishvananda/netlink": {"gatepost/appliance/"},
	"github.com/insomniacslk/dhcp":   {"gatepost/appliance/", "gatepost/relay/lab"},
	"github.com/BurntSushi/toml":     {"gatepost/appliance/config"},
	"github.com/diskfs/go-diskfs":    {"gatepost/image/disk"},
}

// forbiddenNames are words that say nothing about what a package holds.
var forbiddenNames = []string{"internal", "util", "utils", "common", "misc", "manager", "helper", "helpers"}

const maxLines = 600

// pkg is the part of "go list -json" that these tests read.
type pkg struct {
	ImportPath   string
	Dir          string
	Name         string
	Doc          string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Standard     bool
}

// all is every import of the package, its tests included, without repeats.
func (p pkg) all() []string {
	list := slices.Concat(p.Imports, p.TestImports, p.XTestImports)
	slices.Sort(list)
	return slices.Compact(list)
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) == 0 {
		t.Fatal("go list named no package")
	}
	return pkgs
}

// folder is the top folder of an import path of ours, "" for the module root.
func folder(path string) string {
	rest := strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
	top, _, _ := strings.Cut(rest, "/")
	return top
}

func ours(path string) bool { return path == module || strings.HasPrefix(path, module+"/") }

// tagged are the build tags under which files of ours exist.
const tagged = "-tags=e2e"

func TestArchArrows(t *testing.T) {
	for _, p := range list(t, tagged, "./...") {
		from := folder(p.ImportPath)
		if from == "" {
			continue
		}
		allowed, known := arrows[from]
		if !known {
			t.Errorf("%s: the top folder %q is not one of ours", p.ImportPath, from)
			continue
		}
		for _, imp := range p.all() {
			if !ours(imp) {
				continue
			}
			to := folder(imp)
			if to != from && !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s: %s may not know %s", p.ImportPath, imp, from, to)
			}
			if from == "appliance" && to == "image" && !slices.Contains(formats, imp) {
				t.Errorf("%s imports %s: appliance may know only the format packages of image", p.ImportPath, imp)
			}
			roof := module + "/" + from
			if to == from && imp == roof && p.ImportPath != roof && slices.Contains(roofs, from) {
				t.Errorf("%s imports its own roof %s", p.ImportPath, imp)
			}
		}
	}
}

func TestArchDoors(t *testing.T) {
	for _, p := range list(t, tagged, "./...") {
		for _, imp := range p.all() {
			for lib, allowed := range doors {
				if imp != lib && !strings.HasPrefix(imp, lib+"/") {
					continue
				}
				if !slices.ContainsFunc(allowed, func(a string) bool {
					return p.ImportPath == a || strings.HasSuffix(a, "/") && strings.HasPrefix(p.ImportPath, a)
				}) {
					t.Errorf("%s imports %s, whose door is %v", p.ImportPath, imp, allowed)
				}
			}
			if folder(p.ImportPath) == "mtasts" && !ours(imp) && strings.Contains(strings.Split(imp, "/")[0], ".") &&
				!strings.HasPrefix(imp, "golang.org/x/net/idna") {
				t.Errorf("%s imports %s: mtasts has the standard library and x/net/idna, nothing else", p.ImportPath, imp)
			}
		}
	}
}

// The appliance's binary must not carry the laboratory: neither its code nor
// its network stack.
func TestArchBinary(t *testing.T) {
	for _, p := range list(t, "-deps", "./cmd/gatepost") {
		for _, no := range []string{"gatepost/relay/lab", "gvisor.dev/", "gatepost/image", "gatepost/appliance/sandbox/attack", "testing"} {
			if p.ImportPath == no || strings.HasPrefix(p.ImportPath, no) && strings.HasSuffix(no, "/") ||
				strings.HasPrefix(p.ImportPath, no+"/") && !slices.Contains(formats, p.ImportPath) {
				t.Errorf("cmd/gatepost links %s", p.ImportPath)
			}
		}
	}
}

// The library's own command proves that the library stands alone.
func TestArchLibraryStandsAlone(t *testing.T) {
	if _, err := os.Stat("cmd/mtasts"); err != nil {
		t.Fatal(err)
	}
	for _, p := range list(t, "-deps", "./cmd/mtasts") {
		if ours(p.ImportPath) && folder(p.ImportPath) != "mtasts" && p.ImportPath != "gatepost/cmd/mtasts" {
			t.Errorf("cmd/mtasts links %s", p.ImportPath)
		}
		if !p.Standard && !ours(p.ImportPath) && !strings.HasPrefix(p.ImportPath, "golang.org/x/") &&
			!strings.HasPrefix(p.ImportPath, "vendor/") {
			t.Errorf("cmd/mtasts links %s", p.ImportPath)
		}
	}
}

func TestArchPackages(t *testing.T) {
	for _, p := range list(t, tagged, "./...") {
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		for _, part := range strings.Split(p.ImportPath, "/") {
			if slices.Contains(forbiddenNames, part) {
				t.Errorf("%s: %q says nothing about what is in it", p.ImportPath, part)
			}
		}
	}
}

func TestArchFiles(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "build" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if n := bytes.Count(src, []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines; %d is the limit: split it by concept", path, n, maxLines)
		}
		if filepath.Base(path) == "main.go" && strings.HasPrefix(path, "cmd"+string(filepath.Separator)) {
			if n := bytes.Count(src, []byte("\n")); n > 60 {
				t.Errorf("%s has %d lines; main is a door of at most 60", path, n)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Each top folder is one of those that the project agreed on.
func TestArchTopFolders(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{".ci", ".git", "build", "docs"}
	for _, e := range entries {
		if _, ok := arrows[e.Name()]; e.IsDir() && !ok && !slices.Contains(allowed, e.Name()) {
			t.Errorf("unexpected top folder %q", e.Name())
		}
	}
}

// The DHCP library before July 2026 can be made to panic by one short packet
// from the network, and in PID 1 a panic is a reboot.
func TestArchDHCPVersion(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	const lib, floor = "github.com/insomniacslk/dhcp v0.0.0-", "20260719"
	_, rest, ok := strings.Cut(string(mod), lib)
	if !ok {
		t.Fatal("go.mod does not name the DHCP library by a dated version")
	}
	if date := rest[:8]; date < floor {
		t.Errorf("the DHCP library is of %s; %s is the oldest that may be used", date, floor)
	}
}

// NOTICE names every module that is linked into the appliance, and no other,
// and nothing stands there under a licence that we do not link.
func TestArchNotice(t *testing.T) {
	notice, err := os.ReadFile("NOTICE")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for line := range strings.Lines(string(notice)) {
		if name, licence, ok := strings.Cut(strings.TrimSpace(line), "  "); ok && strings.HasPrefix(line, "    ") {
			listed[name] = true
			if strings.Contains(licence, "GPL") || strings.Contains(licence, "MPL") {
				t.Errorf("%s: %s is not linked into the appliance", name, strings.TrimSpace(licence))
			}
		}
	}
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./cmd/gatepost")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	linked := map[string]bool{}
	for _, m := range strings.Fields(string(out)) {
		if m != module {
			linked[m] = true
		}
	}
	for m := range linked {
		if !listed[m] {
			t.Errorf("NOTICE does not name %s, which is linked", m)
		}
	}
	for m := range listed {
		if !linked[m] {
			t.Errorf("NOTICE names %s, which is not linked", m)
		}
	}
}
