package peer

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// masterCF is Debian's master.cf without chroot and without what an instance
// here does not use. Process limits are the defaults. The ports of smtpd come
// before it.
const masterCF = `pickup    unix  n - n 60    1 pickup
cleanup   unix  n - n -     0 cleanup
qmgr      unix  n - n 300   1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n -     - trivial-rewrite
bounce    unix  - - n -     0 bounce
defer     unix  - - n -     0 bounce
trace     unix  - - n -     0 bounce
verify    unix  - - n -     1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n -     - proxymap
proxywrite unix - - n -     1 proxymap
smtp      unix  - - n -     - smtp
relay     unix  - - n -     - smtp
showq     unix  n - n -     - showq
error     unix  - - n -     - error
retry     unix  - - n -     - error
discard   unix  - - n -     - discard
local     unix  - n n -     - local
virtual   unix  - n n -     - virtual
anvil     unix  - - n -     1 anvil
scache    unix  - - n -     1 scache
tlsproxy  unix  - - n -     0 tlsproxy
postlog   unix-dgram n - n - 1 postlogd
`

// writeConfig writes main.cf and master.cf. What is not set here is Postfix's
// default.
func (p *Postfix) writeConfig(cfg PostfixConfig) error {
	etc := p.config()
	boxes := filepath.Join(etc, "mailboxes")
	main := map[string]string{
		"compatibility_level":          "3.6",
		"queue_directory":              p.Queue,
		"data_directory":               filepath.Join(p.dir, "data"),
		"maillog_file":                 filepath.Join(p.dir, "log", "mail.log"),
		"maillog_file_prefixes":        p.dir,
		"syslog_name":                  "postfix-" + filepath.Base(p.dir),
		"myhostname":                   cfg.Hostname,
		"mydestination":                "",
		"mynetworks":                   "127.0.0.0/8",
		"inet_interfaces":              "127.0.0.1",
		"inet_protocols":               "ipv4",
		"alias_maps":                   "",
		"biff":                         "no",
		"virtual_mailbox_domains":      strings.Join(domains(cfg.Mailboxes), ", "),
		"virtual_mailbox_maps":         "texthash:" + boxes,
		"virtual_mailbox_base":         filepath.Join(p.dir, "mail"),
		"virtual_uid_maps":             fmt.Sprint("static:", mailUser),
		"virtual_gid_maps":             fmt.Sprint("static:", mailUser),
		"smtp_tls_security_level":      "may",
		"smtpd_recipient_restrictions": "permit_mynetworks, reject_unauth_destination",
		"smtpd_relay_restrictions":     "permit_mynetworks, reject_unauth_destination",
	}
	if cfg.Next != "" {
		main["relayhost"] = "[127.0.0.1]:" + port(cfg.Next)
	} else {
		main["default_transport"] = "error:5.7.1 this instance relays nothing"
	}
	if cfg.Certificate != nil {
		chain := filepath.Join(etc, "chain.pem")
		if err := writeCertificate(chain, cfg.Certificate); err != nil {
			return err
		}
		main["smtpd_tls_chain_files"] = chain
		main["smtpd_tls_security_level"] = "may"
		main["smtpd_tls_received_header"] = "yes"
	}
	maps.Copy(main, cfg.Settings)
	var text, ports, map_ strings.Builder
	for _, name := range slices.Sorted(maps.Keys(main)) {
		fmt.Fprintf(&text, "%s = %s\n", name, main[name])
	}
	for _, s := range cfg.Listen {
		fmt.Fprintf(&ports, "%s inet n - n - - smtpd\n", s.Addr)
		for _, name := range slices.Sorted(maps.Keys(s.Settings)) {
			fmt.Fprintf(&ports, "  -o { %s = %s }\n", name, s.Settings[name])
		}
	}
	for _, m := range cfg.Mailboxes {
		fmt.Fprintf(&map_, "%s %s/\n", m, m)
	}
	for name, text := range map[string]string{
		"main.cf": text.String(), "master.cf": ports.String() + masterCF, "mailboxes": map_.String(),
	} {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// domains are those of the addresses, each once.
func domains(addresses []string) []string {
	var list []string
	for _, a := range addresses {
		if _, d, ok := strings.Cut(a, "@"); ok && !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	return list
}
