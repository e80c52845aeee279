package appliance

import (
	"os"
	"strings"
	"testing"
)

const closedStatus = `Name:	gatepost
CapInh:	0000000000000000
CapPrm:	0000000000000000
CapEff:	0000000000000000
CapBnd:	0000000000000000
CapAmb:	0000000000000000
NoNewPrivs:	1
Seccomp:	2
Seccomp_filters:	2
`

func TestCaged(t *testing.T) {
	if err := caged(closedStatus); err != nil {
		t.Errorf("a closed cage: got %v", err)
	}
	for _, tc := range []struct{ old, new, want string }{
		{"Seccomp:\t2", "Seccomp:\t0", "Seccomp 0"},
		{"NoNewPrivs:\t1", "NoNewPrivs:\t0", "NoNewPrivs 0"},
		{"CapBnd:\t0000000000000000", "CapBnd:\t000001ffffffffff", "CapBnd 000001ffffffffff"},
		{"CapAmb:\t0000000000000000\n", "", "does not tell CapAmb"},
	} {
		err := caged(strings.Replace(closedStatus, tc.old, tc.new, 1))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: got %v, want %q", tc.new, err, tc.want)
		}
	}
	mine, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	if caged(string(mine)) == nil {
		t.Error("this test is said to be in a cage")
	}
}
