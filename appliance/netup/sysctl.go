package netup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// sysctls are the kernel's rules for an interface, "family/key", with the value
// each must have. Redirects and source routes are for nobody (a stranger on the
// wire could lead mail astray), and the box passes no packets on.
//
// IPv6 addresses are made from the MAC (RFC 4862 with EUI-64): a mail server's
// address stands in public records, so it must survive a new data disk, and
// there is no privacy in hiding it. For the same reason there are no temporary
// addresses (RFC 8981).
func sysctls(want IPv6) [][2]string {
	list := [][2]string{
		{"ipv4/accept_redirects", "0"},
		{"ipv4/secure_redirects", "0"},
		{"ipv4/send_redirects", "0"},
		{"ipv4/accept_source_route", "0"},
		{"ipv4/forwarding", "0"},
		// An address belongs to the interface that has it, not to all.
		{"ipv4/arp_ignore", "1"},
		{"ipv4/arp_announce", "2"},
	}
	if want.Off {
		return append(list, [2]string{"ipv6/disable_ipv6", "1"})
	}
	autoconf, router := "1", "1"
	if want.Address.IsValid() {
		autoconf = "0"
	}
	if want.Gateway.IsValid() {
		router = "0"
	}
	return append(
		list,
		[2]string{"ipv6/accept_redirects", "0"},
		[2]string{"ipv6/accept_source_route", "0"},
		[2]string{"ipv6/forwarding", "0"},
		[2]string{"ipv6/use_tempaddr", "0"},
		[2]string{"ipv6/addr_gen_mode", "0"},
		[2]string{"ipv6/max_addresses", "16"},
		[2]string{"ipv6/autoconf", autoconf},
		[2]string{"ipv6/accept_ra_defrtr", router},
		[2]string{"ipv6/accept_ra_rt_info_max_plen", "0"},
		[2]string{"ipv6/accept_ra", "1"},
		[2]string{"ipv6/disable_ipv6", "0"},
	)
}

// setSysctls writes the rules of an interface below root, which is
// /proc/sys/net. A kernel without a rule, or without IPv6, is no error.
func setSysctls(root, name string, want IPv6) error {
	if name == "" || strings.ContainsAny(name, "/.") {
		return fmt.Errorf("interface %q cannot be set up by its name", name)
	}
	var errs []error
	for _, s := range sysctls(want) {
		family, key, _ := strings.Cut(s[0], "/")
		path := filepath.Join(root, family, "conf", name, key)
		old, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && strings.TrimSpace(string(old)) == s[1] {
			continue
		}
		if err := os.WriteFile(path, []byte(s[1]), 0); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
