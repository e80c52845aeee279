package appliance

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync/atomic"

	"golang.org/x/crypto/x509roots/fallback/bundle"
	"golang.org/x/sync/errgroup"

	"gatepost/appliance/api"
	"gatepost/appliance/certs"
	"gatepost/appliance/config"
	"gatepost/appliance/control"
	"gatepost/relay"
)

// runRelay is the relay role: the mail machine and the admin API. It returns
// when ctx is done, or with the error that ended it.
func runRelay(ctx context.Context, in RoleInput) error {
	box := &latestBox{}
	roots, extra := trustedRoots(in.Config, in.Log)
	story := newStory(in.Stdout)

	var data *os.Root
	trouble := "there is no data disk"
	if !in.Volatile {
		var err error
		data, err = os.OpenRoot(in.DataDir)
		switch {
		case err == nil:
			defer data.Close()
		case in.StorageRequired:
			return err
		default:
			trouble = err.Error()
		}
	}
	keeper, err := certs.Open(certs.Config{
		Dir: data, Names: []string{in.Config.Hostname}, Floor: in.Built, ClockTrusted: box.clockTrusted, Log: in.Log,
	})
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	cfg := relayConfig(in, box)
	cfg.TLS, cfg.Roots = keeper.TLSConfig(), roots
	cfg.Data, cfg.DataTrouble = data, trouble
	cfg.Events = story.event
	m, err := relay.New(cfg)
	if err != nil && in.StorageRequired {
		return fmt.Errorf("the waiting mail in %s cannot be read: %w", in.DataDir, err)
	}
	if err != nil && data != nil {
		// The disk is there and cannot be used: say so to everyone, and tell
		// senders to come back, rather than crash again and again.
		in.Log.Error("the waiting mail cannot be read; no mail is taken in", "err", err)
		cfg.Data, cfg.DataTrouble = nil, err.Error()
		m, err = relay.New(cfg)
	}
	if err != nil {
		return err
	}
	sock, err := listenAPI(in.APISocket, in.APIMode)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.Run(ctx) })
	g.Go(func() error {
		return api.Serve(ctx, sock, engine{m: m, version: in.Version, extraRoots: extra, disk: !in.Volatile}, in.Log)
	})
	g.Go(func() error { return ended(ctx, in.Watch(ctx, box.set)) })
	g.Go(func() error { return story.run(ctx) })
	return g.Wait()
}

// ended turns the error of something that ended because ctx did into nil.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// latestBox is the newest state that PID 1 told.
type latestBox struct{ p atomic.Pointer[control.Box] }

func (l *latestBox) set(b control.Box) { l.p.Store(&b) }

// get returns the zero Box, in which nothing is known or trusted, before the
// first word of PID 1.
func (l *latestBox) get() control.Box {
	if b := l.p.Load(); b != nil {
		return *b
	}
	return control.Box{}
}

func (l *latestBox) clockTrusted() bool { return l.get().Clock.Trusted }

// trustedRoots is the built-in list of authorities and those of the settings,
// which are counted. A root with constraints that this program cannot check is
// left out, as its keepers ask.
func trustedRoots(c config.Config, log *slog.Logger) (*x509.CertPool, int) {
	pool := x509.NewCertPool()
	for r := range bundle.Roots() {
		if r.Constraint != nil {
			continue
		}
		if cert, err := x509.ParseCertificate(r.Certificate); err == nil {
			pool.AddCert(cert)
		}
	}
	extra := 0
	for cert, err := range pemCertificates([]byte(c.Trust.ExtraRoots)) {
		if err != nil {
			log.Warn("an extra authority of the settings cannot be read", "err", err)
			continue
		}
		pool.AddCert(cert)
		extra++
	}
	return pool, extra
}

// listenAPI opens the socket of the admin API with the mode that says who may
// ask, replacing one that a crash left behind.
func listenAPI(path string, mode os.FileMode) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}
