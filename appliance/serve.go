package appliance

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"gatepost/appliance/cli"
	"gatepost/appliance/config"
	"gatepost/appliance/health"
)

// maxSocketPath is the length of a socket's path that the kernel takes.
const maxSocketPath = 107

// ServeOptions says what Serve works with.
type ServeOptions struct {
	ConfigFile string
	// DataDir is laid out as on the box: relay/ and web/ inside. It is made when
	// it is missing.
	DataDir string
	// Socket is the path of the admin API; "" means relay/api.sock in DataDir.
	Socket string
	// Cage closes a cage around the whole process, for ever, once everything is
	// open.
	Cage    bool
	Version string
	Built   time.Time
	Stdout  io.Writer    // what happens, for people
	Log     *slog.Logger // nil discards
}

const serveUsage = `gatepost serve -config FILE -data DIR [-socket PATH] [-no-cage]

Runs the mail machine and the admin page on this machine, until SIGTERM. The
addresses to listen on are those of [listen] in the settings. The clock of the
machine is trusted: keep it right with NTP. SIGHUP changes nothing: settings are
read at the start.

  -config FILE   the settings, see docs/config.md
  -data DIR      the folder for waiting mail, saved policies and certificates
  -socket PATH   the socket for gatepost queue, trace, policy and status
                 (without it DIR/relay/api.sock)
  -no-cage       keep the rights that the process has; without it everything but
                 DIR, the socket and the name servers' file is closed to it (see
                 docs/sandbox.md)
`

// ServeCommand is the command "gatepost serve".
func ServeCommand(stamp InitOptions, args []string) error {
	o := ServeOptions{Version: stamp.Version, Built: stamp.Built, Stdout: os.Stdout}
	o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	f := flag.NewFlagSet("serve", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.ConfigFile, "config", "", "")
	f.StringVar(&o.DataDir, "data", "", "")
	f.StringVar(&o.Socket, "socket", "", "")
	noCage := f.Bool("no-cage", false, "")
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(serveUsage)
		return nil
	case err != nil:
		return cli.Usagef("%v; see gatepost serve -h", err)
	case f.NArg() > 0 || o.ConfigFile == "" || o.DataDir == "":
		return cli.Usagef("serve needs -config FILE and -data DIR; see gatepost serve -h")
	}
	o.Cage = !*noCage
	var tasks sync.WaitGroup
	defer tasks.Wait()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// A second signal ends the process at once: nothing that got 250 is lost by
	// that either.
	defer context.AfterFunc(ctx, stop)()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	tasks.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hup:
				o.Log.Info("SIGHUP changes nothing: settings are read at the start, restart to use new ones")
			}
		}
	})
	return Serve(ctx, o)
}

// Serve is a whole Gatepost without its box: the relay and the page in this
// process, on listeners that the settings name, beside whatever else this
// machine does. It returns nil after ctx is done and everything has stopped in
// order, or the error that ended it; its text is for people.
func Serve(ctx context.Context, o ServeOptions) error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c, err := readSettings(o.ConfigFile, o.Log)
	if err != nil {
		return err
	}
	unlock, err := prepareData(o.DataDir)
	if err != nil {
		return err
	}
	defer unlock()
	if o.Socket == "" {
		o.Socket = filepath.Join(o.DataDir, RoleRelay, filepath.Base(cli.DefaultSocket))
	}
	if err := prepareSocket(o.Socket); err != nil {
		return err
	}
	listeners, err := openListeners(c.Listen)
	if err != nil {
		return err
	}
	defer func() {
		for _, ln := range listeners {
			ln.Close() // those that no role has closed, because none was reached
		}
	}()
	if o.Cage {
		if err := closeHostCage(o); err != nil {
			return err
		}
	}
	host := newHostBox(o, c)
	in := RoleInput{
		Config: c, ConfigUse: string(health.ConfigFile), Watch: host.watch,
		APISocket: o.Socket, APIMode: 0o600, StorageRequired: true, Zone: time.Local,
		Log: o.Log, Stdout: o.Stdout, Version: o.Version, Built: o.Built, Listeners: listeners,
	}
	g, ctx := errgroup.WithContext(ctx)
	relay, web := in, in
	relay.DataDir, web.DataDir = filepath.Join(o.DataDir, RoleRelay), filepath.Join(o.DataDir, RoleWeb)
	g.Go(func() error { return runRelay(ctx, relay) })
	if _, ok := listeners[ListenHTTPS]; ok {
		g.Go(func() error { return runWeb(ctx, web) })
	}
	g.Go(func() error { return host.run(ctx, readyLine(listeners)) })
	err = g.Wait()
	if err == nil {
		fmt.Fprintln(o.Stdout, "stopped")
	}
	return err
}

