package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"gatepost/relay/lab/peer"
)

// side is one of the two mail servers that are compared. Each method is called
// from one goroutine.
type side interface {
	// open starts it with an empty queue in a new folder below dir. Mail goes
	// on to next, over TLS if secure, or waits if paused.
	open(ctx context.Context, dir, next string, mode benchMode) error
	addr() string // where it takes mail
	pid() int     // of the process whose descendants count as its own
	// idle waits until nothing is left to do for mail that was handed on.
	idle(ctx context.Context) error
	// close ends it and removes its folder.
	close() error
}

// benchMode is how a side sends.
type benchMode struct {
	secure bool // TLS on the outgoing side
	paused bool // outgoing mail waits: only taking it in is measured
}

// gatepost is our side: the binary that was built for release, run as "serve".
type gatepost struct {
	binary string
	dir    string
	s      *served
}

func (g *gatepost) open(ctx context.Context, dir, next string, mode benchMode) error {
	var err error
	if g.dir, err = os.MkdirTemp(dir, "gatepost-serve-"); err != nil {
		return err
	}
	r := route{next: next, tls: "none"}
	if mode.secure {
		r.tls = "require"
	}
	if g.s, err = prepare(g.binary, g.dir, r); err != nil {
		return err
	}
	if err := g.s.start(ctx); err != nil {
		return err
	}
	if mode.paused {
		if err := g.s.pause(ctx); err != nil {
			return err
		}
	}
	// A moment after its start the first segment of its spool is ready.
	return pause(ctx, 2*time.Second)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gatepost) addr() string { return g.s.addr }
func (g *gatepost) pid() int     { return g.s.process.PID() }

// idle waits for the writes that Gatepost batches once a second.
func (g *gatepost) idle(ctx context.Context) error { return pause(ctx, 1200*time.Millisecond) }

func (g *gatepost) close() error {
	var err error
	if g.s != nil && g.s.process != nil {
		err = g.s.stop()
	}
	return errors.Join(err, os.RemoveAll(g.dir))
}

// postfix is the other side: Debian's, with the settings of its package but
// for what open says.
type postfix struct{ p *peer.Postfix }

func (f *postfix) open(ctx context.Context, dir, next string, mode benchMode) error {
	settings := map[string]string{
		"smtp_tls_security_level": "none",
		// Its own default; said here because it is what ours is set to.
		"default_destination_concurrency_limit": "20",
	}
	if mode.secure {
		settings["smtp_tls_security_level"] = "encrypt"
		settings["smtp_tls_connection_reuse"] = "yes"
	}
	if mode.paused {
		// cleanup puts the message into the hold queue, where no other daemon
		// looks at it: the least work that taking a message in can be.
		settings["smtpd_client_restrictions"] = "check_client_access static:HOLD"
	}
	var err error
	f.p, err = peer.StartPostfix(ctx, peer.PostfixConfig{
		Hostname: "postfix.office.example", Folder: dir, Next: next, Settings: settings,
	})
	return err
}

func (f *postfix) addr() string { return f.p.Addr }
func (f *postfix) pid() int     { return f.p.PID() }

func (f *postfix) idle(ctx context.Context) error {
	for {
		n, err := f.p.Waiting()
		if n == 0 || err != nil {
			return err
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

func (f *postfix) close() error {
	if f.p == nil {
		return nil
	}
	return f.p.Stop()
}

// freeSpace makes the folder in which the sides work, on the same file system
// as dir.
func freeSpace(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(dir, "bench-")
	if err != nil {
		return "", err
	}
	// Postfix's processes leave root behind and must still get here.
	if err := os.Chmod(work, 0o755); err != nil {
		return "", err
	}
	return filepath.Abs(work)
}
