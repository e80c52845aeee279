package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gatepost/appliance/boot"
	"gatepost/appliance/config"
	"gatepost/appliance/control"
	"gatepost/appliance/journal"
	"gatepost/appliance/liveness"
	"gatepost/appliance/netup"
	"gatepost/board/button"
)

// Users of the roles. There is no password file in the image: these numbers
// are all that the kernel knows.
const (
	rootUID  = 0
	relayUID = 101
	webUID   = 102
)

// Folders and sockets of the running box.
const (
	runDir      = "/run/gatepost"
	relayRunDir = runDir + "/relay"
	apiSocket   = relayRunDir + "/api.sock"
	volatileDir = runDir + "/volatile" // in memory, in place of a missing disk
	systemDir   = boot.DataDir + "/system"
	resolvConf  = "/etc/resolv.conf"
)

// The patience of PID 1.
const (
	diskWait     = 5 * time.Second
	stopLimit    = 8 * time.Second
	journalLines = 2000
	consoleFlush = 2 * time.Second
	restartPause = time.Second
)

// self is the source of our own lines on the console.
const self = "gatepost"

// ErrNotInit means that the init command was given to a process that is not
// the first of its machine: it would mount and power off the wrong one.
var ErrNotInit = errors.New("gatepost init runs only as the first process of a machine")

// InitOptions are the facts that were stamped into the binary.
type InitOptions struct {
	Version string
	Built   time.Time // floor of the clock; zero means not known
}

// initProcess is PID 1.
type initProcess struct {
	InitOptions
	journal *journal.Journal
	keeper  journalKeeper
	log     *slog.Logger
	started time.Time
	tasks   sync.WaitGroup
	ends    chan boot.End // the first one wins
	hub     *control.Hub
	state   boxState
	local   localName
	lights  boxLights
	presses int // long ones of the button; its watcher's alone
	super   *boot.Supervisor
	vitals  vitals
	hooks   hooks
	cages   cages
	storage boot.Storage // what the start found; does not change
	settings
	// netAgain wakes the network to start again with the settings in force.
	netAgain chan struct{}
}

// RunInit is PID 1: it makes a running box out of a bare kernel and keeps it
// running. It returns only when it is not PID 1 or when the kernel refuses to
// stop the machine; in PID 1 the caller must not return then either.
func RunInit(ctx context.Context, o InitOptions) error {
	if os.Getpid() != 1 {
		return ErrNotInit
	}
	limitMemory(self)
	p := newInitProcess(o)
	life, cancel := context.WithCancel(ctx)
	defer cancel()
	p.guard("start", func() error { p.start(life); return nil })
	end := p.waitForEnd(life)
	p.guard("stop", func() error { p.stop(end, cancel); return nil })
	return boot.Stop(end)
}

// newInitProcess starts nothing.
func newInitProcess(o InitOptions) *initProcess {
	p := &initProcess{
		InitOptions: o,
		journal:     journal.New(journalLines),
		started:     time.Now(),
		ends:        make(chan boot.End, 8),
		hub:         control.NewHub(control.Box{Version: o.Version}),
		netAgain:    make(chan struct{}, 1),
	}
	p.log = p.journal.Logger(self, slog.LevelWarn)
	return p
}

// start does the boot steps in order and leaves everything running.
func (p *initProcess) start(life context.Context) {
	mountErr := boot.MountAll(boot.EarlyMounts())
	p.openConsole(life)
	p.say("version %s starting", p.Version)
	p.warn("mounts", mountErr)
	p.warn("privileges", boot.NoNewPrivileges())
	p.warn("keys", boot.KeysToSignals())
	p.watchSignals(life)
	p.loadModules()
	p.armWatchdog(life)
	p.warn("random numbers", boot.SeedRandom())
	p.warn("network", netup.Loopback())
	p.state.init()
	p.local.init()
	p.keep(life, "power button", func(ctx context.Context) error {
		return button.Keys{Dir: "/dev/input", Code: button.KeyPower}.Run(ctx, func(pressed bool) {
			if pressed {
				p.end(boot.PowerOff, "the power button was pressed")
			}
		})
	})
	p.lights.start(life, p, config.Default().Lights)
	p.openStorage(life)
	p.startJournal(life)
	p.finishJob()
	provisioned := p.provision()
	p.loadSettings()
	p.showProvision(provisioned)
	p.tell = p.say
	p.apply = func(before, after inForce) { p.applySettings(life, before, after) }
	p.lights.choose(life, p, p.current().Lights)
	p.warn("host name", unix.Sethostname([]byte(p.current().Hostname)))
	p.makeRunFolders()
	p.startControl(life)
	p.startNetwork(life)
	p.startClock(life)
	p.giveUp()
	p.startRoles(life)
	p.keep(life, "health", p.watchHealth)
	p.hooks.start(life, p)
}