// readSettings reads the settings and says what is wrong with the file's rights.
func readSettings(path string, log *slog.Logger) (config.Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return config.Config{}, err
	}
	c, err := config.Parse(filepath.Base(path), text)
	if err != nil {
		return config.Config{}, err
	}
	if st, err := os.Stat(path); err == nil && st.Mode().Perm()&0o077 != 0 && holdsPasswords(c) {
		log.Warn("other users of this machine can read the passwords in the settings: chmod 600 " + path)
	}
	return c, nil
}

// holdsPasswords reports whether the settings hold something to hide.
func holdsPasswords(c config.Config) bool {
	found := len(c.Submission.Devices) > 0 || c.SmartHost != nil && c.SmartHost.Password != ""
	for _, in := range c.Inbound {
		found = found || in.Server.Password != ""
	}
	return found
}

// prepareData makes the folders of the roles and sees to it that no other
// Gatepost works there: two would tear each other's mail apart.
func prepareData(dir string) (unlock func(), err error) {
	for _, d := range []string{dir, filepath.Join(dir, RoleRelay), filepath.Join(dir, RoleWeb)} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another gatepost works in %s", dir)
		}
		return nil, fmt.Errorf("lock of %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

// prepareSocket checks that the socket can be made there, and makes its folder.
func prepareSocket(path string) error {
	if len(path) > maxSocketPath {
		return fmt.Errorf("the path of the socket has %d bytes, at most %d are possible: name a shorter one with -socket", len(path), maxSocketPath)
	}
	st, err := os.Lstat(path)
	if err == nil && st.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("%s is there and is no socket", path)
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return fmt.Errorf("another program answers at %s", path)
	}
	return os.MkdirAll(filepath.Dir(path), 0o755)
}

// openListeners opens what the settings name, all or nothing.
func openListeners(l config.Listen) (map[string]net.Listener, error) {
	out := map[string]net.Listener{}
	var errs []error
	for _, p := range listens(l) {
		if p.addr == "" {
			continue
		}
		// No keep-alive probes: the servers have time limits of their own.
		ln, err := (&net.ListenConfig{KeepAlive: -1}).Listen(context.Background(), "tcp", p.addr)
		switch {
		case errors.Is(err, os.ErrPermission):
			err = fmt.Errorf("%s %s: ports below 1024 are for root, or for programs with CAP_NET_BIND_SERVICE", p.key, p.addr)
		case errors.Is(err, unix.EADDRINUSE):
			err = fmt.Errorf("%s %s: another program listens there", p.key, p.addr)
		case err != nil:
			err = fmt.Errorf("%s: %w", p.key, err)
		default:
			out[p.name] = ln
		}
		errs = append(errs, err)
	}
	err := errors.Join(errs...)
	if err == nil && len(out) == 0 {
		err = errors.New("the settings name no address to listen on: write [listen], such as smtp = \"0.0.0.0:25\"")
	}
	if err != nil {
		for _, ln := range out {
			ln.Close()
		}
		return nil, err
	}
	return out, nil
}

// listens is each key of [listen] with the name of its listener.
func listens(l config.Listen) []struct{ key, name, addr string } {
	return []struct{ key, name, addr string }{
		{"smtp", ListenSMTP, l.SMTP},
		{"submissions", ListenSubmissions, l.Submissions},
		{"submission", ListenSubmission, l.Submission},
		{"page", ListenHTTPS, l.Page},
	}
}

// readyLine tells where everything listens, with the ports that the system chose.
func readyLine(have map[string]net.Listener) string {
	var parts []string
	for _, p := range listens(config.Listen{}) {
		if ln, ok := have[p.name]; ok {
			at := ln.Addr().String()
			if p.name == ListenHTTPS {
				at = "https://" + at + "/"
			}
			parts = append(parts, p.key+" "+at)
		}
	}
	return "ready: " + strings.Join(parts, ", ")
}
