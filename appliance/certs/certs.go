// Package certs keeps the box's self-signed certificate for its admin page: an
// ECDSA P-256 key and 397 days, made on first use and kept across starts,
// because a browser's exception is tied to it. It is made anew only when it
// does not cover a name or address of the box, or when it nears its end.
//
// The clock of a box may be unknown at start. A certificate is then judged and
// made by a time that has surely passed (the floor), never by the clock.
//
// It does not get certificates from an authority, and it does not serve. It
// imports nothing of Gatepost.
package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// How long a certificate lives, and how long before its end it is made anew.
// Browsers take no more than 398 days.
const (
	Lifetime = 397 * 24 * time.Hour
	Renewal  = 30 * 24 * time.Hour
)

// Config is what Open needs.
type Config struct {
	// Dir holds tls.pem, key and certificate in one file of mode 0600, so that a
	// power cut cannot part them. nil keeps them in memory only: the certificate
	// is then new at every start. The caller closes it after the Keeper's last
	// use.
	Dir *os.Root
	// Names and Addrs are what the certificate has to cover. "localhost",
	// "gatepost.local" and the loopback addresses are added to them. What is no
	// host name is left out. At most 16 of each count.
	Names []string
	Addrs []netip.Addr
	// Floor is a time that has surely passed: the later of the build time and
	// the last time that was saved while the clock was right. Zero is the time
	// of Now at Open.
	Floor time.Time
	Now   func() time.Time // nil: time.Now
	// ClockTrusted reports whether Now is right. nil: it never is.
	ClockTrusted func() bool
	Log          *slog.Logger // nil: discard
}

// Keeper holds the certificate in force. It is safe for concurrent use.
type Keeper struct {
	cfg Config

	making  sync.Mutex // held while the certificate is judged and made anew
	held    atomic.Pointer[held]
	trouble atomic.Pointer[error]
}

// held is a certificate that is in force.
type held struct {
	cert  tls.Certificate
	sum   [sha256.Size]byte
	words func() string
}

func newHeld(cert tls.Certificate) *held {
	h := &held{cert: cert, sum: sha256.Sum256(cert.Leaf.Raw)}
	h.words = sync.OnceValue(func() string { return fourWords(h.sum) })
	return h
}

// Open loads the certificate, or makes one when there is none that is fit. Its
// only error is that none can be made. A file that cannot be read or written is
// no error: the certificate then lives in memory, and Trouble says why.
func Open(cfg Config) (*Keeper, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.ClockTrusted == nil {
		cfg.ClockTrusted = func() bool { return false }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Floor.IsZero() {
		cfg.Floor = cfg.Now()
	}
	k := &Keeper{cfg: cfg}
	if cfg.Dir != nil {
		cert, err := load(cfg.Dir)
		switch {
		case err == nil:
			k.held.Store(newHeld(cert))
		case !errors.Is(err, os.ErrNotExist):
			k.report(err)
		}
	}
	_, err := k.Cover(cfg.Names, cfg.Addrs)
	if k.held.Load() == nil {
		return nil, err
	}
	return k, nil
}

func (k *Keeper) report(err error) {
	k.trouble.Store(&err)
	k.cfg.Log.Warn("the certificate has trouble", "err", err)
}

// Cover sees to it that the certificate in force covers these names and
// addresses and does not near its end. Call it when an address or the host name
// changes, when the clock becomes right, and daily. changed reports that the
// certificate is a new one, with a new fingerprint. An error means that it could
// not be made (then the old one stays) or not be saved (then it is in force, but
// lost at the next start).
func (k *Keeper) Cover(names []string, addrs []netip.Addr) (changed bool, err error) {
	k.making.Lock()
	defer k.making.Unlock()
	want := wanted(names, addrs)
	old := k.held.Load()
	reason := "there is none"
	if old != nil {
		if reason = k.unfit(old.cert.Leaf, want); reason == "" {
			return false, nil
		}
		want = want.with(old.cert.Leaf)
	}
	cert, pemData, err := generate(want, k.start())
	if err != nil {
		k.report(err)
		return false, err
	}
	h := newHeld(cert)
	k.held.Store(h)
	k.cfg.Log.Info("made a certificate", "because", reason, "sha256", h.fingerprint())
	if k.cfg.Dir == nil {
		return true, nil
	}
	if err := save(k.cfg.Dir, pemData); err != nil {
		err = fmt.Errorf("certs: saving the certificate: %w", err)
		k.report(err)
		return true, err
	}
	k.trouble.Store(nil)
	return true, nil
}

// start is when a certificate that is made now begins. While the clock is not
// right only the floor is sure; else a day is left for the clocks of others.
func (k *Keeper) start() time.Time {
	if k.cfg.ClockTrusted() {
		return k.cfg.Now().Add(-24 * time.Hour)
	}
	return k.cfg.Floor
}

// unfit says why a certificate has to be made anew, "" when it has not.
func (k *Keeper) unfit(leaf *x509.Certificate, want subjects) string {
	if missing := want.missing(leaf); missing != "" {
		return "it does not name " + missing
	}
	now := k.cfg.Floor
	if k.cfg.ClockTrusted() {
		now = k.cfg.Now()
		if now.Before(leaf.NotBefore) {
			return "it begins in the future"
		}
	}
	if now.After(leaf.NotAfter.Add(-Renewal)) {
		return "it nears its end"
	}
	return ""
}

// TLSConfig returns a configuration that serves the certificate in force at
// each handshake: TLS 1.2 or newer, "h2" and "http/1.1".
func (k *Keeper) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &k.held.Load().cert, nil
		},
	}
}

// Fingerprint is the SHA-256 of the certificate in force, as browsers show it:
// "3F:9A:...".
func (k *Keeper) Fingerprint() string { return k.held.Load().fingerprint() }

func (h *held) fingerprint() string {
	var b bytes.Buffer
	for i, c := range h.sum {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(strings.ToUpper(hex.EncodeToString([]byte{c})))
	}
	return b.String()
}

// Words are four words that stand for the fingerprint, "maple-river-otter-seven",
// for comparing the screen of the box with the claim page. The first call takes
// some tenths of a second on a slow board: see fourWords.
func (k *Keeper) Words() string { return k.held.Load().words() }

// Trouble is why the certificate could not be loaded, made or saved, nil when
// all is well.
func (k *Keeper) Trouble() error {
	if err := k.trouble.Load(); err != nil {
		return *err
	}
	return nil
}
