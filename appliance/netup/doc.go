// Package netup gives the box its IPv4 address: it picks the interface, waits
// for the cable, asks a DHCP server (RFC 2131) or takes a fixed address, keeps
// the lease alive, and says what it has at every change.
//
// What it does to the kernel and what it says on the wire are two small
// interfaces, Kernel and DHCP, so that every rule about time can be tried in a
// test without a network. It does not resolve names and does not write
// resolv.conf; IPv6 is left to the kernel.
package netup
