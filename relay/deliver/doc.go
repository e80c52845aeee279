// Package deliver makes one attempt to deliver one message to one recipient
// domain: it finds the domain's policy and MX hosts, tries them in order,
// gives the message to the first that may have it, and says for each recipient
// what happened and why.
//
// Which host may have the message is decided in relay/tlspolicy; when to try
// again is decided in relay/queue. This package never sends a byte of a message
// before the decision, and after a refusal it goes on to the next host or
// stops: there is no way from a refused host to "deliver anyway".
//
// RFC 5321, Sections 4.3.2, 4.5.4 and 5.1; RFC 7505; RFC 8461, Section 5.
package deliver
