package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// ErrUnreachable says that the relay role does not answer: it is starting, or
// it has crashed. Try again, or show that mail does not pass.
var ErrUnreachable = errors.New("the mail service does not answer")

// Client asks the API. It may be used by many goroutines at once.
type Client struct {
	http *http.Client
}

// requestTimeout bounds every request but Follow and Message.
const requestTimeout = 5 * time.Second

// NewClient asks the API on the unix socket of that path. It connects with the
// first request.
func NewClient(socket string) *Client {
	return &Client{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
		MaxIdleConns:    4,
		IdleConnTimeout: time.Minute,
	}}}
}

// Status asks for the figures.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, "/v1/status")
}

// Policies asks for the saved policies.
func (c *Client) Policies(ctx context.Context) (Policies, error) {
	return get[Policies](ctx, c, "/v1/policies")
}

// Messages asks for a page of waiting mail.
func (c *Client) Messages(ctx context.Context, offset, limit int) (Messages, error) {
	q := url.Values{"offset": {strconv.Itoa(offset)}, "limit": {strconv.Itoa(limit)}}
	return get[Messages](ctx, c, "/v1/messages?"+q.Encode())
}

// Retry asks for attempts now and says how many messages that concerns.
func (c *Client) Retry(ctx context.Context, ids []string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	body, err := json.Marshal(Retry{IDs: ids})
	if err != nil {
		return 0, err
	}
	resp, err := c.do(ctx, http.MethodPost, "/v1/messages/retry", body)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var r Retried
	err = json.NewDecoder(resp.Body).Decode(&r)
	return r.Count, err
}

// Message opens a waiting message as it came in. The caller closes it and must
// treat an error in the middle as a damaged copy.
func (c *Client) Message(ctx context.Context, id string) (io.ReadCloser, error) {
	resp, err := c.do(ctx, http.MethodGet, "/v1/messages/"+url.PathEscape(id)+"/eml", nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// Follow calls f for each event until ctx is done or the relay role goes away.
func (c *Client) Follow(ctx context.Context, f func(Line)) error {
	resp, err := c.do(ctx, http.MethodGet, "/v1/events", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	sc := bufio.NewScanner(resp.Body)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var l Line
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			return err
		}
		f(l)
	}
	return sc.Err()
}

func get[T any](ctx context.Context, c *Client, path string) (T, error) {
	var v T
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	err = json.NewDecoder(resp.Body).Decode(&v)
	return v, err
}

func (c *Client) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://relay"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, ErrNotFound
	}
	var p Problem
	if json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&p) != nil || p.Error == "" {
		p.Error = resp.Status
	}
	return nil, errors.New(p.Error)
}
