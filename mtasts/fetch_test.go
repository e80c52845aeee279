package mtasts

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestLookupRecord(t *testing.T) {
	z := newZone("example.com", "abc")
	z.txt["_mta-sts.empty.example."] = []string{}
	for _, test := range []struct {
		domain string
		err    error
		want   error
	}{
		{"EXAMPLE.com.", nil, nil},
		{"mail.example.com", nil, ErrNoRecord}, // no look-up at the parent
		{"bad..example", nil, ErrDomain},
		{"example.com", errServfail, ErrTemporary},
		{"example.com", &net.DNSError{IsTimeout: true}, ErrTemporary},
		{"example.com", &net.DNSError{IsTimeout: true, IsNotFound: true}, ErrTemporary},
		{"example.com", errors.New("no route"), ErrTemporary},
		{"example.com", fmt.Errorf("wrapped: %w", &net.DNSError{IsNotFound: true}), ErrNoRecord},
	} {
		z.setErr(test.err)
		r, err := LookupRecord(t.Context(), z, test.domain)
		if test.want == nil && (err != nil || r.ID != "abc") || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s with %v: got %v, %v, want %v", test.domain, test.err, r, err, test.want)
		}
		if test.err != nil && test.want == ErrTemporary && !errors.Is(err, test.err) {
			t.Errorf("%v hides the cause %v", err, test.err)
		}
	}
	none := resolverFunc(func(context.Context, string) ([]string, error) { return nil, nil })
	if _, err := LookupRecord(t.Context(), none, "example.com"); !errors.Is(err, ErrNoRecord) {
		t.Errorf("no element and no error: got %v, want ErrNoRecord", err)
	}
}

type resolverFunc func(context.Context, string) ([]string, error)

func (f resolverFunc) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return f(ctx, name)
}

// TestFetch: URL, port, SNI, one connection, evidence, bytes as served.
func TestFetch(t *testing.T) {
	h := newPolicyHost(t)
	var request *http.Request
	body := strings.ReplaceAll(goodPolicy, "\n", "\r\n") + "note: kept as served"
	h.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request = r
		w.Header().Set("Content-Type", "Text/PLAIN ; charset=utf-8")
		fmt.Fprint(w, body)
	})
	f := h.fetcher()
	f.UserAgent = "gatepost-test"
	got, err := f.Fetch(t.Context(), "good.example")
	if err != nil {
		t.Fatal(err)
	}
	if got.Body != body || got.Policy.Mode != Enforce {
		t.Errorf("got %q, mode %s", got.Body, got.Policy.Mode)
	}
	if request.Method != "GET" || request.Host != "mta-sts.good.example" || request.URL.String() != "/.well-known/mta-sts.txt" {
		t.Errorf("got %s %s %s", request.Method, request.Host, request.URL)
	}
	for _, header := range []string{"If-None-Match", "If-Modified-Since", "Cookie", "Referer"} {
		if v := request.Header.Get(header); v != "" {
			t.Errorf("the request has %s: %s", header, v)
		}
	}
	if got := request.UserAgent(); got != "gatepost-test" {
		t.Errorf("User-Agent: got %q", got)
	}
	if fmt.Sprint(h.dialled) != "[tcp 203.0.113.7:443]" || fmt.Sprint(h.sni) != "[mta-sts.good.example]" {
		t.Errorf("dialled %q with SNI %q", h.dialled, h.sni)
	}
	e := got.Host
	if e.Addr != "203.0.113.7:443" || e.TLSVersion != "TLS 1.3" || e.Cipher == "" || fmt.Sprint(e.CertNames) != "[mta-sts.good.example]" ||
		e.CertIssuer != "CN=Test CA" || e.CertNotAfter.IsZero() {
		t.Errorf("evidence: got %+v", e)
	}
}

