package smtpc

import (
	"context"
	"crypto/tls"
	"time"
)

// Offered reports whether STARTTLS was in the EHLO reply before TLS.
func (c *Conn) Offered() bool {
	if c.state != nil || c.hsErr != nil {
		return c.offered
	}
	return c.ext.StartTLS
}

// State returns the state of the TLS connection, nil without TLS. The
// certificates in it were shown by the server and were not checked.
func (c *Conn) State() *tls.ConnectionState { return c.state }

// HandshakeErr returns why TLS could not be set up though it was offered: a
// *TLSError, or a *ProtocolError with ErrInjected. It is nil otherwise.
func (c *Conn) HandshakeErr() error { return c.hsErr }

// StartTLS upgrades the connection (RFC 3207) and says EHLO again, so that
// nothing that was learnt in clear stays (Section 4.2).
//
// base may be nil; its certificates, curves and cipher suites are used. SNI is
// the host name given to Connect, the version is TLS 1.2 or newer (RFC 8461,
// Section 7.2 asks for no less), and no certificate makes the handshake fail:
// judge State afterwards, before anything is sent. [Config.ConnectTLS] is the
// other way to TLS.
//
// Errors: ErrNoSTARTTLS when it is not offered (the connection stays usable in
// clear); *ReplyError when the server refuses (also usable); *TLSError,
// *ProtocolError and *NetError, after which the connection is closed (RFC 3207,
// Section 4.1: never go on in clear on it).
func (c *Conn) StartTLS(ctx context.Context, base *tls.Config) error {
	if !c.usable() {
		return ErrClosed
	}
	if c.state != nil {
		return &ProtocolError{Phase: "STARTTLS", Detail: "TLS is on already"}
	}
	if !c.ext.StartTLS {
		return ErrNoSTARTTLS
	}
	defer c.watch(ctx)()
	rep, err := c.command(ctx, "STARTTLS", c.t.StartTLS, "STARTTLS")
	if err != nil {
		return err
	}
	if rep.class() != 2 {
		return c.refused(rep, "STARTTLS")
	}
	c.offered = true
	if c.br.Buffered() > 0 {
		c.hsErr = &ProtocolError{Phase: "STARTTLS", Detail: ErrInjected.Error(), Err: ErrInjected}
		return c.kill(c.hsErr)
	}
	if err := c.handshake(ctx, base); err != nil {
		return err
	}
	return c.greet(ctx, "EHLO")
}

func (c *Conn) handshake(ctx context.Context, base *tls.Config) error {
	hctx, cancel := context.WithTimeout(ctx, c.t.Handshake)
	defer cancel()
	_ = c.wire.SetDeadline(time.Time{}) // hctx limits the handshake
	tc := tls.Client(c.nc, clientConfig(base, c.host))
	if err := tc.HandshakeContext(hctx); err != nil {
		c.hsErr = &TLSError{Err: ctxErr(ctx, err)}
		return c.kill(c.hsErr)
	}
	state := tc.ConnectionState()
	c.state = &state
	c.use(tc)
	return nil
}

// clientConfig makes the configuration of one handshake from base.
func clientConfig(base *tls.Config, host string) *tls.Config {
	cfg := &tls.Config{}
	if base != nil {
		cfg = base.Clone()
	}
	cfg.ServerName = host
	// The judge decides about the certificate (RFC 8461, Section 4.2; RFC 7672),
	// so that its failure has a name and leaves evidence.
	cfg.InsecureSkipVerify = true
	cfg.VerifyConnection = nil
	cfg.VerifyPeerCertificate = nil
	cfg.NextProtos = nil
	cfg.ClientSessionCache = nil           // a resumed session shows no fresh certificate
	cfg.DynamicRecordSizingDisabled = true // nobody reads a message byte by byte
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	return cfg
}
