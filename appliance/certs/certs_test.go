package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var built = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// box is where a Keeper lives: a folder, a clock, an address.
type box struct {
	t       *testing.T
	path    string
	dir     *os.Root
	now     time.Time
	trusted bool
	floor   time.Time
	names   []string
	addrs   []netip.Addr
}

func newBox(t *testing.T) *box {
	t.Helper()
	path := t.TempDir()
	dir, err := os.OpenRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return &box{
		t: t, path: path, dir: dir, now: time.Date(1970, 1, 1, 0, 1, 0, 0, time.UTC), floor: built,
		names: []string{"gatepost.office.example"}, addrs: []netip.Addr{netip.MustParseAddr("192.168.77.50")},
	}
}

func (b *box) open() *Keeper {
	b.t.Helper()
	k, err := Open(Config{
		Dir: b.dir, Names: b.names, Addrs: b.addrs, Floor: b.floor,
		Now: func() time.Time { return b.now }, ClockTrusted: func() bool { return b.trusted },
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return k
}

func leaf(k *Keeper) *x509.Certificate { return k.held.Load().cert.Leaf }

func TestCertificate(t *testing.T) {
	b := newBox(t)
	k := b.open()
	c := leaf(k)
	pub, ok := c.PublicKey.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		t.Errorf("got key %T, want ECDSA P-256", c.PublicKey)
	}
	if !c.NotBefore.Equal(built) || c.NotAfter.Sub(c.NotBefore) != Lifetime {
		t.Errorf("got %v to %v, want 397 days from the floor", c.NotBefore, c.NotAfter)
	}
	if !slices.Equal(c.DNSNames, []string{"gatepost.office.example", "gatepost.local", "localhost"}) {
		t.Errorf("got names %v", c.DNSNames)
	}
	if got := addrsOf(c); len(got) != 3 || got[0].String() != "192.168.77.50" {
		t.Errorf("got addresses %v", got)
	}
	if !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) || c.IsCA || c.Subject.CommonName != "gatepost.office.example" {
		t.Errorf("got usage %v, CA %v, name %q", c.ExtKeyUsage, c.IsCA, c.Subject.CommonName)
	}
	if info, err := os.Stat(filepath.Join(b.path, fileName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v %v, want mode 0600", info.Mode(), err)
	}
	if got := k.Fingerprint(); len(got) != 95 || strings.Count(got, ":") != 31 || got != strings.ToUpper(got) {
		t.Errorf("got fingerprint %q", got)
	}
	if k.Trouble() != nil {
		t.Errorf("got trouble %v", k.Trouble())
	}
}

// TestStable: fifty starts with clocks that are unknown, far behind, far ahead
// or right, with and without an address, keep the fingerprint.
func TestStable(t *testing.T) {
	b := newBox(t)
	want := b.open().Fingerprint()
	for i := range 50 {
		b.trusted = i%4 == 0
		b.now = []time.Time{built.Add(200 * 24 * time.Hour), time.Unix(0, 0), time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2011, 1, 1, 0, 0, 0, 0, time.UTC)}[i%4]
		b.addrs = nil
		if i%3 == 0 {
			b.addrs = []netip.Addr{netip.MustParseAddr("192.168.77.50"), netip.MustParseAddr("::ffff:192.168.77.50")}
		}
		b.floor = built.Add(time.Duration(i) * 24 * time.Hour) // updates bring a newer build
		k := b.open()
		if got := k.Fingerprint(); got != want {
			t.Fatalf("start %d: got %s, want %s", i, got, want)
		}
	}
}

