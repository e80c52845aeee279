package kernel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Config says where the kernel comes from. The zero value of a field means
// what its comment says; Lock has none.
type Config struct {
	// Lock is the path of the lock file. It must exist for Get.
	Lock string
	// Cache is the folder for packages and what was unpacked from them;
	// "" means gatepost in os.UserCacheDir.
	Cache string
	// WithStub says that the boot stub is wanted too.
	WithStub bool
	// DeviceTree is the device tree that is wanted, such as broadcom/x.dtb;
	// "" means none.
	DeviceTree string
	// Progress gets lines for people; nil discards them.
	Progress io.Writer
	// Now tells the time; nil means time.Now.
	Now func() time.Time
}

// substituteLife is how long a package that stands in for the locked one is
// used again before apt is asked for a newer one.
const substituteLife = 24 * time.Hour

func (c Config) withDefaults() (Config, error) {
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return c, fmt.Errorf("no folder for downloads: %w", err)
		}
		c.Cache = filepath.Join(dir, "gatepost")
	}
	return c, os.MkdirAll(c.debs(), 0o755)
}

func (c Config) debs() string { return filepath.Join(c.Cache, "debs") }

func (c Config) deb(p Package) string { return filepath.Join(c.debs(), p.SHA256+".deb") }

// A Fetched is a package on disk.
type Fetched struct {
	Package Package
	Path    string
	// Locked is the package that the lock file names. If it is not Package,
	// no mirror has it any more and Package, the newest that apt's
	// signatures vouch for, stands in for it.
	Locked Package
}

// Differs tells whether the lock file's package had to be replaced.
func (f Fetched) Differs() bool { return f.Package.SHA256 != f.Locked.SHA256 }

// Fetch puts the locked kernel package into the cache, and the boot stub's if
// it is wanted (else stub is the zero value); or, when no mirror has one any
// more, the newest that apt vouches for. It needs the network only when the
// cache has neither. A lock file without the stub that is wanted is ErrNoStub.
func Fetch(ctx context.Context, c Config) (kernel, stub Fetched, err error) {
	c, err = c.withDefaults()
	if err != nil {
		return kernel, stub, err
	}
	lock, err := ReadLock(c.Lock)
	if err != nil {
		return kernel, stub, err
	}
	if c.WithStub && lock.Stub == (Package{}) {
		return kernel, stub, fmt.Errorf("kernel lock %s: %w", c.Lock, ErrNoStub)
	}
	s := source{Config: c}
	defer func() { err = errors.Join(err, s.close()) }()
	if kernel, err = s.fetch(ctx, lock.Kernel, (*apt).concrete); err != nil {
		return kernel, stub, fmt.Errorf("kernel: %w", err)
	}
	if c.WithStub {
		if stub, err = s.fetch(ctx, lock.Stub, stubName); err != nil {
			return kernel, stub, fmt.Errorf("kernel: %w", err)
		}
	}
	for _, f := range []Fetched{kernel, stub} {
		if f.Differs() {
			fmt.Fprintf(c.Progress, differs, f.Locked, f.Package)
		}
	}
	return kernel, stub, nil
}

// stubName is for the stub what concrete is for the kernel.
func stubName(*apt, context.Context) (string, error) { return StubPackage, nil }

// A source is the machine's apt, prepared when it is first needed: most builds
// find all in the cache.
type source struct {
	Config
	apt       *apt
	complaint string // what apt said of the lists that it fetched
}

func (s *source) open(ctx context.Context) (err error) {
	if s.apt != nil {
		return nil
	}
	if s.apt, err = newApt(ctx, s.Cache, s.Progress); err != nil {
		return err
	}
	s.complaint, err = s.apt.update(ctx)
	return err
}

func (s *source) close() error {
	if s.apt == nil {
		return nil
	}
	return s.apt.close()
}

// differs is what a user must not miss.
const differs = `
****************************************************************************
THE IMAGE DIFFERS FROM THE LOCK FILE.
  locked:  %s   (no mirror of this machine has it any more)
  used:    %s   (the newest that apt's signatures vouch for)
The image works, but others cannot rebuild it bit for bit.
To lock the newer package:  make lock   (or: gatepost-image lock)
****************************************************************************

`

// fetch gets one package; name asks apt what its newest version is called.
func (s *source) fetch(ctx context.Context, locked Package, name func(*apt, context.Context) (string, error)) (Fetched, error) {
	if s.have(locked) {
		return Fetched{Package: locked, Path: s.deb(locked), Locked: locked}, nil
	}
	stand, fresh, found := s.substitute(locked)
	if found && fresh {
		return Fetched{Package: stand, Path: s.deb(stand), Locked: locked}, nil
	}
	got, err := s.download(ctx, locked, name)
	if err != nil && found && ctx.Err() == nil {
		fmt.Fprintf(s.Progress, "kernel: %v\nkernel: going on with %s from the cache\n", err, stand)
		return Fetched{Package: stand, Path: s.deb(stand), Locked: locked}, nil
	}
	if err != nil {
		return Fetched{}, err
	}
	return Fetched{Package: got, Path: s.deb(got), Locked: locked}, nil
}

