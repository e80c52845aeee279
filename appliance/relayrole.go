package appliance

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync/atomic"

	"golang.org/x/crypto/x509roots/fallback/bundle"
	"golang.org/x/sync/errgroup"

	"gatepost/appliance/api"
	"gatepost/appliance/certs"
	"gatepost/appliance/config"
	"gatepost/appliance/control"
	"gatepost/appliance/health"
	"gatepost/relay"
	"gatepost/relay/smtpd"
)

// dnsPort is where name servers listen.
const dnsPort = 53

// RunRelay is the relay role: the mail machine and the admin API. It returns
// when ctx is done, or with the error that ended it.
func RunRelay(ctx context.Context, in RoleInput) error {
	limitMemory(RoleRelay)
	box := &latestBox{}
	roots, extra := trustedRoots(in.Config, in.Log)
	story := newStory(in.Stdout)

	var data *os.Root
	trouble := "there is no data disk"
	if !in.Volatile {
		var err error
		if data, err = os.OpenRoot(in.DataDir); err != nil {
			trouble = err.Error()
		} else {
			defer data.Close()
		}
	}
	keeper, err := certs.Open(certs.Config{
		Dir: data, Names: []string{in.Config.Hostname}, Floor: in.Built, ClockTrusted: box.clockTrusted, Log: in.Log,
	})
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	cfg := relay.Config{
		Version: in.Version, Hostname: in.Config.Hostname,
		Listeners: smtpListeners(in.Listeners), TLS: keeper.TLSConfig(),
		TrustedNetworks: in.Config.Relay.TrustedNetworks,
		MaxMessage:      in.Config.Relay.MaxMessage, MaxRecipients: in.Config.Relay.MaxRecipients,
		Retry: in.Config.Relay.Retry, Lifetime: in.Config.Relay.Lifetime,
		Parallel: in.Config.Relay.Parallel, PerDomain: in.Config.Relay.PerDomain,
		Data: data, DataTrouble: trouble,
		NameServers: func() []netip.AddrPort { return nameServers(box.get(), in.Config) },
		Roots:       roots,
		Ready:       func() bool { b := box.get(); return b.Clock.Trusted && b.Network.Up() },
		// Until PID 1 has said so, the time is unknown.
		ClockTrusted: box.clockTrusted,
		Sentence:     sentence, Events: story.event, Log: in.Log,
	}
	if in.ConfigUse == string(health.ConfigDefault) {
		cfg.Closed = "This mail gateway has no usable settings; please try again later"
	}
	cfg.Auth, cfg.MaySend = submissionRights(in.Config.Submission.Devices)
	m, err := relay.New(cfg)
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
	sock, err := listenAPI(in.APISocket)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.Run(ctx) })
	g.Go(func() error {
		return api.Serve(ctx, sock, engine{m: m, version: in.Version, extraRoots: extra, disk: !in.Volatile}, in.Log)
	})
	g.Go(func() error { return ended(ctx, control.NewClient(in.ControlSocket).Watch(ctx, box.set)) })
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

// smtpListeners gives the handed-down listeners their roles.
func smtpListeners(have map[string]net.Listener) []smtpd.Listener {
	var out []smtpd.Listener
	for _, l := range []struct {
		name     string
		role     smtpd.Role
		implicit bool
	}{
		{ListenSMTP, smtpd.Trusted, false},
		{ListenSubmissions, smtpd.Submission, true},
		{ListenSubmission, smtpd.Submission, false},
	} {
		if ln, ok := have[l.name]; ok {
			out = append(out, smtpd.Listener{Listener: ln, Role: l.role, ImplicitTLS: l.implicit})
		}
	}
	return out
}

// nameServers are those of the settings first, then those of the network.
func nameServers(b control.Box, c config.Config) []netip.AddrPort {
	var out []netip.AddrPort
	for _, list := range [][]netip.Addr{c.Network.DNS, b.Network.DNS} {
		for _, a := range list {
			ap := netip.AddrPortFrom(a, dnsPort)
			if !contains(out, ap) {
				out = append(out, ap)
			}
		}
	}
	return out
}

func contains(list []netip.AddrPort, a netip.AddrPort) bool {
	for _, x := range list {
		if x == a {
			return true
		}
	}
	return false
}

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

// listenAPI opens the socket of the admin API. Its folder decides who can
// reach it: only root and the roles.
func listenAPI(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}
