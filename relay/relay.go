// Package relay is the mail machine: it takes mail in, keeps it safe, and
// delivers it under the policy of each recipient domain. This roof builds the
// parts of its sub-packages, joins them by hand and runs them; it runs on any
// Linux, with or without the appliance around it.
//
// It opens no listener, reads no settings and knows no page: those are handed
// in or built on top of Status, Follow and the queue's methods.
package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"gatepost/mtasts"
	"gatepost/relay/callahead"
	"gatepost/relay/deliver"
	"gatepost/relay/event"
	"gatepost/relay/nexthop"
	"gatepost/relay/queue"
	"gatepost/relay/resolver"
	"gatepost/relay/smtpc"
	"gatepost/relay/smtpd"
	"gatepost/relay/spool"
	"gatepost/relay/store"
	"gatepost/relay/verdict"
)

// DialFunc opens a connection, as net.Dialer.DialContext does.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Config is what a Machine needs. Hostname and NameServers are required.
type Config struct {
	Version  string
	Hostname string // our name in EHLO, greeting and Received

	// Listeners take mail in. The machine closes them.
	Listeners []smtpd.Listener
	TLS       *tls.Config // for STARTTLS and port 465; nil: no TLS is offered

	TrustedNetworks []netip.Prefix
	MaxMessage      int64 // bytes
	MaxRecipients   int
	// Auth and MaySend decide about submission, see smtpd.Config.
	Auth    func(user, password string) (bool, error)
	MaySend func(user, from string) bool

	// Inside holds the office's own domains by lower-case A-label; strangers
	// may send to them through the listener for trusted networks.
	Inside map[string]Inside
	// SmartHost, when set, gets all mail that is not for an own domain.
	SmartHost *nexthop.Hop
	// Own says which addresses are this machine's, so that mail does not go
	// round in a circle. nil: only the host name is known.
	Own func(netip.Addr) bool

	Retry               []time.Duration
	Lifetime            time.Duration
	DelayNotice         time.Duration // see queue.Config.DelayAfter
	Parallel, PerDomain int
	RatePerMinute       int // attempts to one domain; 0 means no bound

	// Data is the folder that the machine keeps its state in. nil: there is
	// none, and every sender is told to come back later (421).
	Data *os.Root
	// DataTrouble says why Data is nil, for the status.
	DataTrouble string

	// Closed, when not empty, is why no mail passes although there may be
	// storage: every sender is told 421 with this text, and what waits stays.
	Closed string

	NameServers func() []netip.AddrPort
	// Dial opens the connections to name servers, policy hosts and MX hosts.
	// nil: the network of this machine.
	Dial DialFunc
	// Bind4 and Bind6 are the addresses from which mail is sent; the zero value
	// leaves the choice to the system. They have no effect on a Dial.
	Bind4, Bind6 netip.Addr
	// Roots are the trusted authorities. nil: those of the system.
	Roots *x509.CertPool
	// AllowPolicyHost and AllowMX say which addresses may be asked; nil means
	// mtasts.PublicAddress and deliver.MayDial.
	AllowPolicyHost, AllowMX func(netip.Addr) bool
	Port                     uint16 // of MX hosts; 0 means 25

	// Ready says whether anything may be decided: the clock is trusted and
	// there is a network. ClockTrusted is the first half alone. nil: always.
	Ready, ClockTrusted func() bool
	// Sentence puts a verdict into words for a notice to the sender. nil: the
	// server's reply and our technical cause.
	Sentence func(v verdict.Verdict, rcpt string, expires time.Time) string

	Limits   smtpd.Limits
	Timeouts smtpc.Timeouts // toward MX hosts
	// RecordReuse is for how long an answer about a policy record is reused;
	// see mtasts.CacheConfig.
	RecordReuse time.Duration

	Events event.Sink // nil discards
	Now    func() time.Time
	Log    *slog.Logger
}

// Machine is a mail relay. Make it with New, run it once with Run.
type Machine struct {
	cfg      Config
	started  time.Time
	resolver *resolver.Resolver
	policies *mtasts.Cache
	deliver  *deliver.Deliverer
	// rehearse is a Deliverer of its own for tryouts: it asks public servers
	// only, whoever names the domain.
	rehearse   *deliver.Deliverer
	rehearsals chan struct{} // turns
	asker      *callahead.Asker
	fan        fan
	tally      tally

	// nil without storage.
	spool *spool.Log
	store *store.Store
	queue *queue.Queue

	server   *smtpd.Server
	diskTest diskTest
}

