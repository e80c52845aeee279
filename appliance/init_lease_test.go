package appliance

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"gatepost/appliance/netup"
)

func TestLeaseIsKeptOnTheDisk(t *testing.T) {
	_, system := disk(t, nil)
	if l, err := lastLease(system); err != nil || l.Address.IsValid() {
		t.Errorf("first start: got %+v, %v; want none", l, err)
	}
	gw := netip.MustParseAddr("192.168.77.1")
	want := netup.Lease{
		Address: netip.MustParsePrefix("192.168.77.50/24"), Gateway: gw, DNS: []netip.Addr{gw}, Server: gw,
		Lifetime: time.Hour, Renew: 30 * time.Minute, Rebind: 3150 * time.Second, Witness: []byte{2, 0, 0, 0, 0, 1},
	}
	path := filepath.Join(system.Name(), leaseName)
	var before os.FileInfo
	for i := range 3 {
		l := want
		l.Obtained = time.Now()
		if err := saveLease(system, l); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 && !os.SameFile(before, st) {
			t.Error("the same lease was written again: a renewal must not cost a write")
		}
		before = st
	}
	if got, err := lastLease(system); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	if err := os.WriteFile(path, []byte("{\"address\": \"0.0.0.0/0\"}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := lastLease(system); err == nil || l.Address.IsValid() {
		t.Errorf("damaged: got %+v, %v; want an error", l, err)
	}
	if l, err := lastLease(nil); err != nil || l.Address.IsValid() || saveLease(nil, want) != nil {
		t.Errorf("no disk: got %+v, %v", l, err)
	}
}
