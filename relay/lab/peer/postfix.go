package peer

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// PostfixConfig says what an instance of Postfix is to be.
type PostfixConfig struct {
	Hostname string // its name in greeting, EHLO and Received
	// Folder is where its own folder is made, for another file system than
	// that of temporary files; "" means os.TempDir.
	Folder string
	// Listen are its SMTP ports, addresses of 127.0.0.1 with settings of their
	// own. Empty: one free port.
	Listen []Service
	// Certificate is offered with STARTTLS; nil: no TLS is offered.
	Certificate *tls.Certificate
	// Mailboxes are the addresses that it delivers to, each in a folder of its
	// own, see [Postfix.Mail]. Everything else in their domains is unknown
	// (550 5.1.1).
	Mailboxes []string
	// Next is where mail for all other domains goes: address and port. ""
	// means that such mail is refused.
	Next string
	// Settings are further lines of main.cf, by name. They win.
	Settings map[string]string
}

// Service is a port of smtpd.
type Service struct {
	Addr     string            // "127.0.0.1:2525"
	Settings map[string]string // of this port alone
}

// Postfix is a running instance. It has its own configuration, queue and data
// folders, below one folder that Stop removes.
type Postfix struct {
	Addr    string // the first SMTP port
	Queue   string // queue_directory
	dir     string
	process *Process
	stopped bool
}

// CanPostfix tells why no instance can run here: Postfix is missing, or we are
// not root, which its master must be to become its users.
func CanPostfix() error {
	if err := Need("postfix", "postconf", "postqueue", "smtp-sink", "smtp-source"); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("Postfix must be started by root") //nolint:staticcheck // a name begins it
	}
	return nil
}

// folders of the queue with their modes; see conf/postfix-files of Postfix.
// Those of mode 0710 and 0730 belong to the group postdrop.
var queueFolders = []struct {
	name  string
	mode  os.FileMode
	owner bool // postfix, not root
}{
	{"active", 0o700, true},
	{"bounce", 0o700, true},
	{"corrupt", 0o700, true},
	{"defer", 0o700, true},
	{"deferred", 0o700, true},
	{"flush", 0o700, true},
	{"hold", 0o700, true},
	{"incoming", 0o700, true},
	{"maildrop", 0o730, true},
	{"pid", 0o755, false},
	{"private", 0o700, true},
	{"public", 0o710, true},
	{"saved", 0o700, true},
	{"trace", 0o700, true},
}