// Folders and files inside Config.Data.
const (
	spoolFolder = "spool"
	storeFile   = "gatepost.db"
)

// New builds the machine and reads its state from disk: the spool is scanned
// and what waited before waits again. It starts nothing. When the spool cannot
// be read the error says why; the caller should then build a machine without
// Data, so that senders are told to come back.
func New(cfg Config) (*Machine, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	mailDial := cfg.Dial
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
		mailDial = boundDial(cfg.Bind4, cfg.Bind6)
	}
	always := func() bool { return true }
	if cfg.Ready == nil {
		cfg.Ready = always
	}
	if cfg.ClockTrusted == nil {
		cfg.ClockTrusted = always
	}
	if cfg.Closed != "" {
		cfg.Ready = func() bool { return false }
	}
	m := &Machine{cfg: cfg, started: cfg.Now()}
	m.tally.now = cfg.Now
	m.resolver = resolver.New(resolver.Config{
		Servers: cfg.NameServers, Dial: cfg.Dial, Now: cfg.Now, Log: cfg.Log,
	})
	if cfg.Data != nil {
		if err := m.openState(); err != nil {
			m.closeState()
			return nil, err
		}
	}
	m.policies = m.newPolicies()
	smtp := smtpc.Config{Dial: mailDial, Hello: cfg.Hostname, Timeouts: cfg.Timeouts, Log: cfg.Log}
	m.deliver = m.newDeliverer(smtp, cfg.AllowMX)
	public := cfg.AllowPolicyHost
	if public == nil {
		public = mtasts.PublicAddress
	}
	m.rehearse, m.rehearsals = m.newDeliverer(rehearsalPatience(smtp), public), make(chan struct{}, maxRehearsals)
	if m.spool != nil {
		m.queue = queue.New(queue.Config{
			Spool: m.spool, Deliver: m.deliver, Schedule: cfg.Retry, Lifetime: cfg.Lifetime,
			Parallel: cfg.Parallel, PerDomain: cfg.PerDomain, RatePerMinute: cfg.RatePerMinute,
			DelayAfter: cfg.DelayNotice, Ready: cfg.Ready, Notify: m.notify,
			Pauses: m.loadPauses(), SavePauses: m.savePauses,
			Events: m.emit, Now: cfg.Now, Log: cfg.Log,
		})
	}
	server := smtpd.Config{
		Hostname: cfg.Hostname, Listeners: cfg.Listeners, TLS: cfg.TLS,
		TrustedNetworks: cfg.TrustedNetworks, Auth: cfg.Auth, MaySend: cfg.MaySend,
		MaxSize: cfg.MaxMessage, MaxRcpts: cfg.MaxRecipients, Limits: cfg.Limits,
		Accept: m.accept, Ready: m.ready, Room: m.room,
		Events: m.emitRefused, Log: cfg.Log, Now: cfg.Now,
	}
	if len(cfg.Inside) > 0 {
		m.asker = callahead.New(callahead.Config{Hop: m.insideHop, Env: m.hopEnv(smtp), Now: cfg.Now, Log: cfg.Log})
		server.Local, server.Verify, server.Postmaster = m.local, m.verify, m.postmaster()
	}
	m.server = smtpd.New(server)
	return m, nil
}

func (m *Machine) openState() error {
	if err := m.cfg.Data.Mkdir(spoolFolder, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("spool: %w", err)
	}
	folder, err := m.cfg.Data.OpenRoot(spoolFolder)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if m.spool, err = spool.Open(spool.DirDisk(folder), spool.Config{Events: m.emit, Now: m.cfg.Now, Log: m.cfg.Log}); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	m.store, err = store.Open(m.cfg.Data, storeFile, store.Config{Events: m.emit, Now: m.cfg.Now, Log: m.cfg.Log})
	if err != nil {
		// A damaged database is set aside by Open itself; what is left is a
		// disk that cannot be written, and then nothing may be accepted.
		return fmt.Errorf("database: %w", err)
	}
	m.tally.load(m.store)
	return nil
}

func (m *Machine) closeState() {
	if m.store != nil {
		m.store.Close()
	}
}

