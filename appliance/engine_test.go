package appliance

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatepost/appliance/api"
	"gatepost/relay"
	"gatepost/relay/event"
	"gatepost/relay/queue"
	"gatepost/relay/spool"
	"gatepost/relay/verdict"
	"gatepost/webui"
)

// Every field that the queue tells of a message arrives, none under the name of
// another.
func TestMessageForm(t *testing.T) {
	var e queue.Entry
	fill(reflect.ValueOf(&e).Elem(), new(int))
	m := message(e)
	var missing []string
	walk("", reflect.ValueOf(m), func(path string, v reflect.Value) {
		if v.IsZero() {
			missing = append(missing, path)
		}
	})
	if len(missing) > 0 {
		t.Errorf("not filled: %q", missing)
	}
	if m.Client != e.Client || m.Hello != e.HelloName || m.TLS != e.TLS || m.User != e.User || m.TraceID != e.TraceID ||
		m.From != e.From || m.Subject != e.Subject || m.ID != e.ID || m.Paused.By != e.Paused.By || m.Action.By != e.Action.By ||
		!m.Received.Equal(e.Received) || !m.Expires.Equal(e.Expires) || !m.Action.Until.Equal(e.Action.Until) ||
		m.Rcpts[0].Addr != e.Rcpts[0].Addr || m.Rcpts[0].Domain != e.Rcpts[0].Domain || m.Rcpts[0].Tries != e.Rcpts[0].Tries {
		t.Errorf("mixed up: got %+v\nfrom %+v", m, e)
	}
}

// Evidence reaches the page whole.
func TestPageEvidence(t *testing.T) {
	var e verdict.Evidence
	fill(reflect.ValueOf(&e).Elem(), new(int))
	got, err := pageEvidence(&e)
	if err != nil {
		t.Fatal(err)
	}
	here, _ := json.Marshal(e)
	there, _ := json.Marshal(got)
	if string(here) != string(there) {
		t.Errorf("the page gets %s\nof %s", there, here)
	}
	if got, err := pageEvidence(nil); got != nil || err != nil {
		t.Errorf("none: got %v, %v", got, err)
	}
	var v verdict.Verdict
	fill(reflect.ValueOf(&v).Elem(), new(int))
	v.Evidence, v.NoticePassed = nil, false // not for this form
	here, _ = json.Marshal(v)
	there, _ = json.Marshal(pageAttempt(v))
	if !sameFields(t, here, there, "domain") {
		t.Errorf("the page gets %s\nof %s", there, here)
	}
}

func sameFields(t *testing.T, a, b []byte, but string) bool {
	t.Helper()
	var x, y map[string]any
	if err := errors.Join(json.Unmarshal(a, &x), json.Unmarshal(b, &y)); err != nil {
		t.Fatal(err)
	}
	delete(x, but)
	return reflect.DeepEqual(x, y)
}

// fill gives every field a value of its own.
func fill(v reflect.Value, n *int) {
	*n++
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(int64(1_800_000_000+*n), 0).UTC()))
	case v.Type() == reflect.TypeFor[netip.Addr]():
		v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte{192, 0, 2, byte(*n)})))
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), n)
	case v.Kind() == reflect.String:
		v.SetString(fmt.Sprintf("s%d", *n))
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(int64(*n))
	case v.CanUint():
		v.SetUint(uint64(*n))
	}
}

func walk(path string, v reflect.Value, f func(string, reflect.Value)) {
	f(path, v)
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
	case v.Kind() == reflect.Pointer && !v.IsNil():
		walk(path, v.Elem(), f)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			walk(path+"."+v.Type().Field(i).Name, v.Field(i), f)
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			walk(path+"[]", v.Index(i), f)
		}
	}
}

// Each error has the status that it should have, and the page the word.
func TestEngineErrors(t *testing.T) {
	for err, want := range map[error]error{
		spool.ErrNotFound: api.ErrNotFound, queue.ErrNotFound: api.ErrNotFound, relay.ErrNoStorage: api.ErrUnavailable,
		fmt.Errorf("open: %w", spool.ErrNotFound): api.ErrNotFound, os.ErrPermission: os.ErrPermission,
	} {
		if got := apiError(err); !errors.Is(got, want) {
			t.Errorf("%v: got %v, want %v", err, got, want)
		}
	}
	if apiError(nil) != nil || pageError(nil) != nil {
		t.Error("no error became one")
	}
	if !errors.Is(pageError(&api.ResponseError{Status: 404}), webui.ErrGone) || errors.Is(pageError(&api.ResponseError{Status: 503}), webui.ErrGone) {
		t.Error("the page is told the wrong thing")
	}
}

// The queue names domains as the addresses do, verdicts with A-labels.
func TestDomainForms(t *testing.T) {
	for in, want := range map[string][2]string{
		"Office.Example.": {"office.example", "office.example"},
		"BÜCHER.example":  {"bücher.example", "xn--bcher-kva.example"},
		"[192.0.2.1]":     {"[192.0.2.1]", "[192.0.2.1]"},
		"":                {"", ""},
	} {
		if q, p := queuePause(api.Pause{Domain: in}).Domain, policyDomain(in); q != want[0] || p != want[1] {
			t.Errorf("%q: got %q and %q, want %q", in, q, p, want)
		}
	}
}

// Every event is a line of its own kind for those who follow, and what people
// should read is told on the console.
func TestEveryEventIsTold(t *testing.T) {
	quiet := []string{"refused", "relayed", "inbound-clear"} // would fill the console
	seen := map[string]bool{}
	for _, e := range []event.Event{
		event.Accepted{},
		event.Refused{},
		event.Attempted{Verdict: verdict.Verdict{Outcome: verdict.Delivered}},
		event.Bounced{},
		event.Delayed{Notice: "n"},
		event.Relayed{},
		event.DoubleBounce{},
		event.Removed{},
		event.Paused{On: true},
		event.Paused{},
		event.InboundClear{},
		event.PolicyChanged{},
		event.PolicyAlarm{},
		event.SpoolDamaged{},
	} {
		l := line(e)
		if l.Kind == "" || l.Kind == "unknown" || seen[l.Kind] {
			t.Errorf("%T: got the kind %q", e, l.Kind)
		}
		seen[l.Kind] = true
		if told := tell(e) != ""; told == contains(quiet, l.Kind) {
			t.Errorf("%T: told on the console: %v", e, told)
		}
	}
	if got := line(event.StoreDamaged{}).Kind; got != "damaged" {
		t.Errorf("StoreDamaged: got %q", got)
	}
	if got := tell(event.Removed{ID: "m1", From: "", By: "Eve\x1b[2J"}); strings.ContainsRune(got, 0x1b) || !strings.Contains(got, "<> is not told") {
		t.Errorf("got %q", got)
	}
}

func contains(list []string, s string) bool {
	return strings.Contains(" "+strings.Join(list, " ")+" ", " "+s+" ")
}

// A question that is wrong is told as one.
func TestEngineWrongDomain(t *testing.T) {
	m, err := relay.New(relay.Config{Hostname: "gate.example"})
	if err != nil {
		t.Fatal(err)
	}
	e := engine{m: m}
	if _, err := e.RefreshPolicy(t.Context(), "a..b"); !errors.Is(err, api.ErrWrong) {
		t.Errorf("refresh: got %v, want ErrWrong", err)
	}
	if _, err := e.Check(t.Context(), "a..b"); !errors.Is(err, api.ErrWrong) {
		t.Errorf("check: got %v, want ErrWrong", err)
	}
}
