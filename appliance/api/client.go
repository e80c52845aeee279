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

// ResponseError is a request that was refused. It is ErrNotFound with status
// 404 and ErrUnavailable with 503 (errors.Is).
type ResponseError struct {
	Status int
	Text   string // of the Problem
}

func (e *ResponseError) Error() string { return e.Text }

// Is compares with the errors of an Engine.
func (e *ResponseError) Is(target error) bool {
	return target == ErrNotFound && e.Status == http.StatusNotFound ||
		target == ErrUnavailable && e.Status == http.StatusServiceUnavailable
}

// Client asks the API. It may be used by many goroutines at once.
type Client struct {
	http *http.Client
}

// Bounds of a request: of most of them, and of one that asks another server.
const (
	requestTimeout = 15 * time.Second
	refreshTimeout = 90 * time.Second
)

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
	return call[Status](ctx, c, "GET", "/v1/status", nil)
}

// SelfTest has the mail machine try itself.
func (c *Client) SelfTest(ctx context.Context) (SelfTest, error) {
	return call[SelfTest](ctx, c, "GET", "/v1/selftest", nil)
}

// Messages asks for a page of waiting mail.
func (c *Client) Messages(ctx context.Context, q MessageQuery) (Messages, error) {
	v := values("domain", q.Domain, "state", q.State, "from", q.From, "rcpt", q.Rcpt, "after", q.After)
	if q.Newest {
		v.Set("order", "newest")
	}
	setLimit(v, q.Limit)
	return call[Messages](ctx, c, "GET", "/v1/messages?"+v.Encode(), nil)
}

// Detail asks for all that is known of one message.
func (c *Client) Detail(ctx context.Context, id string) (Detail, error) {
	return call[Detail](ctx, c, "GET", "/v1/messages/"+url.PathEscape(id), nil)
}