// TestFetchAnswers: what a policy host may answer, and what not.
func TestFetchAnswers(t *testing.T) {
	for _, test := range []struct {
		name    string
		handler func(w http.ResponseWriter, r *http.Request)
		reason  Reason // "" for a good one
		status  int
	}{
		{"status 201", answer(201, "text/plain", goodPolicy), ReasonFetch, 201},
		{"status 203", answer(203, "text/plain", goodPolicy), ReasonFetch, 203},
		{"status 404", answer(404, "text/plain", goodPolicy), ReasonFetch, 404},
		{"status 500", answer(500, "text/plain", goodPolicy), ReasonFetch, 500},
		{"status 304", answer(304, "text/plain", ""), ReasonFetch, 304},
		{"redirect to itself", redirect("https://mta-sts.good.example/.well-known/mta-sts.txt"), ReasonFetch, 301},
		{"redirect elsewhere", redirect("https://www.good.example/policy"), ReasonFetch, 301},
		{"text/html", answer(200, "text/html", goodPolicy), ReasonFetch, 200},
		{"text/plainer", answer(200, "text/plainer", goodPolicy), ReasonFetch, 200},
		{"no media type", answer(200, "", goodPolicy), ReasonFetch, 200},
		{"media type and broken parameters", answer(200, "text/plain; charset", goodPolicy), "", 200},
		{"media type in upper case", answer(200, "TEXT/PLAIN", goodPolicy), "", 200},
		{"malformed policy", answer(200, "text/plain", "version: STSv1\n"), ReasonInvalid, 200},
		{"empty", answer(200, "text/plain", ""), ReasonInvalid, 200},
		{"64 KiB", answer(200, "text/plain", padded(MaxPolicySize)), "", 200},
		{"64 KiB and one", answer(200, "text/plain", padded(MaxPolicySize+1)), ReasonFetch, 200},
		{"gzip", gzipped(goodPolicy), "", 200},
		{"a gzip bomb", gzipped(padded(20 << 20)), ReasonFetch, 200},
		{"an encoding that was not asked for", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			answer(200, "text/plain", goodPolicy)(w, r)
		}, ReasonFetch, 200},
		{"a long header", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("a", 100<<10))
			answer(200, "text/plain", goodPolicy)(w, r)
		}, ReasonFetch, 0},
		{"broken off", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			answer(200, "text/plain", goodPolicy)(w, r)
		}, ReasonFetch, 200},
		{"HSTS and Alt-Svc change nothing", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Alt-Svc", `h3="192.0.2.66:443"`)
			w.Header().Set("Cache-Control", "max-age=99999")
			answer(200, "text/plain", goodPolicy)(w, r)
		}, "", 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newPolicyHost(t)
			h.handler = http.HandlerFunc(test.handler)
			_, err := h.fetcher().Fetch(t.Context(), "good.example")
			checkFetch(t, err, test.reason, test.status)
			if n := h.count(); n != 1 {
				t.Errorf("the host was asked %d times", n)
			}
		})
	}
}

func checkFetch(t *testing.T, err error, reason Reason, status int) {
	t.Helper()
	if reason == "" {
		if err != nil {
			t.Errorf("got %v, want nil", err)
		}
		return
	}
	var fe *FetchError
	if !errors.As(err, &fe) || !errors.Is(err, ErrFetch) {
		t.Fatalf("got %v, want a FetchError", err)
	}
	if fe.Reason != reason || fe.Status != status {
		t.Errorf("got %s, status %d (%v), want %s, %d", fe.Reason, fe.Status, err, reason, status)
	}
	if got, want := errors.Is(err, ErrCertificate), reason == ReasonWebPKI; got != want {
		t.Errorf("%v is ErrCertificate: got %v", err, got)
	}
	if got, want := errors.Is(err, ErrPolicySyntax), reason == ReasonInvalid; got != want {
		t.Errorf("%v is ErrPolicySyntax: got %v", err, got)
	}
}

func answer(status int, media, body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		if media != "" {
			w.Header().Set("Content-Type", media)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func redirect(to string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusMovedPermanently) }
}

