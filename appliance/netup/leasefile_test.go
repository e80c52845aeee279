package netup

import (
	"bytes"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

func TestLeaseFile(t *testing.T) {
	want := known()
	want.Routes = []Route{{netip.MustParsePrefix("10.8.0.0/16"), want.Gateway}}
	want.Domain, want.NTP = "office.example", want.DNS
	want.setTimes(0, 0)
	want.Obtained = time.Time{}
	got, err := ParseLease(want.Marshal())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	later := want
	later.Obtained = time.Now()
	if !bytes.Equal(later.Marshal(), want.Marshal()) {
		t.Error("a renewed lease gives other bytes: each renewal would be written to the disk")
	}
	for _, text := range []string{
		"", "[]", "{}", `{"address":"224.0.0.1/4","server":"10.0.0.1"}`, `{"address":"10.0.0.2/8"}`,
		`{"address":"10.0.0.2/8","server":"10.0.0.1","gateway":"10.0.0.2"}`,
		`{"address":"10.0.0.2/8","server":"10.0.0.1","dns":["fe80::1"]}`,
		`{"address":"10.0.0.2/8","server":"10.0.0.1","witness":"zz"}`,
		`{"address":"10.0.0.2/8","server":"10.0.0.1","routes":[{"to":"0.0.0.0/0","gateway":"10.0.0.1"}]}`,
		`{"address":"fd00::2/64","server":"10.0.0.1"}`,
	} {
		if l, err := ParseLease([]byte(text)); err == nil {
			t.Errorf("%s: got %+v, want an error", text, l)
		}
	}
}

func FuzzParseLease(f *testing.F) {
	f.Add(known().Marshal())
	f.Add([]byte(`{"address":"10.0.0.2/8","server":"10.0.0.1","seconds":-1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := ParseLease(data)
		if err != nil {
			return
		}
		if checkAddress(l.Address) != nil || l.Renew < shortestRenew || l.Rebind < l.Renew || len(l.DNS) > maxServers || len(l.Routes) > maxRoutes {
			t.Errorf("a lease that cannot be kept: %+v", l)
		}
		again, err := ParseLease(l.Marshal())
		if err != nil || !reflect.DeepEqual(again, l) {
			t.Errorf("written and read again: got %+v, %v; want %+v", again, err, l)
		}
	})
}