// Open opens a waiting message as it came in. The caller closes it and must
// treat an error in the middle as a damaged copy.
func (c *Client) Open(ctx context.Context, id string) (io.ReadCloser, error) {
	resp, err := c.do(ctx, "GET", "/v1/messages/"+url.PathEscape(id)+"/eml", nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// Retry asks for attempts now and says how many messages that concerns.
func (c *Client) Retry(ctx context.Context, q Retry) (Retried, error) {
	return call[Retried](ctx, c, "POST", "/v1/messages/retry", q)
}

// Return gives messages back to their senders, unless it is undone in time.
func (c *Client) Return(ctx context.Context, q Return) (Action, error) {
	return call[Action](ctx, c, "POST", "/v1/messages/return", q)
}

// Delete removes messages, unless it is undone in time.
func (c *Client) Delete(ctx context.Context, q Delete) (Action, error) {
	return call[Action](ctx, c, "POST", "/v1/messages/delete", q)
}

// Actions asks for what can be undone.
func (c *Client) Actions(ctx context.Context) (Actions, error) {
	return call[Actions](ctx, c, "GET", "/v1/actions", nil)
}

// Undo takes an action back.
func (c *Client) Undo(ctx context.Context, action string) (Undone, error) {
	return call[Undone](ctx, c, "POST", "/v1/actions/"+url.PathEscape(action)+"/undo", nil)
}

// Pauses asks for what is stopped.
func (c *Client) Pauses(ctx context.Context) (Pauses, error) {
	return call[Pauses](ctx, c, "GET", "/v1/pauses", nil)
}

// Pause stops all mail, mail to a domain or one message, and says what is
// stopped then.
func (c *Client) Pause(ctx context.Context, p Pause) (Pauses, error) {
	return call[Pauses](ctx, c, "POST", "/v1/pauses/pause", p)
}

// Resume ends what Pause began, and says what is still stopped.
func (c *Client) Resume(ctx context.Context, p Pause) (Pauses, error) {
	return call[Pauses](ctx, c, "POST", "/v1/pauses/resume", p)
}

// Trace asks what happened to the mail of q.Address, or to the message q.ID.
func (c *Client) Trace(ctx context.Context, q HistoryQuery) (Trace, error) {
	v := q.values()
	setLimit(v, q.Limit)
	return call[Trace](ctx, c, "GET", "/v1/trace?"+v.Encode(), nil)
}

// History calls f with every attempt that fits, the newest first. It ends with
// the error of f, or with one that says that the list is not whole.
func (c *Client) History(ctx context.Context, q HistoryQuery, f func(Attempt) error) error {
	resp, err := c.do(ctx, "GET", "/v1/history?"+q.values().Encode(), nil)
	if err != nil {
		return err
	}
	return lines(resp.Body, f)
}

// Notes asks for the newest notes.
func (c *Client) Notes(ctx context.Context, limit int) (Notes, error) {
	v := url.Values{}
	setLimit(v, limit)
	return call[Notes](ctx, c, "GET", "/v1/notes?"+v.Encode(), nil)
}

// PolicyQuery selects saved policies.
type PolicyQuery struct {
	Domain  string // part of the domain
	Trouble bool   // only those whose last refresh failed
	After   string // the domain after which the page begins
	Limit   int    // 1 to 1000; 0 means 100
}

// Policies asks for a page of the saved policies.
func (c *Client) Policies(ctx context.Context, q PolicyQuery) (Policies, error) {
	v := values("domain", q.Domain, "after", q.After)
	if q.Trouble {
		v.Set("trouble", "1")
	}
	setLimit(v, q.Limit)
	return call[Policies](ctx, c, "GET", "/v1/policies?"+v.Encode(), nil)
}

// Policy asks for the saved policy of one domain.
func (c *Client) Policy(ctx context.Context, domain string) (Policy, error) {
	return call[Policy](ctx, c, "GET", "/v1/policies/"+url.PathEscape(domain), nil)
}

// RefreshPolicy has a domain asked for its policy now. That can take a minute.
func (c *Client) RefreshPolicy(ctx context.Context, domain string) (PolicyAnswer, error) {
	return call[PolicyAnswer](ctx, c, "POST", "/v1/policies/"+url.PathEscape(domain)+"/refresh", nil)
}

// Follow calls f for each event until ctx is done or the relay role goes away.
func (c *Client) Follow(ctx context.Context, f func(Line)) error {
	resp, err := c.do(ctx, "GET", "/v1/events", nil)
	if err != nil {
		return err
	}
	return lines(resp.Body, func(l Line) error { f(l); return nil })
}

// maxLine bounds one line of JSON.
const maxLine = 1 << 20

// lines reads a body of one JSON value a line to its end and closes it.
func lines[T any](body io.ReadCloser, f func(T) error) error {
	defer body.Close()
	sc := bufio.NewScanner(body)
	sc.Buffer(nil, maxLine)
	for sc.Scan() {
		var v T
		if err := json.Unmarshal(sc.Bytes(), &v); err != nil {
			return err
		}
		if err := f(v); err != nil {
			return err
		}
	}
	return sc.Err()
}

func (q HistoryQuery) values() url.Values {
	v := values("id", q.ID, "from", q.From, "rcpt", q.Rcpt, "domain", q.Domain, "address", q.Address)
	if !q.Since.IsZero() {
		v.Set("since", q.Since.UTC().Format(time.RFC3339))
	}
	if !q.Until.IsZero() {
		v.Set("until", q.Until.UTC().Format(time.RFC3339))
	}
	if q.After != 0 {
		v.Set("after", strconv.FormatUint(q.After, 10))
	}
	return v
}

// Check has the relay find out what would become of mail to a domain, without
// sending any. That can take a minute.
func (c *Client) Check(ctx context.Context, domain string) (Check, error) {
	return call[Check](ctx, c, "POST", "/v1/check/"+url.PathEscape(domain), nil)
}

// values are those pairs whose value is not empty.
func values(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	return v
}

func setLimit(v url.Values, limit int) {
	if limit > 0 {
		v.Set("limit", strconv.Itoa(limit))
	}
}

// call sends a request with a JSON body, or none for nil, and reads the answer.
func call[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var v T
	limit := requestTimeout
	switch any(v).(type) {
	case PolicyAnswer, Check: // other servers are asked
		limit = refreshTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	resp, err := c.do(ctx, method, path, body)
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	err = json.NewDecoder(resp.Body).Decode(&v)
	return v, err
}

func (c *Client) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://relay"+path, bytes.NewReader(text))
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
	var p Problem
	if json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&p) != nil || p.Error == "" {
		p.Error = resp.Status
	}
	return nil, &ResponseError{Status: resp.StatusCode, Text: p.Error}
}