func (m *Machine) newPolicies() *mtasts.Cache {
	cfg := mtasts.CacheConfig{
		Resolver: m.resolver,
		Fetcher: &mtasts.Fetcher{
			LookupNetIP: m.resolver.LookupNetIP, DialContext: m.cfg.Dial, Allow: m.cfg.AllowPolicyHost,
			Roots: m.cfg.Roots, Now: m.cfg.Now, UserAgent: "gatepost/" + m.cfg.Version,
		},
		Now: m.cfg.Now, ClockTrusted: m.cfg.ClockTrusted, OnEvent: m.onPolicy, Log: m.cfg.Log,
		RecordReuse: m.cfg.RecordReuse,
	}
	if m.store != nil {
		cfg.Store = m.store.Policies()
	}
	return mtasts.NewCache(cfg)
}

func (m *Machine) newDeliverer(smtp smtpc.Config, allow func(netip.Addr) bool) *deliver.Deliverer {
	return deliver.New(deliver.Config{
		Resolver: m.resolver, Policies: m.policies, SMTP: smtp, Route: m.route, Own: m.own,
		TLSOptional: func(msg queue.Message) bool { return msg.Envelope.TLSOptional },
		Hostname:    m.cfg.Hostname, Roots: m.cfg.Roots, Allow: allow, Port: m.cfg.Port,
		Now: m.cfg.Now, Log: m.cfg.Log,
	})
}

// Run takes mail in and delivers it until ctx is done, then stops in order:
// sessions in DATA finish, attempts finish, everything is flushed. It has
// joined all that it started when it returns. nil means that ctx ended it.
func (m *Machine) Run(ctx context.Context) error {
	// The spool and the database outlive the server and the queue, which
	// write to them while they stop.
	base, stopState := context.WithCancel(context.WithoutCancel(ctx))
	defer stopState()
	state, base := errgroup.WithContext(base)
	if m.spool != nil {
		state.Go(func() error { return named("spool", m.spool.Run(base)) })
		state.Go(func() error { return named("database", m.store.Run(base)) })
	}
	// A spool that dies takes the machine with it: without it nothing may be
	// accepted.
	work, wctx := errgroup.WithContext(ctx)
	wctx, cancel := context.WithCancelCause(wctx)
	defer cancel(nil)
	watch := context.AfterFunc(base, func() { cancel(errStateEnded) })
	defer watch()

	work.Go(func() error { return named("smtp server", m.server.Run(wctx)) })
	work.Go(func() error { return named("policies", m.policies.Run(wctx)) })
	work.Go(func() error { m.watchNames(wctx); return nil })
	if m.queue != nil {
		work.Go(func() error { return named("queue", m.queue.Run(wctx)) })
		work.Go(func() error { m.diskTest.run(wctx, m.cfg.Data); return nil })
	}
	err := work.Wait()
	m.deliver.Close()
	m.rehearse.Close()
	stopState()
	err = errors.Join(err, state.Wait())
	m.closeState()
	return err
}

var errStateEnded = errors.New("relay: the spool has stopped")

// named gives an error of a part its name; the end of a context is none.
func named(part string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("%s: %w", part, err)
}

// hopEnv is what a next hop of the settings needs. The operator chose it, so
// that its address may be any.
func (m *Machine) hopEnv(smtp smtpc.Config) nexthop.Env {
	return nexthop.Env{SMTP: smtp, LookupNetIP: m.resolver.LookupNetIP, Roots: m.cfg.Roots, Now: m.cfg.Now}
}

// boundDial dials from the addresses that the settings name, so that mail
// leaves by the address that its receivers know.
func boundDial(v4, v6 netip.Addr) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		d := net.Dialer{KeepAlive: -1} // every wait of ours has a limit
		from := v4
		if to, err := netip.ParseAddrPort(address); err == nil && to.Addr().Unmap().Is6() {
			from = v6
		}
		if from.IsValid() {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
		}
		return d.DialContext(ctx, network, address)
	}
}

// watchNames keeps the state of the name servers fresh while it is bad or
// unknown, so that health does not wait for the next message.
func (m *Machine) watchNames(ctx context.Context) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		if _, ok := m.resolver.Working(); !ok || n%6 == 0 {
			m.resolver.Probe(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