func TestMadeAnew(t *testing.T) {
	for _, c := range []struct {
		name    string
		edit    func(*box)
		changed bool
	}{
		{"nothing", func(*box) {}, false},
		{"fewer names", func(b *box) { b.names, b.addrs = nil, nil }, false},
		{"other spelling", func(b *box) { b.names = []string{"GATEPOST.office.example.", "localhost"} }, false},
		{"new name", func(b *box) { b.names = []string{"mail.office.example"} }, true},
		{"new address", func(b *box) { b.addrs = []netip.Addr{netip.MustParseAddr("192.168.77.51")} }, true},
		{"link-local address", func(b *box) { b.addrs = []netip.Addr{netip.MustParseAddr("fe80::1%eth0")} }, true},
		{"no name at all", func(b *box) {
			b.names = []string{"", "a b", "x..y", "-a-", "192.168.1.1", strings.Repeat("a", 64), "a\x00"}
		}, false},
		{"long after, clock unknown", func(b *box) { b.now = built.Add(3 * Lifetime) }, false},
		{"long after, clock right", func(b *box) { b.now, b.trusted = built.Add(3*Lifetime), true }, true},
		{"near the end", func(b *box) { b.now, b.trusted = built.Add(Lifetime-Renewal+time.Hour), true }, true},
		{"just before", func(b *box) { b.now, b.trusted = built.Add(Lifetime-Renewal-time.Hour), true }, false},
		{"a floor near the end", func(b *box) { b.floor = built.Add(Lifetime) }, true},
		{"made in the future", func(b *box) { b.now, b.trusted = built.Add(-time.Hour), true }, true},
	} {
		b := newBox(t)
		before := b.open().Fingerprint()
		c.edit(b)
		k := b.open()
		if got := k.Fingerprint() != before; got != c.changed {
			t.Errorf("%s: made anew: got %v, want %v", c.name, got, c.changed)
		}
		if b.trusted && (b.now.Before(leaf(k).NotBefore) || b.now.After(leaf(k).NotAfter.Add(-Renewal))) {
			t.Errorf("%s: got %v to %v at %v", c.name, leaf(k).NotBefore, leaf(k).NotAfter, b.now)
		}
		if again := b.open().Fingerprint(); again != k.Fingerprint() {
			t.Errorf("%s: the next start makes another one", c.name)
		}
	}
}

