package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Limits of the client.
const (
	maxBox       = 1 << 20 // bytes of one Box
	silenceLimit = 3 * heartbeat
	firstRetry   = 100 * time.Millisecond
	longestRetry = 2 * time.Second
)

// Client reads the control socket. Its methods may be called concurrently.
type Client struct {
	Path string // of the socket
}

// NewClient returns a client of the socket at path. It connects with the first
// request.
func NewClient(path string) Client { return Client{Path: path} }

func (c Client) transport() *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", c.Path)
		},
		DisableKeepAlives:     true,
		ResponseHeaderTimeout: 5 * time.Second,
	}
}

func (c Client) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://gatepost"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: c.transport()}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("control socket: %s", resp.Status)
	}
	return resp, nil
}

// Box returns the box as it is now.
func (c Client) Box(ctx context.Context) (Box, error) {
	resp, err := c.get(ctx, "/v1/box")
	if err != nil {
		return Box{}, err
	}
	defer resp.Body.Close()
	var b Box
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBox)).Decode(&b); err != nil {
		return Box{}, fmt.Errorf("control socket: %w", err)
	}
	return b, nil
}

// Watch calls changed with the Box now and after every change, from one
// goroutine, until ctx is done; then it returns nil. Every five seconds a Box
// comes even without a change. When the connection breaks it connects again
// and again; meanwhile the last Box stands.
func (c Client) Watch(ctx context.Context, changed func(Box)) error {
	retry := firstRetry
	for ctx.Err() == nil {
		if c.watchOnce(ctx, changed) {
			retry = firstRetry
		}
		if !wait(ctx, retry) {
			return nil
		}
		retry = min(2*retry, longestRetry)
	}
	return nil
}

// watchOnce reads one stream to its end; it is true when a Box came.
func (c Client) watchOnce(ctx context.Context, changed func(Box)) (any bool) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := c.get(ctx, "/v1/box/stream")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	silence := time.AfterFunc(silenceLimit, func() { cancel(errors.New("the control socket is silent")) })
	defer silence.Stop()
	sc := bufio.NewScanner(resp.Body)
	sc.Buffer(nil, maxBox)
	for sc.Scan() {
		silence.Reset(silenceLimit)
		var b Box
		if json.Unmarshal(sc.Bytes(), &b) != nil {
			return any
		}
		any = true
		changed(b)
	}
	return any
}
