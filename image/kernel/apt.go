package kernel

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// apt is the machine's apt with a state folder of its own.
type apt struct {
	dir      string // absolute; holds lists, caches and the configuration
	helper   string // path of apt-helper
	progress io.Writer
}

// errNoApt says that the machine is not one that this package can work on.
var errNoApt = errors.New("apt-get was not found: the kernel is fetched with Debian's apt (see README for machines without it)")

// newApt prepares a state folder below parent, which close removes again: its
// 120 MB serve one download. The machine's way out (proxies, retries) is
// taken over; its hooks are not.
func newApt(ctx context.Context, parent string, progress io.Writer) (a *apt, err error) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return nil, errNoApt
	}
	parent, err = filepath.Abs(parent)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, ".apt-*")
	if err != nil {
		return nil, err
	}
	a = &apt{dir: dir, helper: helperPath, progress: progress}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	for _, d := range []string{"lists/partial", "cache/archives/partial", "conf.d", "preferences.d"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	if p, err := exec.LookPath("apt-helper"); err == nil {
		a.helper = p
	}
	way, err := exec.CommandContext(ctx, "apt-config", "dump", "--no-empty").Output()
	if err != nil {
		return nil, fmt.Errorf("apt-config dump: %w", err)
	}
	files := map[string]string{
		"status":   "",
		"apt.conf": aptConf(dir, string(way)),
		// Only what Debian itself publishes for this suite: a third party's
		// kernel with a higher version must not slip in.
		"preferences.d/debian": "Package: *\nPin: release o=Debian\nPin-Priority: 900\n\n" +
			"Package: *\nPin: release *\nPin-Priority: -1\n",
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// close removes the state folder.
func (a *apt) close() error { return os.RemoveAll(a.dir) }

// aptConf writes the private configuration. dump is the machine's own, of
// which only the settings about reaching the mirrors are kept.
func aptConf(dir, dump string) string {
	var b strings.Builder
	for line := range strings.Lines(dump) {
		for _, keep := range []string{
			"Acquire::http::", "Acquire::https::", "Acquire::Retries ",
			"Acquire::ForceIPv4 ", "Acquire::ForceIPv6 ", "Acquire::Check-Valid-Until ",
		} {
			if strings.HasPrefix(line, keep) {
				b.WriteString(line)
			}
		}
	}
	fmt.Fprintf(&b, `
Dir::State %[1]q;
Dir::State::lists "%[2]s/lists";
Dir::State::status "%[2]s/status";
Dir::Cache "%[2]s/cache";
Dir::Cache::archives "%[2]s/cache/archives";
Dir::Etc::parts "%[2]s/conf.d";
Dir::Etc::main "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "%[2]s/preferences.d";
APT::Architecture %[3]q;
APT::Architectures { %[3]q; };
APT::Sandbox::User "root";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::IndexTargets::deb-src::Sources::DefaultEnabled "false";
`, dir, dir, Architecture)
	return b.String()
}

// waitDelay is how long the children of a program that was ended (apt's
// methods) may hold its output open.
const waitDelay = 5 * time.Second

// command prepares one of apt's programs to run on the private state.
func (a *apt) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(a.dir, "apt.conf"), "LC_ALL=C.UTF-8")
	cmd.WaitDelay = waitDelay
	return cmd
}

// output runs a query and gives what it printed.
func (a *apt) output(ctx context.Context, name string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := a.command(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, tail(stderr.String()))
	}
	return stdout.String(), nil
}

// update fetches the package lists. A source that fails (a third party's,
// perhaps) is no error by itself: whether the lists are good enough is seen
// by what is found in them. The returned text is apt's complaint, if any.
func (a *apt) update(ctx context.Context) (complaint string, err error) {
	fmt.Fprintln(a.progress, "kernel: fetching Debian's package lists (about 9 MB)")
	var out bytes.Buffer
	cmd := a.command(ctx, "apt-get", "-q", "update")
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	var bad []string
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "E:") || strings.HasPrefix(line, "W:") || strings.HasPrefix(line, "Err:") {
			bad = append(bad, strings.TrimSpace(line))
		}
	}
	if err != nil && len(bad) == 0 {
		bad = append(bad, err.Error())
	}
	return strings.Join(bad, "\n"), nil
}

