// Package netup connects the box: it picks the interface, waits for the cable,
// asks a DHCP server for an IPv4 address (RFC 2131) or takes a fixed one, keeps
// the lease alive, sees to IPv6 (RFC 4862 by the kernel, name servers from
// router advertisements by RFC 8106), finds out when another machine has the
// same address (RFC 5227), and says what it has at every change.
//
// What it does to the kernel and what it says on the wire are small interfaces,
// Kernel, DHCP, Neighbours and Routers, so that every rule about time can be
// tried in a test without a network. It does not resolve names and does not
// write resolv.conf.
package netup
