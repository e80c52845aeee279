package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"gatepost/appliance/boot"
	"gatepost/appliance/config"
	"gatepost/appliance/control"
)

// Names of the roles that PID 1 starts.
const (
	RoleRelay = "relay"
	RoleWeb   = "web"
)

// Names of the listeners that PID 1 opens and hands down.
const (
	ListenSMTP        = "smtp"        // port 25, trusted networks
	ListenSubmissions = "submissions" // port 465, TLS from the first byte
	ListenSubmission  = "submission"  // port 587, STARTTLS
	ListenHTTPS       = "https"       // port 443, the admin page
	ListenHealth      = "health"      // a unix socket on which PID 1 asks whether the page lives
)

// RoleInput is everything that a role gets from PID 1. A role opens nothing
// that is not named here.
type RoleInput struct {
	Config config.Config
	// ConfigUse and ConfigError say where Config came from.
	ConfigUse   string
	ConfigError string
	// Listeners are open and ready. The role closes those that it is given.
	Listeners map[string]net.Listener
	// Watch tells the state of the box now and after every change, until ctx is
	// done; on the box PID 1 is asked through its socket (package control).
	Watch func(ctx context.Context, changed func(control.Box)) error
	// ControlSocket is the path of PID 1's socket, "" where there is none.
	ControlSocket string
	// APISocket is the path of the relay's admin API. The relay creates it with
	// APIMode, the page reads it.
	APISocket string
	APIMode   os.FileMode
	// DataDir is the role's own folder: /data/relay or /data/web.
	DataDir string
	// Volatile is true when DataDir is in memory because there is no usable
	// data disk: what is written there is gone after a restart.
	Volatile bool
	// Erasable is true when there is a data disk that was set aside and can be
	// made anew: the page can then be claimed for as long as it runs, so that its
	// owner may ask for that.
	Erasable bool
	// StorageRequired ends the relay with an error when DataDir cannot be used.
	// Without it the relay stays up and tells every sender to come back, so that
	// the page can say why.
	StorageRequired bool
	Log             *slog.Logger
	// Stdout is forwarded to the console of the box line by line.
	Stdout io.Writer
	// Zone is the office's time zone; nil is UTC.
	Zone    *time.Location
	Version string
	// Built is a time that has surely passed: when the program was built.
	Built time.Time
}

// handover is the part of RoleInput that travels as JSON from PID 1.
type handover struct {
	Config        config.Config `json:"config"`
	ConfigUse     string        `json:"config_use"`
	ConfigError   string        `json:"config_error,omitempty"`
	ControlSocket string        `json:"control_socket"`
	APISocket     string        `json:"api_socket"`
	DataDir       string        `json:"data_dir"`
	Volatile      bool          `json:"volatile,omitempty"`
	Erasable      bool          `json:"erasable,omitempty"`
	Version       string        `json:"version"`
	Built         time.Time     `json:"built,omitzero"`
}

// ErrNotStartedByInit means that a role was started by hand: there is no
// inherited configuration.
var ErrNotStartedByInit = errors.New("this role is started by gatepost init, not by hand")

// InheritRole reads what PID 1 handed down to this process: the configuration
// from the inherited pipe and the listeners from the inherited descriptors. It
// can be called once. The caller closes the listeners.
func InheritRole() (RoleInput, error) {
	in, err := boot.Inherit(os.Getenv, os.Unsetenv)
	if errors.Is(err, boot.ErrNothingInherited) {
		return RoleInput{}, ErrNotStartedByInit
	}
	if err != nil {
		return RoleInput{}, err
	}
	var h handover
	if err := json.Unmarshal(in.Payload, &h); err != nil {
		in.Close()
		return RoleInput{}, fmt.Errorf("handed-down configuration: %w", err)
	}
	return RoleInput{
		Config:        h.Config,
		ConfigUse:     h.ConfigUse,
		ConfigError:   h.ConfigError,
		Listeners:     in.Listeners,
		Watch:         control.NewClient(h.ControlSocket).Watch,
		ControlSocket: h.ControlSocket,
		APISocket:     h.APISocket,
		APIMode:       0o666, // its folder decides who can reach it
		DataDir:       h.DataDir,
		Volatile:      h.Volatile,
		Erasable:      h.Erasable,
		Log:           slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{ReplaceAttr: dropTime})),
		Stdout:        os.Stdout,
		Version:       h.Version,
		Built:         h.Built,
	}, nil
}

// dropTime leaves the time out of a role's log lines: PID 1 stamps them, with
// the one clock that knows whether it is trusted.
func dropTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// RunRole inherits from PID 1 and is the role of that name, RoleRelay or
// RoleWeb, until SIGTERM or SIGINT. Before it reads anything from outside the
// cage is closed; a role whose cage cannot be closed does not run. The error is
// nil when it ended because it was told to.
func RunRole(name string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	in, err := InheritRole()
	if err != nil {
		return err
	}
	limitMemory(name)
	if err := closeCage(name, in); err != nil {
		return err
	}
	run := runRelay
	if name == RoleWeb {
		run = runWeb
	}
	err = run(ctx, in)
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