func padded(size int) string {
	return goodPolicy + "x: " + strings.Repeat("a", size-len(goodPolicy)-3)
}

func gzipped(body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, body)
		z.Close()
	}
}

// TestFetchCertificates: DNS-ID for the policy host, a chain to a trusted
// root, in its time, TLS 1.2 or newer.
func TestFetchCertificates(t *testing.T) {
	ours := newAuthority(t, "Test CA")
	other := newAuthority(t, "Other CA")
	name := []string{"mta-sts.good.example"}
	for _, test := range []struct {
		name   string
		cert   tls.Certificate
		config func(*tls.Config)
		reason Reason
	}{
		{"good", ours.issue(name, nil), nil, ""},
		{"wildcard for the first label", ours.issue([]string{"*.good.example"}, nil), nil, ""},
		{"one name of several", ours.issue([]string{"www.good.example", "mta-sts.good.example"}, nil), nil, ""},
		{"TLS 1.2", ours.issue(name, nil), func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, ""},
		{"TLS 1.1", ours.issue(name, nil), func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, ReasonFetch},
		{"the domain itself", ours.issue([]string{"good.example"}, nil), nil, ReasonWebPKI},
		{"the provider's name", ours.issue([]string{"policies.hoster.example"}, nil), nil, ReasonWebPKI},
		{"wildcard two labels deep", ours.issue([]string{"*.example"}, nil), nil, ReasonWebPKI},
		{"wildcard inside a label", ours.issue([]string{"mta*.good.example"}, nil), nil, ReasonWebPKI},
		{"common name only", ours.issue(nil, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: name[0]} }), nil, ReasonWebPKI},
		{"unknown authority", other.issue(name, nil), nil, ReasonWebPKI},
		{"expired", ours.issue(name, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), nil, ReasonWebPKI},
		{"not yet valid", ours.issue(name, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), nil, ReasonWebPKI},
		{"not for servers", ours.issue(name, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}), nil, ReasonWebPKI},
		{"an IP address", ours.issue(nil, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(203, 0, 113, 7)} }), nil, ReasonWebPKI},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newPolicyHost(t)
			h.ca = ours
			h.tls = &tls.Config{Certificates: []tls.Certificate{test.cert}}
			if test.config != nil {
				test.config(h.tls)
			}
			_, err := h.fetcher().Fetch(t.Context(), "good.example")
			checkFetch(t, err, test.reason, 0)
			if test.reason != "" && h.count() != 0 {
				t.Error("a request was sent")
			}
			var fe *FetchError
			if errors.As(err, &fe) && fe.Reason == ReasonWebPKI && fe.Host.CertNotAfter.IsZero() {
				t.Errorf("no evidence of the certificate: %+v", fe.Host)
			}
		})
	}
}

// TestFetchClock: certificates are judged by Now.
func TestFetchClock(t *testing.T) {
	h := newPolicyHost(t)
	f := h.fetcher()
	f.Now = func() time.Time { return time.Now().Add(15 * 365 * 24 * time.Hour) }
	_, err := f.Fetch(t.Context(), "good.example")
	checkFetch(t, err, ReasonWebPKI, 0)
}

