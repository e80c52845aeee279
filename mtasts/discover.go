package mtasts

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// Resolver asks the DNS for TXT records. A *net.Resolver is one.
//
// The name ends with a dot: it is absolute, and no search list applies. A
// Resolver follows CNAMEs (Section 3.1: it MUST), and gives one element for
// each TXT record, its strings joined without anything between them. That
// there is no such record is a *net.DNSError with IsNotFound, or no element
// and no error; every other error says that the DNS could not tell.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// LookupRecord finds the MTA-STS record of a policy domain (Section 3.1). The
// errors are those of ParseRecord, ErrDomain, and ErrTemporary when the DNS
// could not tell, which is not the same as ErrNoRecord.
func LookupRecord(ctx context.Context, r Resolver, domain string) (Record, error) {
	name, err := PolicyDomain(domain)
	if err != nil {
		return Record{}, err
	}
	txts, err := r.LookupTXT(ctx, "_mta-sts."+name+".")
	if err != nil {
		var dns *net.DNSError
		if errors.As(err, &dns) && dns.IsNotFound && !dns.IsTemporary && !dns.IsTimeout {
			return Record{}, fmt.Errorf("%w: no TXT record at _mta-sts.%s", ErrNoRecord, name)
		}
		return Record{}, fmt.Errorf("%w: _mta-sts.%s: %w", ErrTemporary, name, err)
	}
	return ParseRecord(txts)
}