// openConsole shows the journal on the console, and the console's file becomes
// our standard output, so that even a crash of this process can be read.
func (p *initProcess) openConsole(life context.Context) {
	console, err := boot.OpenConsole("/dev/console")
	if err != nil {
		console = os.Stderr
	}
	// The console outlives life: the last words are said after it.
	go p.guard("console", func() error { return p.journal.Run(context.WithoutCancel(life), console) })
	p.warn("console", err)
}

func (p *initProcess) loadModules() {
	names, err := boot.ReadModuleList(boot.ModuleList)
	p.warn("modules", err)
	n, err := boot.LoadModules(boot.ModuleDir, names, nil)
	p.warn("modules", err)
	p.note("%d of %d modules loaded", n, len(names))
}

// watchSignals ends the box on the kernel's signals: SIGINT is Ctrl-Alt-Del.
func (p *initProcess) watchSignals(life context.Context) {
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM)
	p.keep(life, "signals", func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case sig := <-ch:
				if sig == syscall.SIGINT {
					p.end(boot.Reboot, "Ctrl-Alt-Del was pressed")
				} else {
					p.end(boot.PowerOff, "PID 1 got the signal to end")
				}
			}
		}
	})
}

// makeRunFolders makes the folders of the sockets. Only root, the relay and
// the page can enter that of the relay's API.
func (p *initProcess) makeRunFolders() {
	p.warn("folders", boot.PrepareFolders("/run", []boot.Folder{{Name: "gatepost", UID: rootUID, GID: rootUID, Mode: 0o755}}))
	p.warn("folders", boot.PrepareFolders(runDir, []boot.Folder{
		{Name: "relay", UID: relayUID, GID: webUID, Mode: 0o750},
		{Name: "volatile", UID: rootUID, GID: rootUID, Mode: 0o755},
	}))
	p.warn("folders", boot.PrepareFolders(volatileDir, roleFolders()))
}

// roleFolders are the folders of the roles, on the disk or in its place.
func roleFolders() []boot.Folder {
	return []boot.Folder{
		{Name: RoleRelay, UID: relayUID, GID: relayUID, Mode: 0o700},
		{Name: RoleWeb, UID: webUID, GID: webUID, Mode: 0o700},
	}
}

func (p *initProcess) startControl(life context.Context) {
	p.keep(life, "control socket", func(ctx context.Context) error {
		l, err := control.Listen(control.Socket)
		if err != nil {
			return err
		}
		s := control.Server{
			Hub: p.hub, UIDs: []uint32{rootUID, relayUID, webUID}, Log: p.log,
			Act: p.act, ActUIDs: []uint32{rootUID, webUID},
		}
		return s.Run(ctx, l)
	})
}

// end asks for the end of the box; the first to ask decides how.
func (p *initProcess) end(e boot.End, why string) {
	p.say("%s: %s", e, why)
	select {
	case p.ends <- e:
	default:
	}
}

func (p *initProcess) waitForEnd(life context.Context) boot.End {
	select {
	case e := <-p.ends:
		return e
	case <-life.Done():
		return boot.PowerOff
	}
}

// stop ends everything in order: roles, then the rest, which saves the time,
// then the disk.
func (p *initProcess) stop(end boot.End, cancel context.CancelFunc) {
	p.vitals.enter(func(ph *liveness.Phase) { ph.Stopping = time.Now() })
	cancel()
	joined := make(chan struct{})
	go func() { p.tasks.Wait(); close(joined) }()
	select {
	case <-joined:
	case <-time.After(stopLimit + 5*time.Second):
		p.say("something did not stop in time")
	}
	p.warn("log", p.keeper.close())
	p.warn("data disk", boot.CloseStorage(boot.DataDir))
	p.letGo(end)
	p.say("%s", end)
	p.journal.Flush(consoleFlush)
}

// keep runs a part of PID 1 for as long as life lasts: after an error or a
// panic it is started again.
func (p *initProcess) keep(life context.Context, name string, run func(context.Context) error) {
	p.tasks.Go(func() { p.again(life, name, run) })
}

// again is keep for a caller that waits for the end.
func (p *initProcess) again(life context.Context, name string, run func(context.Context) error) {
	for life.Err() == nil {
		err := p.guard(name, func() error { return run(life) })
		if life.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("ended by itself")
		}
		p.warn(name, err)
		select {
		case <-life.Done():
		case <-time.After(restartPause):
		}
	}
}

// guard turns a panic into an error that is printed: PID 1 must live on.
func (p *initProcess) guard(name string, run func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%s: panic: %v", name, v)
			p.warn(name, err)
			p.note("%s: %s", name, debug.Stack())
		}
	}()
	return run()
}

func (p *initProcess) say(format string, args ...any) { p.journal.Sayf(self, format, args...) }

func (p *initProcess) note(format string, args ...any) {
	p.journal.Note(self, fmt.Sprintf(format, args...))
}

func (p *initProcess) warn(what string, err error) {
	if err != nil {
		p.say("%s: %v", what, err)
	}
}
