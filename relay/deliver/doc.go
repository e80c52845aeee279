// Package deliver makes one attempt to deliver one message to one recipient
// domain: it finds the next hop, gives the message to the first server that may
// have it, and says for each recipient what happened and why.
//
// The next hop comes from the settings (Config.Route: the office's own server,
// or a smart host) or from the MX records of the domain. With a route of the
// settings neither the MX records nor the MTA-STS policy of the recipient
// domain are looked up: such a policy binds those who hand mail over to one of
// the domain's MX hosts, and a hop of the settings is none. It is an operator's
// choice, and what it must show is the operator's TLS rule for it, never less
// than what the policy of a smart host's own domain asks (RFC 8461, Sections 2,
// 3.4 and 5).
//
// Which MX host may have the message is decided in relay/tlspolicy, which hop
// of the settings in relay/nexthop; when to try again is decided in
// relay/queue. This package never sends a byte of a message before the
// decision, and after a refusal it goes on to the next host or stops: there is
// no way from a refused host to "deliver anyway". An open connection is used
// for a further message only after the same decision has been made again for
// that message.
//
// RFC 5321, Sections 4.3.2, 4.5.4 and 5.1; RFC 7505; RFC 8461, Section 5; RFC
// 8689, Section 4.2.1; RFC 9422.
package deliver