// TestFetchMinute: one minute for everything, however a host wastes it.
func TestFetchMinute(t *testing.T) {
	wait := func(ctx context.Context, d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	for _, test := range []struct {
		name   string
		change func(h *policyHost, f *Fetcher)
	}{
		{"no address", func(h *policyHost, f *Fetcher) {
			f.LookupNetIP = func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		}},
		{"no connection", func(h *policyHost, f *Fetcher) {
			f.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		}},
		{"no handshake", func(h *policyHost, f *Fetcher) {
			f.DialContext = func(context.Context, string, string) (net.Conn, error) {
				client, server := net.Pipe()
				go io.Copy(io.Discard, server)
				return client, nil
			}
		}},
		{"no header", func(h *policyHost, f *Fetcher) {
			h.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { wait(r.Context(), time.Hour) })
		}},
		{"a byte a second", func(h *policyHost, f *Fetcher) {
			h.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				for range 1000 {
					if _, err := w.Write([]byte("a")); err != nil {
						return
					}
					_ = http.NewResponseController(w).Flush()
					wait(r.Context(), time.Second)
				}
			})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newPolicyHost(t)
				f := h.fetcher()
				test.change(h, f)
				start := time.Now()
				_, err := f.Fetch(t.Context(), "good.example")
				if took := time.Since(start); took < 59*time.Second || took > 61*time.Second {
					t.Errorf("it took %s, want a minute", took)
				}
				if !errors.Is(err, ErrFetch) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v, want ErrFetch and the deadline", err)
				}
			})
		})
	}
	t.Run("forty seconds are in time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newPolicyHost(t)
			h.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				wait(r.Context(), 40*time.Second)
				answer(200, "text/plain", goodPolicy)(w, r)
			})
			if _, err := h.fetcher().Fetch(t.Context(), "good.example"); err != nil {
				t.Error(err)
			}
		})
	})
}

// TestFetchGuard: addresses that must not be asked are not dialled, and the
// address that is dialled is the one that was checked.
func TestFetchGuard(t *testing.T) {
	for _, test := range []struct{ addrs, dialled string }{
		{"203.0.113.7", "[tcp 203.0.113.7:443]"},
		{"127.0.0.1", "[]"},
		{"10.0.0.1 192.168.77.1 169.254.169.254", "[]"},
		{"::1 fe80::1 fd00::1", "[]"},
		{"127.0.0.1 203.0.113.7", "[tcp 203.0.113.7:443]"},
		{"::ffff:127.0.0.1", "[]"},
		{"::ffff:203.0.113.7", "[tcp 203.0.113.7:443]"},
		{"2001:db8::7", "[tcp [2001:db8::7]:443]"},
	} {
		t.Run(test.addrs, func(t *testing.T) {
			h := newPolicyHost(t)
			f := h.fetcher()
			f.LookupNetIP = func(context.Context, string, string) (list []netip.Addr, err error) {
				for _, s := range strings.Fields(test.addrs) {
					list = append(list, netip.MustParseAddr(s))
				}
				return list, nil
			}
			_, err := f.Fetch(t.Context(), "good.example")
			if got := fmt.Sprint(h.dialled); got != test.dialled {
				t.Errorf("dialled %s, want %s", got, test.dialled)
			}
			if got, want := errors.Is(err, ErrAddressRefused), test.dialled == "[]"; got != want {
				t.Errorf("got %v, want refused %v", err, want)
			}
		})
	}
	t.Run("Allow", func(t *testing.T) {
		h := newPolicyHost(t)
		h.addr = netip.MustParseAddr("127.0.0.1")
		f := h.fetcher()
		f.Allow = netip.Addr.IsLoopback
		if _, err := f.Fetch(t.Context(), "good.example"); err != nil {
			t.Error(err)
		}
	})
	t.Run("no address at all", func(t *testing.T) {
		f := newPolicyHost(t).fetcher()
		f.LookupNetIP = func(context.Context, string, string) ([]netip.Addr, error) { return nil, nil }
		_, err := f.Fetch(t.Context(), "good.example")
		checkFetch(t, err, ReasonFetch, 0)
	})
}

