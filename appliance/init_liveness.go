package appliance

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"gatepost/appliance/api"
	"gatepost/appliance/boot"
	"gatepost/appliance/control"
	"gatepost/appliance/liveness"
	"gatepost/board/watchdog"
)

// healthSocket is where the page is asked whether it lives. Only root may open
// it, so that no crowd at the page's own port can make it look dead.
const healthSocket = runDir + "/web-health.sock"

// The watchdog: the longest time that every known board can do, and how often it
// is fed.
const (
	watchdogTimeout = 15 * time.Second
	watchdogEvery   = 2 * time.Second
)

// vitals is what PID 1 knows of its own life and that of the roles.
type vitals struct {
	mu      sync.Mutex
	phase   liveness.Phase
	health  time.Time                    // when the health loop last came round
	watch   *liveness.Watch              // nil before the roles start
	found   map[string]map[string]string // trouble by role and check
	dog     *watchdog.Device             // nil when there is none
	endFeed func()                       // stops feeding and joins it
	writing sync.Mutex                   // of the reasons on the disk
	// restarting is set, under writing, when the box was asked to restart itself.
	restarting bool
}

// beat is called by the health loop at every round.
func (v *vitals) beat() {
	v.mu.Lock()
	v.health = time.Now()
	v.mu.Unlock()
}

func (v *vitals) enter(change func(*liveness.Phase)) {
	v.mu.Lock()
	change(&v.phase)
	v.mu.Unlock()
}

// mayFeed is the rule of the watchdog with what is known now.
func (v *vitals) mayFeed(now time.Time) (bool, string) {
	v.mu.Lock()
	phase, watch := v.phase, v.watch
	beats := []liveness.Beat{{Name: "health", At: v.health}}
	v.mu.Unlock()
	var roles []liveness.Seen
	if watch != nil {
		seen, at := watch.Seen()
		roles, beats = seen, append(beats, liveness.Beat{Name: "self-tests", At: at})
	}
	return liveness.MayFeed(now, phase, beats, roles, liveness.SelfTestPatience)
}

// trouble is what the checks of a role have found, "" when all is well.
func (v *vitals) trouble(role string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	// The first by name, so that two troubles do not take turns.
	for _, name := range slices.Sorted(maps.Keys(v.found[role])) {
		if trouble := v.found[role][name]; trouble != "" {
			return trouble
		}
	}
	return ""
}

// armWatchdog starts the watchdog, if the board has one. From here on the box
// restarts when this process hangs.
func (p *initProcess) armWatchdog(life context.Context) {
	p.vitals.enter(func(ph *liveness.Phase) { ph.Booted = p.started })
	if boot.Asked("/proc/cmdline", noWatchdog) {
		p.say("watchdog: left alone, as the kernel's command line says")
		return
	}
	choice, err := watchdog.Choose(os.DirFS("/sys/class/watchdog"))
	if err != nil {
		p.note("watchdog: %v", err)
		return
	}
	dog, err := watchdog.Open("/dev", choice, watchdogTimeout)
	p.warn("watchdog", err)
	if dog == nil {
		return
	}
	p.vitals.dog = dog
	p.say("watchdog: %s %s restarts a box that hangs for %v", choice.Name, choice.Identity, dog.Timeout)
	ctx, cancel := context.WithCancel(context.WithoutCancel(life)) // it outlives the roles
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.again(ctx, "watchdog", watchdog.Feeder{
			Device: dog, Every: watchdogEvery, May: p.hooks.guard(p.vitals.mayFeed), Changed: p.watchdogHungry, Log: p.log,
		}.Run)
	}()
	p.vitals.endFeed = func() {
		cancel()
		select {
		case <-done:
		case <-time.After(watchdogEvery): // it hangs: then the watchdog is right
		}
	}
}

// watchdogHungry says why the watchdog is not fed, and writes it down for the
// next start.
func (p *initProcess) watchdogHungry(why string) {
	if why == "" {
		p.say("watchdog: all is well again")
	} else {
		p.say("watchdog: THE BOX WILL BE RESTARTED: %s", why)
	}
	if p.system == nil {
		return
	}
	go p.guard("watchdog", func() error { // the disk may be what hangs
		p.vitals.writing.Lock()
		defer p.vitals.writing.Unlock()
		c := readCrashes(p.system)
		if why == "" {
			return writeCrashes(p.system, crashes{InARow: max(c.InARow-1, 0)})
		}
		return writeCrashes(p.system, crashes{InARow: c.InARow + 1, Reason: watchdogDid + why})
	})
}

// noWatchdog on the kernel's command line leaves the watchdog alone: on a board
// whose watchdog resets at once, and to look into a box that does not come up.
const noWatchdog = "gatepost.watchdog=off"

// watchdogDid begins the reason of a restart by the watchdog.
const watchdogDid = "the watchdog restarted the box: "

// letGo disarms the watchdog when the box is to stay off. For a restart it stays
// armed: a kernel that hangs on the way is restarted too.
func (p *initProcess) letGo(end boot.End) {
	if p.vitals.dog == nil {
		return
	}
	p.vitals.endFeed()
	if end == boot.PowerOff {
		p.warn("watchdog", p.vitals.dog.Disarm())
	} else {
		p.warn("watchdog", p.vitals.dog.Feed()) // the whole timeout for the kernel
	}
}

