package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// page is a person in front of the admin page: a browser without scripts.
type page struct {
	base string
	http *http.Client
}

func openPage(addr string) (*page, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &page{base: "https://" + addr, http: &http.Client{
		Jar: jar, Timeout: 40 * time.Second,
		Transport: &http.Transport{
			// The box's own certificate: a person compares its words with the
			// console, which the test does too.
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
			ForceAttemptHTTP2: true,
		},
	}}, nil
}

var (
	tags   = regexp.MustCompile(`(?s)<(style|head)\b.*?</(style|head)>|<[^>]*>`)
	spaces = regexp.MustCompile(`\s+`)
)

// text is what a person reads.
func text(body []byte) string {
	s := tags.ReplaceAllStringFunc(string(body), func(tag string) string {
		if strings.HasPrefix(tag, "<bdi") || strings.HasPrefix(tag, "</bdi") || strings.HasPrefix(tag, "<time") || strings.HasPrefix(tag, "</time") {
			return ""
		}
		return " "
	})
	return strings.TrimSpace(spaces.ReplaceAllString(html.UnescapeString(s), " "))
}

func (p *page) get(ctx context.Context, path string) (status int, shown string, err error) {
	return p.do(ctx, http.MethodGet, path, nil)
}

func (p *page) post(ctx context.Context, path string, form url.Values) (status int, shown string, err error) {
	return p.do(ctx, http.MethodPost, path, form)
}

func (p *page) do(ctx context.Context, method, path string, form url.Values) (int, string, error) {
	status, b, err := p.raw(ctx, method, path, form)
	return status, text(b), err
}

// raw is what the browser gets; redirects are followed.
func (p *page) raw(ctx context.Context, method, path string, form url.Values) (int, []byte, error) {
	if form == nil {
		return p.send(ctx, method, path, "", nil)
	}
	return p.send(ctx, method, path, "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
}

// send sends a body of a kind, or none for "", as the page's own forms do.
func (p *page) send(ctx context.Context, method, path, kind string, body io.Reader) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.base+path, body)
	if err != nil {
		return 0, nil, err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
		req.Header.Set("Origin", p.base)
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	return resp.StatusCode, b, err
}

var (
	inTextarea = regexp.MustCompile(`(?s)<textarea[^>]*>\n?(.*?)</textarea>`)
	inHash     = regexp.MustCompile(`<code>([0-9a-f]{64})</code>`)
	inTrial    = regexp.MustCompile(`name="trial" value="([^"]+)"`)
)

// The owner of the box.
const (
	ownerName     = "Anna"
	ownerPassword = "tractor-umbrella-47-violet"
)

// claim makes this person the owner.
func (p *page) claim(ctx context.Context, code string) error {
	if status, shown, err := p.post(ctx, "/claim", url.Values{"code": {code}}); err != nil || status != http.StatusOK {
		return fmt.Errorf("claim code: status %d, %v: %s", status, err, shown)
	}
	status, shown, err := p.post(ctx, "/claim/owner", url.Values{"name": {ownerName}, "password": {ownerPassword}, "repeat": {ownerPassword}})
	if err != nil || status != http.StatusOK {
		return fmt.Errorf("owner: status %d, %v: %s", status, err, shown)
	}
	return nil
}

// login proves that the password that was set at the claim works.
func (p *page) login(ctx context.Context, name, password string) error {
	status, shown, err := p.post(ctx, "/login", url.Values{"name": {name}, "password": {password}})
	if err != nil || status != http.StatusOK {
		return fmt.Errorf("login: status %d, %v: %s", status, err, shown)
	}
	return nil
}