// StartPostfix starts an instance and waits until it answers. It runs until
// Stop, whatever becomes of ctx.
func StartPostfix(ctx context.Context, cfg PostfixConfig) (*Postfix, error) {
	if err := CanPostfix(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(cfg.Folder, "gatepost-postfix-")
	if err != nil {
		return nil, err
	}
	p := &Postfix{dir: dir, Queue: filepath.Join(dir, "queue")}
	if err := p.start(ctx, cfg); err != nil {
		log := p.Log()
		if p.process != nil {
			p.process.Kill()
		}
		return nil, fmt.Errorf("start Postfix: %w", errors.Join(err, os.RemoveAll(dir), logged(log)))
	}
	return p, nil
}

func logged(log string) error {
	if log == "" {
		return nil
	}
	return errors.New("its log:\n" + log)
}

func (p *Postfix) start(ctx context.Context, cfg PostfixConfig) error {
	// Its processes leave root behind and must still get here.
	if err := os.Chmod(p.dir, 0o755); err != nil {
		return err
	}
	if len(cfg.Listen) == 0 {
		addr, err := FreePort()
		if err != nil {
			return err
		}
		cfg.Listen = []Service{{Addr: addr}}
	}
	p.Addr = cfg.Listen[0].Addr
	if err := p.makeFolders(); err != nil {
		return err
	}
	if err := p.writeConfig(cfg); err != nil {
		return err
	}
	daemons, err := run(ctx, nil, "postconf", "-c", p.config(), "-h", "daemon_directory")
	if err != nil {
		return err
	}
	if p.process, err = Start(nil, p.env(), filepath.Join(daemons, "master"), "-c", p.config(), "-d"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return p.process.Answers(ctx, p.Addr)
}

func (p *Postfix) config() string { return filepath.Join(p.dir, "etc") }

func (p *Postfix) env() []string {
	return []string{"MAIL_CONFIG=" + p.config(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TZ=UTC"}
}

func (p *Postfix) makeFolders() error {
	user, err := idOf("/etc/passwd", "postfix")
	if err != nil {
		return err
	}
	group, err := idOf("/etc/group", "postdrop")
	if err != nil {
		return err
	}
	for _, name := range []string{"etc", "queue", "mail", "log"} {
		if err := os.Mkdir(filepath.Join(p.dir, name), 0o755); err != nil {
			return err
		}
	}
	data := filepath.Join(p.dir, "data")
	if err := errors.Join(os.Mkdir(data, 0o700), os.Chown(data, user, -1), os.Chown(filepath.Join(p.dir, "mail"), mailUser, mailUser)); err != nil {
		return err
	}
	for _, f := range queueFolders {
		name := filepath.Join(p.Queue, f.name)
		uid, gid := 0, 0
		if f.owner {
			uid = user
		}
		if f.mode&0o070 != 0 && f.owner {
			gid = group
		}
		if err := errors.Join(os.Mkdir(name, f.mode), os.Chown(name, uid, gid), os.Chmod(name, f.mode)); err != nil {
			return err
		}
	}
	return nil
}

// mailUser owns the mailboxes: nobody, who owns nothing else.
const mailUser = 65534

// idOf reads the number of a user or group; the names are those of Debian's
// package.
func idOf(file, name string) (int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Split(line, ":"); len(f) > 2 && f[0] == name {
			var id int
			_, err := fmt.Sscan(f[2], &id)
			return id, err
		}
	}
	return 0, fmt.Errorf("%s has no %s", file, name)
}

// PID is the process id of its master.
func (p *Postfix) PID() int { return p.process.PID() }

// Usage is what its processes use, and have used since the start.
func (p *Postfix) Usage() (Usage, error) { return UsageOf(p.PID()) }

// Log is the end of its log, up to 8 KiB.
func (p *Postfix) Log() string {
	b, err := os.ReadFile(filepath.Join(p.dir, "log", "mail.log"))
	if err != nil {
		return ""
	}
	return string(b[max(0, len(b)-8<<10):])
}

// Waiting is how many messages its queue holds.
func (p *Postfix) Waiting() (int, error) {
	n := 0
	for _, name := range []string{"incoming", "active", "deferred", "hold", "maildrop"} {
		err := filepath.WalkDir(filepath.Join(p.Queue, name), func(_ string, d os.DirEntry, err error) error {
			if errors.Is(err, os.ErrNotExist) {
				return nil // on its way to another queue
			}
			if err == nil && !d.IsDir() {
				n++
			}
			return err
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// Empty deletes every message from its queue.
func (p *Postfix) Empty(ctx context.Context) error {
	_, err := run(ctx, p.env(), "postsuper", "-c", p.config(), "-d", "ALL")
	return err
}

// Flush makes it try every deferred message now.
func (p *Postfix) Flush(ctx context.Context) error {
	_, err := run(ctx, p.env(), "postqueue", "-c", p.config(), "-f")
	return err
}

// Mail returns the messages in the mailbox, the oldest first, as Postfix wrote
// them: its own header fields first, lines that end in LF alone.
func (p *Postfix) Mail(mailbox string) ([][]byte, error) { return p.read(mailbox, false) }

// TakeMail is Mail, and removes what it returns.
func (p *Postfix) TakeMail(mailbox string) ([][]byte, error) { return p.read(mailbox, true) }

func (p *Postfix) read(mailbox string, remove bool) ([][]byte, error) {
	names, err := filepath.Glob(filepath.Join(p.dir, "mail", mailbox, "new", "*"))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var mails [][]byte
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		mails = append(mails, b)
		if remove {
			if err := os.Remove(name); err != nil {
				return nil, err
			}
		}
	}
	return mails, nil
}

// WaitMail waits for at least n messages in the mailbox.
func (p *Postfix) WaitMail(ctx context.Context, mailbox string, n int) ([][]byte, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		mails, err := p.Mail(mailbox)
		if err != nil || len(mails) >= n {
			return mails, err
		}
		select {
		case <-ctx.Done():
			return mails, fmt.Errorf("mailbox %s has %d of %d messages: %w", mailbox, len(mails), n, ctx.Err())
		case <-tick.C:
		}
	}
}

// WaitLog waits until the log holds text at least n times, and returns how often
// it does: what happened is logged by another process, a moment later.
func (p *Postfix) WaitLog(ctx context.Context, text string, n int) (int, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		got := strings.Count(p.Log(), text)
		if got >= n {
			return got, nil
		}
		select {
		case <-ctx.Done():
			return got, fmt.Errorf("the log holds %q %d times, not %d: %w", text, got, n, ctx.Err())
		case <-tick.C:
		}
	}
}

// Stop ends every process of the instance and removes its folder. A second
// call does nothing.
func (p *Postfix) Stop() error {
	if p.stopped {
		return nil
	}
	p.stopped = true
	return errors.Join(p.process.Stop(10*time.Second), os.RemoveAll(p.dir))
}

// writeCertificate writes key and certificate as one PEM file, which is what
// smtpd_tls_chain_files wants: the key first.
func writeCertificate(file string, cert *tls.Certificate) error {
	key, ok := cert.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return fmt.Errorf("a key of type %T", cert.PrivateKey)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	for _, c := range cert.Certificate {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	return os.WriteFile(file, text, 0o600)
}

func port(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}