// TestTwoAddressesInTurn: going back to an address that the box had before
// makes no new certificate.
func TestTwoAddressesInTurn(t *testing.T) {
	b := newBox(t)
	k := b.open()
	one, two := b.addrs, []netip.Addr{netip.MustParseAddr("10.0.0.7")}
	if changed, err := k.Cover(b.names, two); !changed || err != nil {
		t.Fatalf("got %v %v, want a new certificate", changed, err)
	}
	want := k.Fingerprint()
	for range 3 {
		for _, addrs := range [][]netip.Addr{one, two} {
			if changed, err := k.Cover(b.names, addrs); changed || err != nil {
				t.Fatalf("%v: got %v %v, want no change", addrs, changed, err)
			}
		}
	}
	for i := range 40 {
		if _, err := k.Cover(b.names, []netip.Addr{netip.AddrFrom4([4]byte{10, 1, 0, byte(i)})}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(addrsOf(leaf(k))); n > maxAddrs+maxEarlier {
		t.Errorf("got %d addresses, want at most %d", n, maxAddrs+maxEarlier)
	}
	b.addrs = []netip.Addr{netip.MustParseAddr("10.1.0.39")}
	if k.Fingerprint() == want || b.open().Fingerprint() != k.Fingerprint() {
		t.Error("the newest certificate is not the one on disk")
	}
}

func TestDamagedFile(t *testing.T) {
	b := newBox(t)
	b.open()
	file := filepath.Join(b.path, fileName)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	other := newBox(t)
	other.open()
	second, _ := os.ReadFile(filepath.Join(other.path, fileName))
	key, _, _ := strings.Cut(string(good), "-----BEGIN CERTIFICATE")
	_, cert, _ := strings.Cut(string(second), "-----BEGIN CERTIFICATE")
	for name, data := range map[string]string{
		"empty": "", "cut": string(good[:len(good)/2]), "zeros": strings.Repeat("\x00", 600), "text": "hello",
		"key of one, certificate of another": key + "-----BEGIN CERTIFICATE" + cert, "no certificate": key,
	} {
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		k := b.open()
		if k.Trouble() != nil {
			t.Errorf("%s: got trouble %v although a new one was saved", name, k.Trouble())
		}
		if got := b.open().Fingerprint(); got != k.Fingerprint() {
			t.Errorf("%s: the new certificate was not kept", name)
		}
	}
}

func TestTornSave(t *testing.T) {
	b := newBox(t)
	want := b.open().Fingerprint()
	if err := os.WriteFile(filepath.Join(b.path, fileName+".new"), []byte("-----BEGIN PRIV"), 0o600); err != nil {
		t.Fatal(err)
	}
	k := b.open()
	if k.Fingerprint() != want {
		t.Error("a torn temporary file changed the certificate")
	}
	if changed, err := k.Cover([]string{"new.example"}, nil); !changed || err != nil {
		t.Errorf("got %v %v, want it saved over the torn file", changed, err)
	}
}

func TestOthersCannotReadTheKey(t *testing.T) {
	b := newBox(t)
	want := b.open().Fingerprint()
	file := filepath.Join(b.path, fileName)
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := b.open().Fingerprint(); got != want {
		t.Error("the certificate changed")
	}
	if info, _ := os.Stat(file); info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, want 0600", info.Mode())
	}
}

// TestNoStorage: a folder that refuses, or none, still gives a certificate.
func TestNoStorage(t *testing.T) {
	b := newBox(t)
	if err := os.Mkdir(filepath.Join(b.path, fileName), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.path, fileName, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	k := b.open()
	if k.Trouble() == nil || leaf(k) == nil {
		t.Errorf("got trouble %v, want one, and a certificate", k.Trouble())
	}
	if _, err := b.dir.Stat(fileName + ".new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a temporary file with the key stayed: %v", err)
	}
	b.dir = nil
	if k = b.open(); k.Trouble() != nil || k.Fingerprint() == b.open().Fingerprint() {
		t.Errorf("got trouble %v, want none and a new certificate each time", k.Trouble())
	}
}

func TestHandshake(t *testing.T) {
	k := newBox(t).open()
	conf := k.TLSConfig()
	roots := x509.NewCertPool()
	roots.AddCert(leaf(k))
	shake := func(client *tls.Config) (tls.ConnectionState, error) {
		a, c := net.Pipe()
		defer a.Close()
		defer c.Close()
		go tls.Server(a, conf).Handshake()
		conn := tls.Client(c, client)
		err := conn.Handshake()
		return conn.ConnectionState(), err
	}
	at := func() time.Time { return built.Add(time.Hour) }
	for _, name := range []string{"gatepost.office.example", "localhost", "gatepost.local", "192.168.77.50", "127.0.0.1", "::1"} {
		st, err := shake(&tls.Config{RootCAs: roots, ServerName: name, Time: at, NextProtos: []string{"h2", "http/1.1"}})
		if err != nil || st.Version != tls.VersionTLS13 || st.NegotiatedProtocol != "h2" {
			t.Errorf("%s: got %v, version %x, %q", name, err, st.Version, st.NegotiatedProtocol)
		}
	}
	if _, err := shake(&tls.Config{RootCAs: roots, ServerName: "evil.example", Time: at}); err == nil {
		t.Error("the certificate holds for another name")
	}
	if _, err := shake(&tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 was taken")
	}
	before := leaf(k)
	if _, err := k.Cover([]string{"new.example"}, nil); err != nil {
		t.Fatal(err)
	}
	st, err := shake(&tls.Config{InsecureSkipVerify: true})
	if err != nil || st.PeerCertificates[0].Equal(before) {
		t.Errorf("got %v and the old certificate after a change", err)
	}
}

func TestFourWords(t *testing.T) {
	list := strings.Fields(wordList)
	if len(list) != 1<<bitsPerWord || !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
		t.Fatalf("got %d words, want %d sorted and different ones", len(list), 1<<bitsPerWord)
	}
	for _, w := range list {
		if len(w) < 3 || len(w) > 9 || strings.Trim(w, "abcdefghijklmnopqrstuvwxyz") != "" {
			t.Errorf("the word %q is not plain", w)
		}
	}
	// The words of a fingerprint may never change: people have noted them down.
	if got, want := fourWords([32]byte{1, 2, 3}), "whistle-queen-album-leaf"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	b := newBox(t)
	k := b.open()
	if got := k.Words(); strings.Count(got, "-") != 3 || got != b.open().Words() {
		t.Errorf("got %q, want the same four words at each start", got)
	}
}
