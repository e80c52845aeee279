package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of a request.
const (
	maxBody     = 1 << 20 // bytes
	maxIDs      = 10000
	maxBy       = 240  // bytes of the name of who asks
	maxText     = 2000 // bytes of a text for senders
	maxDomain   = 255  // bytes
	maxAddress  = 320  // bytes
	defaultPage = 100
	maxPage     = 1000
)

// badRequest is an error that is the client's: 400.
type badRequest string

func (b badRequest) Error() string { return string(b) }

// body reads the one JSON value of a request and checks it.
func body[T any](r *http.Request, check func(T) error) (T, error) {
	var v T
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(&v)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("there is more than one value")
		}
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return v, err
	}
	if err != nil {
		return v, badRequest("the body cannot be read: " + err.Error())
	}
	return v, check(v)
}

func (q Retry) check() error {
	if (len(q.IDs) == 0) == (q.Domain == "") {
		return badRequest("give ids or a domain, and not both")
	}
	if q.Domain != "" {
		return checkDomain(q.Domain)
	}
	return checkIDs(q.IDs)
}

func (q Return) check() error {
	if len(q.Text) > maxText || !utf8.ValidString(q.Text) || strings.ContainsFunc(q.Text, func(r rune) bool { return r != '\n' && unicode.IsControl(r) }) {
		return badRequest(fmt.Sprintf("text has at most %d bytes and no control characters", maxText))
	}
	return errors.Join(checkIDs(q.IDs), checkBy(q.By))
}

func (q Delete) check() error { return errors.Join(checkIDs(q.IDs), checkBy(q.By)) }

func (p Pause) check() error {
	n := 0
	for _, set := range []bool{p.All, p.Domain != "", p.ID != ""} {
		if set {
			n++
		}
	}
	switch {
	case n != 1:
		return badRequest("exactly one of all, domain and id must be set")
	case !p.Since.IsZero():
		return badRequest("since is not for requests")
	case p.Domain != "":
		if err := checkDomain(p.Domain); err != nil {
			return err
		}
	case p.ID != "" && !validID(p.ID):
		return badRequest("this is no id of a message")
	}
	return checkBy(p.By)
}

// checkBy wants a name: nothing that a person does is done by nobody.
func checkBy(by string) error {
	if by == "" || len(by) > maxBy || !utf8.ValidString(by) || strings.ContainsFunc(by, unicode.IsControl) {
		return badRequest(fmt.Sprintf("by says who asks, in 1 to %d bytes", maxBy))
	}
	return nil
}

func checkIDs(ids []string) error {
	if len(ids) == 0 || len(ids) > maxIDs {
		return badRequest(fmt.Sprintf("1 to %d ids are needed", maxIDs))
	}
	if i := slices.IndexFunc(ids, func(id string) bool { return !validID(id) }); i >= 0 {
		return badRequest(fmt.Sprintf("ids: number %d is no id of a message", i+1))
	}
	return nil
}

func checkDomain(domain string) error {
	if len(domain) > maxDomain || strings.ContainsFunc(domain, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '@' }) {
		return badRequest("this is no domain")
	}
	return nil
}

// validID reports whether s can be the id of a message.
func validID(s string) bool {
	return s != "" && len(s) <= 32 && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z')
	})
}

func messageQuery(v url.Values) (MessageQuery, error) {
	q := MessageQuery{
		Domain: v.Get("domain"), State: v.Get("state"), From: v.Get("from"), Rcpt: v.Get("rcpt"),
		After: v.Get("after"),
	}
	limit, err := pageLimit(v)
	q.Limit = limit
	switch order := v.Get("order"); order {
	case "", "oldest":
	case "newest":
		q.Newest = true
	default:
		err = errors.Join(err, badRequest("order is oldest or newest"))
	}
	if q.State != "" && q.State != "held" && q.State != "deferred" {
		err = errors.Join(err, badRequest("state is held or deferred"))
	}
	if q.After != "" && !validID(q.After) {
		err = errors.Join(err, badRequest("after is no id of a message"))
	}
	if len(q.Domain) > maxDomain || len(q.From) > maxAddress || len(q.Rcpt) > maxAddress {
		err = errors.Join(err, badRequest("a filter is too long"))
	}
	return q, errors.Join(err, onlyKeys(v, "domain", "state", "from", "rcpt", "order", "after", "limit"))
}

// historyQuery reads the keys that the route knows.
func historyQuery(v url.Values, known ...string) (HistoryQuery, error) {
	q := HistoryQuery{
		ID: v.Get("id"), From: v.Get("from"), Rcpt: v.Get("rcpt"), Domain: v.Get("domain"), Address: v.Get("address"),
	}
	errs := []error{onlyKeys(v, known...)}
	for _, t := range []struct {
		key  string
		into *time.Time
	}{{"since", &q.Since}, {"until", &q.Until}} {
		if s := v.Get(t.key); s != "" {
			var err error
			if *t.into, err = time.Parse(time.RFC3339, s); err != nil {
				errs = append(errs, badRequest(t.key+" is not a time such as 2026-11-24T09:41:00Z"))
			}
		}
	}
	if s := v.Get("after"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			errs = append(errs, badRequest("after is not a number"))
		}
		q.After = n
	}
	if q.ID != "" && !validID(q.ID) {
		errs = append(errs, badRequest("this is no id of a message"))
	}
	if max(len(q.From), len(q.Rcpt), len(q.Domain), len(q.Address)) > maxAddress {
		errs = append(errs, badRequest("a filter is too long"))
	}
	limit, err := pageLimit(v)
	q.Limit = limit
	return q, errors.Join(append(errs, err)...)
}

// pageLimit is the length of a page.
func pageLimit(v url.Values) (int, error) {
	s := v.Get("limit")
	if s == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, badRequest("limit is a number from 1 to " + strconv.Itoa(maxPage))
	}
	return min(n, maxPage), nil
}

// onlyKeys refuses what the route does not know: a filter with a slip of the
// pen must not select everything.
func onlyKeys(v url.Values, known ...string) error {
	for key := range v {
		if !slices.Contains(known, key) {
			return badRequest(fmt.Sprintf("unknown parameter %q", key))
		}
	}
	return nil
}