// download gets the locked package, or the newest, by apt.
func (s *source) download(ctx context.Context, locked Package, name func(*apt, context.Context) (string, error)) (got Package, err error) {
	if err := s.open(ctx); err != nil {
		return Package{}, err
	}
	a := s.apt
	offered, err := a.versions(ctx, locked.Name)
	if err == nil {
		for _, p := range offered {
			if p.Version != locked.Version {
				continue
			}
			if p.SHA256 != locked.SHA256 {
				return Package{}, fmt.Errorf("%s: the mirror's sha256 is %s, the lock file's %s: "+
					"the same version must not have two; if you trust the mirror, run: gatepost-image lock",
					p, p.SHA256, locked.SHA256)
			}
			return locked, s.obtain(locked, func(to string) error { return a.download(ctx, locked, to) })
		}
	}
	fmt.Fprintf(s.Progress, "kernel: %s is no longer in the package lists; looking into the pool\n", locked)
	if err := s.obtain(locked, func(to string) error { return a.downloadFromPool(ctx, locked, to) }); err == nil {
		return locked, nil
	} else if ctx.Err() != nil {
		return Package{}, err
	}
	p, err := s.newest(ctx, name)
	if err != nil {
		return Package{}, err
	}
	if p.SHA256 == locked.SHA256 {
		return p, nil
	}
	return p, s.noteSubstitute(locked, p)
}

// newest downloads the package that Debian names now.
func (s *source) newest(ctx context.Context, name func(*apt, context.Context) (string, error)) (Package, error) {
	a := s.apt
	var p Package
	concrete, err := name(a, ctx)
	if err == nil {
		p, err = a.candidate(ctx, concrete)
	}
	if err != nil {
		return Package{}, fmt.Errorf("apt offers no Debian kernel or boot stub for %s: %w\n%s\n"+
			"(the machine's apt sources must name Debian 12 with its main component)", Architecture, err, s.complaint)
	}
	if s.have(p) {
		return p, nil
	}
	return p, s.obtain(p, func(to string) error { return a.download(ctx, p, to) })
}

// obtain runs get with an empty folder, checks the one .deb that it left
// there, and moves it into the cache.
func (c Config) obtain(p Package, get func(to string) error) error {
	tmp, err := os.MkdirTemp(c.debs(), ".fetch-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	fmt.Fprintf(c.Progress, "kernel: downloading %s (%.1f MB)\n", p, mb(p.Size))
	if err := get(tmp); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil {
		return err
	}
	if len(debs) != 1 {
		return fmt.Errorf("downloading %s left %d packages, want 1", p, len(debs))
	}
	size, sum, err := digest(debs[0])
	if err != nil {
		return err
	}
	if size != p.Size || sum != p.SHA256 {
		return fmt.Errorf("%s: got %d bytes with sha256 %s, want %d bytes with %s", p, size, sum, p.Size, p.SHA256)
	}
	return os.Rename(debs[0], c.deb(p))
}

// have tells whether the cache holds exactly this package.
func (c Config) have(p Package) bool {
	size, sum, err := digest(c.deb(p))
	return err == nil && size == p.Size && sum == p.SHA256
}

// A stand is the note of what replaced a locked package, and when.
type stand struct {
	Package Package   `json:"package"`
	When    time.Time `json:"when"`
}

func (c Config) standFile(locked Package) string {
	return filepath.Join(c.debs(), locked.SHA256+".instead.json")
}

// substitute gives the package that stood in for the locked one before, if
// the cache still has it.
func (c Config) substitute(locked Package) (p Package, fresh, found bool) {
	data, err := os.ReadFile(c.standFile(locked))
	if err != nil {
		return Package{}, false, false
	}
	var s stand
	if json.Unmarshal(data, &s) != nil || s.Package.check() != nil || !c.have(s.Package) {
		return Package{}, false, false
	}
	age := c.Now().Sub(s.When)
	return s.Package, age >= 0 && age < substituteLife, true
}

func (c Config) noteSubstitute(locked, p Package) error {
	data, err := json.Marshal(stand{Package: p, When: c.Now().UTC()})
	if err != nil {
		return err
	}
	return writeWhole(c.standFile(locked), data)
}

// Relock finds the newest packages that apt vouches for, downloads them and
// writes them to the lock file. It returns what was locked before (the zero
// value if nothing was) and what is now.
func Relock(ctx context.Context, c Config) (before, now Lock, err error) {
	if c, err = c.withDefaults(); err != nil {
		return before, now, err
	}
	before, err = ReadLock(c.Lock)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(c.Progress, "kernel: the old lock is of no use: %v\n", err)
	}
	s := source{Config: c}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.open(ctx); err != nil {
		return before, now, fmt.Errorf("kernel: %w", err)
	}
	if now.Kernel, err = s.newest(ctx, (*apt).concrete); err != nil {
		return before, now, fmt.Errorf("kernel: %w", err)
	}
	if now.Stub, err = s.newest(ctx, stubName); err != nil {
		return before, now, fmt.Errorf("kernel: %w", err)
	}
	return before, now, now.Write(c.Lock)
}

// digest gives the size and the SHA-256 of a file.
func digest(path string) (int64, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return 0, "", err
	}
	return n, hex.EncodeToString(h.Sum(nil)), nil
}
