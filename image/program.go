package image

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// GOARCH is the guest's processor in Go's words.
const GOARCH = "arm64"

// maxProgram bounds the executable, in bytes: an image that outgrows the
// boxes it is meant for must not come about unseen.
const maxProgram = 32 << 20

// program gives the guest's executable.
func (s Spec) program(ctx context.Context) ([]byte, error) {
	if s.Init != "" {
		return readProgram(s.Init)
	}
	tmp, err := os.MkdirTemp("", "gatepost-image-*")
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, "init")
	fmt.Fprintf(s.Progress, "image: compiling the program for %s\n", GOARCH)
	cmd := exec.CommandContext(ctx, "go", s.buildArgs(out)...)
	cmd.Dir = s.Source
	cmd.Env = goEnv()
	cmd.WaitDelay = 5 * time.Second // for the compilers that it started
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stderr, &stderr
	stop := s.heartbeat("compiling")
	err = cmd.Run()
	stop()
	if err != nil {
		return nil, fmt.Errorf("image: go build: %w\n%s", err, stderr.String())
	}
	return readProgram(out)
}

// heartbeat says every ten seconds that a step goes on; a first compilation
// takes minutes on a small machine. The returned function ends it and has
// joined it.
func (s Spec) heartbeat(step string) (stop func()) {
	done, start := make(chan struct{}), time.Now()
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(10 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				fmt.Fprintf(s.Progress, "image: %s, %.0f s\n", step, time.Since(start).Seconds())
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// buildArgs are the arguments of go: nothing of this machine (folder names,
// state of the checkout, build ids) may get into the program.
func (s Spec) buildArgs(out string) []string {
	stamps := fmt.Sprintf("-X main.version=%s -X main.buildTime=%d", s.Version, s.BuildTime.Unix())
	return []string{
		"build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -buildid= " + stamps,
		"-o", out, "./cmd/gatepost",
	}
}

// goEnv is the environment of go, for the guest.
func goEnv() []string {
	return append(buildEnv(os.Environ()), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+GOARCH)
}

// buildEnv drops the settings by which a user's environment would change the
// program.
func buildEnv(env []string) []string {
	var kept []string
	for _, kv := range env {
		switch key, _, _ := strings.Cut(kv, "="); key {
		case "GOFLAGS", "GOARM64", "GOEXPERIMENT", "GODEBUG", "GOFIPS140", "GOWORK":
		default:
			kept = append(kept, kv)
		}
	}
	return append(kept, "GOFLAGS=", "GOWORK=off")
}

// readProgram reads an executable and makes sure that it can be PID 1 of the
// guest: for its processor, and static, because there is no library.
func readProgram(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	if len(data) > maxProgram {
		return nil, fmt.Errorf("image: the program has %d bytes, more than %d", len(data), maxProgram)
	}
	obj, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("image: %s: %w", path, err)
	}
	if obj.Machine != elf.EM_AARCH64 {
		return nil, fmt.Errorf("image: %s is for %s, want %s", path, obj.Machine, elf.EM_AARCH64)
	}
	for _, p := range obj.Progs {
		if p.Type == elf.PT_INTERP {
			return nil, fmt.Errorf("image: %s is not static: it asks for a loader", path)
		}
	}
	return data, nil
}

// goVersion names the toolchain that compiled a program, which the program
// says itself.
func goVersion(program []byte) string {
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil {
		return "unknown"
	}
	return info.GoVersion
}

// unreleased is the version of a tree without tags.
const unreleased = "0.0.0-unreleased"

// gitVersion names the state of the sources.
func gitVersion(ctx context.Context, dir string) string {
	out, err := git(ctx, dir, "describe", "--tags", "--always", "--dirty", "--abbrev=12", "--match=v[0-9]*")
	if err != nil || out == "" {
		return unreleased
	}
	if !strings.HasPrefix(out, "v") {
		return "0.0.0-" + out
	}
	return strings.TrimPrefix(out, "v")
}

// sourceTime is the time that the image is said to be built: epoch (seconds
// since 1970) if it is given, else that of the last commit, else that of
// go.mod.
func sourceTime(ctx context.Context, dir, epoch string) (time.Time, error) {
	if epoch == "" {
		if out, err := git(ctx, dir, "log", "-1", "--format=%ct"); err == nil {
			epoch = out
		}
	}
	if epoch == "" {
		info, err := os.Stat(filepath.Join(dir, "go.mod"))
		if err != nil {
			return time.Time{}, fmt.Errorf("image: %w", err)
		}
		return info.ModTime(), nil
	}
	n, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil || n < 0 {
		return time.Time{}, fmt.Errorf("image: SOURCE_DATE_EPOCH=%q is not a number of seconds", epoch)
	}
	return time.Unix(n, 0), nil
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}