func TestPublicAddress(t *testing.T) {
	for _, test := range []struct {
		addrs string
		want  bool
	}{
		{"8.8.8.8 1.1.1.1 198.51.100.1 203.0.113.1 192.0.2.66 2001:4860:4860::8888 2606:4700::1 2001:db8::1 64:ff9b::808:808 2002:808:808::1 172.32.0.1 100.128.0.1", true},
		{"0.0.0.0 0.1.2.3 10.1.2.3 100.64.0.1 100.127.255.255 127.0.0.1 127.9.9.9 169.254.0.1 172.16.0.1 172.31.255.255", false},
		{"192.0.0.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255", false},
		{":: ::1 ::7f00:1 fe80::1 fe80::1%eth0 fec0::1 fc00::1 fd12::1 ff02::1 100::1 2001::1 64:ff9b:1::1 2606:4700::1%x", false},
		{"::ffff:10.0.0.1 ::ffff:127.0.0.1 64:ff9b::a00:1 64:ff9b::7f00:1 2002:7f00:1::1 2002:c0a8:101::1", false},
	} {
		for _, s := range strings.Fields(test.addrs) {
			if got := PublicAddress(netip.MustParseAddr(s)); got != test.want {
				t.Errorf("%s: got %v, want %v", s, got, test.want)
			}
		}
	}
	if PublicAddress(netip.Addr{}) {
		t.Error("the zero address is public")
	}
}

// TestFetchNextAddress: an address that fails does not spoil the others; a
// certificate that is not valid is what is told in the end.
func TestFetchNextAddress(t *testing.T) {
	good, bad := newPolicyHost(t), newPolicyHost(t, "wrong.example")
	bad.ca = good.ca
	hosts := map[string]func(context.Context, string, string) (net.Conn, error){
		"203.0.113.1:443": func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("refused") },
		"203.0.113.2:443": bad.dial,
		"203.0.113.3:443": good.dial,
	}
	for _, test := range []struct {
		addrs  string
		reason Reason
	}{
		{"203.0.113.1 203.0.113.3", ""},
		{"203.0.113.2 203.0.113.3", ""},
		{"203.0.113.1 203.0.113.2", ReasonWebPKI},
		{"203.0.113.2 203.0.113.1", ReasonWebPKI},
		{"203.0.113.1", ReasonFetch},
	} {
		f := good.fetcher()
		f.LookupNetIP = func(context.Context, string, string) (list []netip.Addr, err error) {
			for _, s := range strings.Fields(test.addrs) {
				list = append(list, netip.MustParseAddr(s))
			}
			return list, nil
		}
		f.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return hosts[addr](ctx, network, addr)
		}
		_, err := f.Fetch(t.Context(), "good.example")
		checkFetch(t, err, test.reason, 0)
	}
}

// TestFetchParallel: no more fetches at a time than the limit.
func TestFetchParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newPolicyHost(t)
		var now, most atomic.Int32
		h.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(time.Second)
			now.Add(-1)
			answer(200, "text/plain", goodPolicy)(w, r)
		})
		f := h.fetcher()
		f.Parallel = 3
		var wg sync.WaitGroup
		for range 12 {
			wg.Go(func() {
				if _, err := f.Fetch(t.Context(), "good.example"); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Millisecond)
		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := f.Fetch(impatient, "good.example"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrFetch) {
			t.Errorf("while waiting for a turn: got %v, want the deadline alone", err)
		}
		wg.Wait()
		if got := most.Load(); got != 3 {
			t.Errorf("got %d fetches at a time, want 3", got)
		}
	})
}

// TestFetchRealSocket: the same over TCP, with the library's own dialler.
func TestFetchRealSocket(t *testing.T) {
	ca := newAuthority(t, "Test CA")
	publisher, _ := NewPublisher(nil, nil)
	if _, err := publisher.Publish("good.example", []byte(goodPolicy)); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(publisher)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue([]string{"mta-sts.good.example"}, nil)}}
	server.StartTLS()
	defer server.Close()
	f := &Fetcher{
		LookupNetIP: func(context.Context, string, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		},
		Allow: func(netip.Addr) bool { return true },
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
		},
		Roots: ca.pool,
	}
	got, err := f.Fetch(t.Context(), "good.example")
	if err != nil || got.Body != goodPolicy {
		t.Errorf("got %q, %v", got.Body, err)
	}
}
