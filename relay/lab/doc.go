// Package lab is a whole internet in one process: the place where Gatepost is
// shown and tested. A [World] describes it as data: domains with their MX
// hosts, policies, certificates and faults, an attacker on the path, an office
// that sends mail. A [Lab] runs it on a [Network], of which there are three:
//
//   - [Memory]: buffered pipes and queues, nothing of the host. It works
//     inside testing/synctest.
//   - [Loopback]: each virtual address and port is a real port on 127.0.0.1,
//     for real peers such as swaks or Postfix.
//   - relay/lab/wire: an Ethernet wire into which QEMU is plugged.
//
// The services are the same on all three: DNS, DHCP, NTP, policy hosts
// (RFC 8461, Section 3.3), MX hosts that keep the exact bytes they were sent,
// the attacker, and the office's clients. The [Tap] sees what the guest (the
// relay under test) sends and answers whether a message went out in clear.
//
// The lab is not a mail system: its servers are obliging and forgetful, its
// DNS is unsigned, and nothing here is for use outside of tests and
// demonstrations. It never opens a connection to the real internet.
package lab
