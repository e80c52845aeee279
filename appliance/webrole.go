package appliance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"gatepost/appliance/api"
	"gatepost/appliance/certs"
	"gatepost/appliance/control"
	"gatepost/webui"
)

// runWeb is the web role: the admin page. It reads the state of the box from
// PID 1 and that of the mail from the relay's API, and asks both for what a
// person wants done. It returns when ctx is done, or with the error that ended it.
func runWeb(ctx context.Context, in RoleInput) error {
	ln, ok := in.Listeners[ListenHTTPS]
	if !ok {
		return fmt.Errorf("no listener %q was handed down", ListenHTTPS)
	}
	box := &latestBox{}
	var data *os.Root
	if !in.Volatile || in.Erasable {
		var err error
		if data, err = os.OpenRoot(in.DataDir); err != nil {
			in.Log.Error("the page's own folder cannot be opened", "err", err)
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
	client := api.NewClient(in.APISocket)
	var system webui.SystemBackend // not where another program starts the machine
	if in.ControlSocket != "" {
		system = pageSystem{pid1: control.NewClient(in.ControlSocket)}
	}
	srv, err := webui.New(webui.Config{
		Backend: pageBackend{api: client, box: box},
		Queue:   pageQueue{api: client},
		System:  system,
		Rules:   pageRules{api: client},
		Data:    data,
		Hosts:   func() []string { return pageHosts(in, box.get()) },
		ShowCode: func(code string) {
			fmt.Fprintf(in.Stdout, "Claim code: %s\n", code)
		},
		Press:       func() (int, bool) { b := box.get(); return b.Press, b.Button },
		Certificate: func() (string, string) { return keeper.Fingerprint(), keeper.Words() },
		Zone:        in.Zone,
		Log:         in.Log,
	})
	if err != nil {
		return err
	}
	if srv.Claimed() {
		fmt.Fprintln(in.Stdout, "this box has an owner; log in with the name and password of the owner")
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return srv.Serve(ctx, ln, keeper.TLSConfig()) })
	if l, ok := in.Listeners[ListenHealth]; ok {
		g.Go(func() error { return serveHealth(ctx, l, srv.Handler()) })
	}
	g.Go(func() error { return ended(ctx, in.Watch(ctx, box.set)) })
	g.Go(func() error { coverAddresses(ctx, in, keeper, box); return nil })
	return g.Wait()
}

// serveHealth serves the page on a socket that only PID 1 can open, until ctx is
// done.
func serveHealth(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// pageHosts are the names by which a browser may call the page.
func pageHosts(in RoleInput, b control.Box) []string {
	hosts := pageNames(in, b)
	for _, a := range b.Network.Addresses {
		hosts = append(hosts, a.Addr().String())
	}
	return hosts
}

// pageNames are the names of the page in force, or those at the start of this
// process while PID 1 has not told them.
func pageNames(in RoleInput, b control.Box) []string {
	names := slices.Clone(b.Config.PageNames)
	if len(names) == 0 {
		names = append([]string{in.Config.Hostname}, in.Config.Admin.Hosts...)
	}
	if b.Network.LocalName != "" {
		names = append(names, b.Network.LocalName)
	}
	return names
}

// certifiedAddresses are those that the certificate names. Nobody types one of
// IPv6 where there is one of IPv4, and they come later and change with the
// provider: each time browsers would warn of a new certificate.
func certifiedAddresses(b control.Box) []netip.Addr {
	var addrs []netip.Addr
	for _, p := range b.Network.Addresses {
		if len(addrs) == 0 || p.Addr().Is4() {
			addrs = append(addrs, p.Addr())
		}
	}
	return addrs
}

// certificateWatch is how often the page looks whether its certificate still
// covers the box's names and addresses.
const certificateWatch = time.Minute

// coverAddresses keeps the page's certificate in step with the addresses.
func coverAddresses(ctx context.Context, in RoleInput, k *certs.Keeper, box *latestBox) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		if b := box.get(); b.Network.Up() {
			changed, err := k.Cover(pageNames(in, b), certifiedAddresses(b))
			if err != nil {
				in.Log.Warn("the page's certificate cannot be renewed", "err", err)
			}
			if changed || n == 0 {
				fmt.Fprintf(in.Stdout, "certificate of the page: %s (SHA-256 %s)\n", k.Words(), k.Fingerprint())
			}
			tick.Reset(certificateWatch)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
