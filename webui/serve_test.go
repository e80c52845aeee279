package webui

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// serve starts Serve on loopback and returns its address, a client, and a
// function that stops it and returns what Serve said.
func serve(t *testing.T) (addr string, client *http.Client, stop func() error) {
	t.Helper()
	s := newSite(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	conf := s.http.TLS.Clone()
	conf.NextProtos = []string{"h2", "http/1.1"}
	done := make(chan error, 1)
	go func() { done <- s.srv.Serve(ctx, ln, conf) }()
	stopped := false
	stop = func() error {
		cancel()
		if stopped {
			return nil
		}
		stopped = true
		select {
		case err := <-done:
			return err
		case <-time.After(10 * time.Second):
			t.Fatal("Serve did not end")
			return nil
		}
	}
	t.Cleanup(func() { stop() })
	transport := s.http.Client().Transport.(*http.Transport).Clone()
	return ln.Addr().String(), &http.Client{Transport: transport}, stop
}

func TestServe(t *testing.T) {
	addr, client, stop := serve(t)
	res, err := client.Get("https://" + addr + "/claim")
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, res.Body)
	res.Body.Close()
	if res.StatusCode != 200 || res.ProtoMajor != 2 {
		t.Errorf("got %d over HTTP/%d, want 200 over HTTP/2", res.StatusCode, res.ProtoMajor)
	}
	if res, err = http.Get("http://" + addr + "/claim"); err != nil || res.StatusCode != 400 {
		t.Errorf("plain HTTP: got %v %v, want 400", res, err)
	} else {
		res.Body.Close()
	}
	client.CloseIdleConnections()
	if err := stop(); err != nil {
		t.Errorf("got %v, want nil after the end", err)
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("the port is still open")
	}
}

// TestServeIsBounded: many idle connections do not shut out others for good,
// and hold no more than their number.
func TestServeIsBounded(t *testing.T) {
	addr, client, _ := serve(t)
	var idle []net.Conn
	for range maxConns + 10 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	client.Timeout = 300 * time.Millisecond
	if res, err := client.Get("https://" + addr + "/claim"); err == nil {
		res.Body.Close()
		t.Error("more connections than the limit are served")
	}
	for _, c := range idle {
		c.Close()
	}
	client.Timeout = 5 * time.Second
	res, err := client.Get("https://" + addr + "/claim")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
}

func TestServeFails(t *testing.T) {
	s := newSite(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := s.srv.Serve(t.Context(), ln, &tls.Config{}); err == nil {
		t.Error("got nil for a listener that is closed")
	}
}