// whyRestarted is why the box restarted itself before this start, "" when it did
// not.
func (p *initProcess) whyRestarted() string {
	c := readCrashes(p.system)
	if p.vitals.dog == nil || !p.vitals.dog.Fired || strings.HasPrefix(c.Reason, watchdogDid) {
		return c.Reason
	}
	c = crashes{InARow: c.InARow + 1, Reason: watchdogDid + "the first process did not answer"}
	if p.system != nil {
		p.warn("restart", writeCrashes(p.system, c))
	}
	return c.Reason
}

// watchRoles asks the roles whether they live, and ends those that hang.
func (p *initProcess) watchRoles(life context.Context, open map[string]bool) {
	relay := api.NewClient(apiSocket)
	web := unixClient(healthSocket)
	checks := []liveness.Check{
		{Role: RoleRelay, Name: "self-test", Proves: true, Patience: liveness.SelfTestPatience, Ask: func(ctx context.Context) error {
			s, err := relay.SelfTest(ctx)
			if err == nil && s.Spool != "" {
				err = liveness.Fault(s.Spool)
			}
			return err
		}},
		{Role: RoleWeb, Name: "self-test", Proves: true, Patience: liveness.SelfTestPatience, Ask: func(ctx context.Context) error {
			return askPage(ctx, web, "http://localhost/")
		}},
	}
	if open[ListenSMTP] {
		checks = append(checks, liveness.Check{
			Role: RoleRelay, Name: "SMTP greeting", Patience: liveness.DoorPatience,
			Ask: func(ctx context.Context) error { return askGreeting(ctx, "127.0.0.1:25") },
		})
	}
	if open[ListenHTTPS] {
		door := &http.Client{
			Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, // it is ourselves
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		checks = append(checks, liveness.Check{
			Role: RoleWeb, Name: "page", Patience: liveness.DoorPatience,
			Ask: func(ctx context.Context) error { return askPage(ctx, door, "https://127.0.0.1/") },
		})
	}
	w := &liveness.Watch{
		Checks:    checks,
		Processes: func() []liveness.Process { return processes(p.super.States()) },
		Hangs: func(role string, pid int, reason string) {
			p.say("%s hangs; it is ended", role)
			p.super.Kill(pid, reason)
		},
		Stuck: func(role string) bool {
			return !p.restartFor(role, role+" hangs and cannot be ended")
		},
		Found: p.selfTestFound,
	}
	p.vitals.mu.Lock()
	p.vitals.watch, p.vitals.health = w, time.Now()
	p.vitals.phase.Running = true
	p.vitals.mu.Unlock()
	p.keep(life, "self-tests", w.Run)
}

// selfTestFound notes what a check has found.
func (p *initProcess) selfTestFound(c liveness.Check, trouble string) {
	p.vitals.mu.Lock()
	defer p.vitals.mu.Unlock()
	if p.vitals.found == nil {
		p.vitals.found = map[string]map[string]string{}
	}
	if p.vitals.found[c.Role] == nil {
		p.vitals.found[c.Role] = map[string]string{}
	}
	p.vitals.found[c.Role][c.Name] = trouble
	if trouble != "" {
		p.note("%s: %s", c.Role, trouble)
	}
}

func processes(states []boot.RoleState) []liveness.Process {
	out := make([]liveness.Process, len(states))
	for i, s := range states {
		out[i] = liveness.Process{Name: s.Name, Up: s.Up, PID: s.PID, Since: s.Since, Next: s.Next}
	}
	return out
}

// askGreeting reads the first line of an SMTP server. That the relay refuses to
// talk now (421), or to this address, which is no machine of the office (554), is
// an answer too.
func askGreeting(ctx context.Context, addr string) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if end, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(end)
	}
	line, err := bufio.NewReaderSize(c, 1024).ReadString('\n')
	if err != nil {
		return err
	}
	_, _ = c.Write([]byte("QUIT\r\n"))
	if len(line) < 4 || !strings.ContainsRune("245", rune(line[0])) {
		return liveness.Fault(fmt.Sprintf("the SMTP greeting is %q", line))
	}
	return nil
}

// askPage wants any page of the box's own: one that asks for a login will do,
// and so does the one that says why nobody can log in (503).
func askPage(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode >= http.StatusInternalServerError && resp.StatusCode != http.StatusServiceUnavailable {
		return liveness.Fault("the page answers with " + resp.Status)
	}
	return nil
}

func unixClient(path string) *http.Client {
	return &http.Client{
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// openHealth opens the socket on which the page is asked whether it lives.
func openHealth() (*os.File, error) {
	if err := os.Remove(healthSocket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: healthSocket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(healthSocket, 0o600); err != nil {
		return nil, err
	}
	return l.File()
}

// restartFor restarts the box for a role that is not to be mended otherwise,
// and reports whether it does: not when restarts have not helped before.
func (p *initProcess) restartFor(role, why string) bool {
	p.vitals.writing.Lock() // both roles may come at once
	defer p.vitals.writing.Unlock()
	if p.vitals.restarting {
		return true
	}
	before := readCrashes(p.system)
	if p.system == nil || before.InARow >= maxRestarts {
		p.note("the box is not restarted for %s: %d restarts did not help", role, before.InARow)
		return false
	}
	p.warn("restart", writeCrashes(p.system, crashes{InARow: before.InARow + 1, Reason: why}))
	p.vitals.restarting = true
	p.end(boot.Reboot, why)
	return true
}

// restarted is why the box restarted itself, for as long as it is news.
func restarted(b control.Box, up time.Duration) string {
	if up >= calmAfter {
		return ""
	}
	return b.LastReboot
}
