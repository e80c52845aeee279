// Package resolver asks name servers and says what they answered: mail
// servers, addresses and text records, each with absence told from failure.
//
// It is a stub: it asks the recursive servers it is given (by DHCP or by the
// settings), over UDP and, for long answers, TCP. It keeps answers for their
// TTL in a bounded cache. It does not validate DNSSEC (relay/dnssec will) and
// never believes the AD bit. A name that does not exist and a server that
// cannot be asked are different errors, because RFC 8461, Section 3.1 and RFC
// 5321, Section 5.1 treat them differently.
//
// It is the only importer of miekg/dns beside the lab. It imports nothing of
// Gatepost.
package resolver
