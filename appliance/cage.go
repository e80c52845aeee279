package appliance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"gatepost/appliance/sandbox"
)

// maxThreads bounds the threads of a role. Go makes one for each call that
// waits for the disk; the page and the relay were never seen with more than 40.
const maxThreads = 512

// cageWords begins a role's first line, which tells PID 1 what was reached.
const cageWords = "cage: "

// cageRules are what a role on the box may do, by name.
//
// The relay asks name servers, policy hosts and mail servers, and makes the
// socket of the admin API. The page opens no connection but those to PID 1 and
// to the relay, whose sockets' owners decide about it: Landlock does not look
// at who connects to a unix socket. /etc holds no secret; resolv.conf in it is
// replaced as a whole when the network changes, so that a rule for the file
// alone would be lost.
func cageRules(name string, in RoleInput) sandbox.Rules {
	r := sandbox.Rules{
		Read:    []string{filepath.Dir(resolvConf)},
		Write:   []string{in.DataDir},
		Devices: []string{"/dev/null"},
		Threads: maxThreads,
	}
	if name == RoleRelay {
		r.Dial = true
		r.Sockets = []string{filepath.Dir(in.APISocket)}
	}
	return r
}

// closeCage gives up, for ever, what the role does not need, and says what was
// reached.
func closeCage(name string, in RoleInput) error {
	rehearse("open", name, in)
	report, err := sandbox.Enter(cageRules(name, in))
	if err != nil {
		return fmt.Errorf("the cage of %s cannot be closed: %w", name, err)
	}
	fmt.Fprintf(in.Stdout, "%s%v\n", cageWords, report)
	rehearse("closed", name, in)
	return nil
}

// hostRules are what "gatepost serve" may do once its listeners are open.
//
// Other programs replace resolv.conf as a whole, so its folder must be allowed.
// For root that would be every secret of /etc: root gets the file as it is now.
func hostRules(o ServeOptions) sandbox.Rules {
	r := sandbox.Rules{
		Read: []string{
			resolvConf, "/etc/hosts", "/etc/nsswitch.conf", "/etc/services", "/etc/localtime", "/usr/share/zoneinfo",
			"/proc/sys/net/core/somaxconn",
		},
		Write:   []string{o.DataDir},
		Devices: []string{"/dev/null"},
		Sockets: []string{filepath.Dir(o.Socket)},
		Dial:    true, Interfaces: true,
	}
	etc := filepath.Dir(resolvConf)
	if file, err := filepath.EvalSymlinks(resolvConf); err == nil && filepath.Dir(file) != etc {
		r.Read = append(r.Read, filepath.Dir(file))
	}
	if os.Getuid() != 0 {
		r.Read = append(r.Read, etc)
	}
	return r
}

// closeHostCage is closeCage for "gatepost serve". A program that was built
// with cgo runs without one, and says so.
func closeHostCage(o ServeOptions) error {
	report, err := sandbox.Enter(hostRules(o))
	if errors.Is(err, sandbox.ErrThreads) {
		fmt.Fprintf(o.Stdout, "%sopen: %v\n", cageWords, err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("the cage cannot be closed (-no-cage leaves it open): %w", err)
	}
	fmt.Fprintf(o.Stdout, "%s%v\n", cageWords, report)
	return nil
}
