package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gatepost/appliance/api"
	"gatepost/relay/lab/peer"
)

// served is a "gatepost serve" that runs as a process of its own, with a
// folder of its own.
type served struct {
	binary string
	dir    string // settings and data
	addr   string // its port for the trusted network

	process *peer.Process // nil: it does not run
}

// route says where a Gatepost sends mail: everything to next, but the domains
// of inside each to a server of its own.
type route struct {
	next   string            // address and port
	tls    string            // rule for next, as in the settings
	inside map[string]string // domain to address and port
}

// prepare makes the folder and writes the settings. The program keeps to the
// defaults but for what is said here.
func prepare(binary, dir string, r route) (*served, error) {
	s := &served{binary: binary, dir: dir}
	var err error
	if s.addr, err = peer.FreePort(); err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(r.next)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, `version = 1
hostname = "gatepost.office.example"

[relay]
trusted_networks = ["127.0.0.0/8"]
retry = ["1s"]
parallel = 100
per_domain = %d

[listen]
smtp = %q
submission = ""
submissions = ""
page = ""

[smart_host]
server = %q
port = %s
tls = %q
`, outgoing, s.addr, host, port, r.tls)
	for domain, server := range r.inside {
		fmt.Fprintf(&b, "\n[[inbound]]\ndomain = %q\nserver = %q\ntls = \"none\"\nrecipients = \"any\"\n", domain, server)
	}
	if err := os.MkdirAll(s.data(), 0o700); err != nil {
		return nil, err
	}
	return s, os.WriteFile(s.settings(), []byte(b.String()), 0o600)
}

// outgoing is how many connections either mail server of a comparison opens
// to one destination. It is Postfix's default.
const outgoing = 20

func (s *served) settings() string { return filepath.Join(s.dir, "config.toml") }
func (s *served) data() string     { return filepath.Join(s.dir, "data") }

// launch starts the process and does not wait for it to answer.
func (s *served) launch() error {
	p, err := peer.Start(nil, nil, s.binary, "serve", "-config", s.settings(), "-data", s.data())
	s.process = p
	return err
}

// start starts the process and waits until it answers.
func (s *served) start(ctx context.Context) error {
	if err := s.launch(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return s.process.Answers(ctx, s.addr)
}

// stop ends the process in order.
func (s *served) stop() error {
	err := s.process.Stop(30 * time.Second)
	s.process = nil
	return err
}

// pause makes it keep what it takes in, until it is told otherwise.
func (s *served) pause(ctx context.Context) error {
	client := api.NewClient(filepath.Join(s.data(), "relay", "api.sock"))
	for {
		_, err := client.Pause(ctx, api.Pause{All: true, By: "gatepost-lab"})
		if !errors.Is(err, api.ErrUnreachable) {
			return err
		}
		// Its socket opens a little after its ports.
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}
