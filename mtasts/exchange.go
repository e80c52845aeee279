package mtasts

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

const (
	maxAddresses   = 8        // addresses of one policy host that are tried
	maxHeaderBytes = 16 << 10 // HTTP response header
)

// exchange is one fetch.
type exchange struct {
	*Fetcher
	host     string // mta-sts.<domain>
	evidence HostEvidence
}

// get asks for the policy text. status is 0 when there was no HTTP answer.
func (x *exchange) get(ctx context.Context) (body []byte, status int, err error) {
	conn, err := x.connect(ctx)
	if err != nil {
		return nil, 0, err
	}
	// The socket, not the TLS session: to say goodbye could block for seconds.
	raw := conn.NetConn()
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()

	// The transport gets the one connection that was checked.
	only := make(chan net.Conn, 1)
	only <- conn
	transport := &http.Transport{
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			select {
			case c := <-only:
				return c, nil
			default:
				return nil, errors.New("a second connection is not made")
			}
		},
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+x.host+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		return nil, 0, err
	}
	agent := x.UserAgent
	if agent == "" {
		agent = "mtasts"
	}
	request.Header.Set("User-Agent", agent)
	// RoundTrip follows no redirect (Section 3.3: MUST NOT) and caches nothing.
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, 0, inTime(ctx, err)
	}
	defer response.Body.Close()
	if err := checkHeader(response); err != nil {
		return nil, response.StatusCode, err
	}
	// The limit counts bytes after decompression.
	body, err = io.ReadAll(io.LimitReader(response.Body, MaxPolicySize+1))
	if err == nil {
		err = ctx.Err() // an answer that came while the session was closed
	}
	if err != nil {
		return nil, response.StatusCode, inTime(ctx, err)
	}
	if len(body) > MaxPolicySize {
		return nil, response.StatusCode, fmt.Errorf("the answer is longer than %d bytes", MaxPolicySize)
	}
	return body, response.StatusCode, nil
}

// checkHeader: status 200 and nothing else, media type text/plain in any case
// and with any parameters (Section 3.2), no encoding but gzip, which the
// transport has undone.
func checkHeader(r *http.Response) error {
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP status %d, not 200", r.StatusCode)
	}
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(trimWSP(media), "text/plain") {
		return fmt.Errorf("media type %s, not text/plain", quote(media))
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return fmt.Errorf("content encoding %s was not asked for", quote(e))
	}
	return nil
}

// connect makes the TLS connection to the first address that works.
func (x *exchange) connect(ctx context.Context) (*tls.Conn, error) {
	lookup := x.LookupNetIP
	if lookup == nil {
		lookup = net.DefaultResolver.LookupNetIP
	}
	addrs, err := lookup(ctx, "ip", x.host+".")
	if err != nil {
		return nil, inTime(ctx, fmt.Errorf("address of %s: %w", x.host, err))
	}
	allow := x.Allow
	if allow == nil {
		allow = PublicAddress
	}
	var allowed []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); allow(a) {
			allowed = append(allowed, a)
		}
	}
	switch {
	case len(addrs) == 0:
		return nil, fmt.Errorf("%s has no address", x.host)
	case len(allowed) == 0:
		return nil, fmt.Errorf("%w: %s is at %s", ErrAddressRefused, x.host, addrs[0])
	}
	allowed = allowed[:min(len(allowed), maxAddresses)]
	var failure error
	for i, a := range allowed {
		conn, err := x.handshake(ctx, netip.AddrPortFrom(a, 443), len(allowed)-i)
		if err == nil {
			return conn, nil
		}
		// A certificate that is not valid tells more than a connection that
		// another address refused.
		if failure == nil || isCertificateError(err) {
			failure = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, inTime(ctx, failure)
}

// handshake dials one address and verifies its certificate: SNI and DNS-ID are
// the policy host (Sections 3.3, 7.1 and 8.2: of a delegated policy host too),
// the version is TLS 1.2 or newer. left is the number of addresses that have
// to share the rest of the time.
func (x *exchange) handshake(ctx context.Context, addr netip.AddrPort, left int) (*tls.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
	}
	dial := x.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	raw, err := dial(ctx, "tcp", addr.String())
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, &tls.Config{
		ServerName: x.host,
		RootCAs:    x.Roots,
		Time:       x.now,
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
	})
	x.evidence = HostEvidence{Addr: addr.String()}
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		var invalid *tls.CertificateVerificationError
		if errors.As(err, &invalid) && len(invalid.UnverifiedCertificates) > 0 {
			x.evidence.CertNames, x.evidence.CertIssuer, x.evidence.CertNotAfter = certificateFacts(invalid.UnverifiedCertificates[0])
		}
		return nil, fmt.Errorf("TLS with %s: %w", addr, err)
	}
	state := conn.ConnectionState()
	x.evidence.TLSVersion = tls.VersionName(state.Version)
	x.evidence.Cipher = tls.CipherSuiteName(state.CipherSuite)
	x.evidence.CertNames, x.evidence.CertIssuer, x.evidence.CertNotAfter = certificateFacts(state.PeerCertificates[0])
	return conn, nil
}

func isCertificateError(err error) bool {
	var invalid *tls.CertificateVerificationError
	return errors.As(err, &invalid)
}

// inTime says that it was the time that ran out, where it was.
func inTime(ctx context.Context, err error) error {
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}