// concrete gives the name of the kernel package that Meta depends on now.
func (a *apt) concrete(ctx context.Context) (string, error) {
	out, err := a.output(ctx, "apt-cache", "show", "--no-all-versions", Meta)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		deps, ok := strings.CutPrefix(line, "Depends:")
		if !ok {
			continue
		}
		for d := range strings.SplitSeq(deps, ",") {
			name, _, _ := strings.Cut(strings.TrimSpace(d), " ")
			if strings.HasPrefix(name, "linux-image-") && name != Meta && nameForm.MatchString(name) {
				return name, nil
			}
		}
	}
	return "", fmt.Errorf("package %s names no kernel package", Meta)
}

// versions lists every version that the package lists offer under this name,
// whoever publishes it.
func (a *apt) versions(ctx context.Context, name string) ([]Package, error) {
	out, err := a.output(ctx, "apt-cache", "show", name)
	if err != nil {
		return nil, err
	}
	return parseShow(out)
}

// candidate gives the version that apt would install: Debian's newest.
func (a *apt) candidate(ctx context.Context, name string) (Package, error) {
	out, err := a.output(ctx, "apt-cache", "show", "--no-all-versions", name)
	if err != nil {
		return Package{}, err
	}
	all, err := parseShow(out)
	if err != nil {
		return Package{}, err
	}
	if len(all) != 1 {
		return Package{}, fmt.Errorf("apt names %s and does not offer it", name)
	}
	return all[0], nil
}

// parseShow reads the stanzas that `apt-cache show` prints.
func parseShow(out string) ([]Package, error) {
	var all []Package
	var p Package
	flush := func() error {
		if p == (Package{}) {
			return nil
		}
		if err := p.check(); err != nil {
			return err
		}
		all, p = append(all, p), Package{}
		return nil
	}
	sc := bufio.NewScanner(strings.NewReader(out))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line := sc.Text()
		if line == "" {
			if err := flush(); err != nil {
				return nil, err
			}
			continue
		}
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "Package":
			p.Name = value
		case "Version":
			p.Version = value
		case "Filename":
			p.Filename = value
		case "SHA256":
			p.SHA256 = value
		case "Size":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("size of %s: %w", p, err)
			}
			p.Size = n
		}
	}
	return all, errors.Join(sc.Err(), flush())
}

// download lets apt fetch one version into the folder to, checked by apt
// against the signed lists.
func (a *apt) download(ctx context.Context, p Package, to string) error {
	cmd := a.command(ctx, "apt-get", "-q", "download", p.Name+"="+p.Version)
	cmd.Dir = to
	return a.fetch(cmd, p, to)
}

// downloadFromPool tries each mirror's pool for a file that the lists no
// longer name. Its digest, which the lock holds, is what vouches for it.
func (a *apt) downloadFromPool(ctx context.Context, p Package, to string) error {
	if p.Filename == "" {
		return errors.New("the lock does not say where in the pool it was")
	}
	out, err := a.output(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	var tried []error
	for base := range strings.FieldsSeq(out) {
		if seen[base] {
			continue
		}
		seen[base] = true
		file := filepath.Join(to, filepath.Base(p.Filename))
		cmd := a.command(ctx, a.helper, "download-file",
			strings.TrimSuffix(base, "/")+"/"+p.Filename, file, "SHA256:"+p.SHA256)
		if err := a.fetch(cmd, p, to); err != nil {
			tried = append(tried, err)
			continue
		}
		return nil
	}
	return errors.Join(append([]error{errors.New("no mirror has it in its pool")}, tried...)...)
}

// helperPath is where Debian keeps apt's program for scripts, which is not in
// the PATH.
const helperPath = "/usr/lib/apt/apt-helper"

// fetch runs a download and tells how far it is.
func (a *apt) fetch(cmd *exec.Cmd, p Package, dir string) error {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	stop := watchSize(a.progress, "kernel: "+p.Name, dir, p.Size)
	err := cmd.Run()
	stop()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, tail(out.String()))
	}
	return nil
}

// tail keeps the last lines of a program's complaint.
func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}
