package mtasts

import (
	"fmt"
	"strings"
)

// Record is a domain's MTA-STS record (Section 3.1): a sign that it has a
// policy, and an id that is new whenever the policy is.
type Record struct {
	// ID is 1 to 32 letters and digits. Ids have no order: two of them are
	// equal or different.
	ID string
	// Extensions are the fields that the RFC does not define, first of each
	// name, in the order of the record.
	Extensions []Extension
}

// Extension is a field that RFC 8461 does not define: kept, and of no effect.
type Extension struct {
	Name  string
	Value string
}

// String gives the text of the record as it goes into the DNS.
func (r Record) String() string {
	var b strings.Builder
	b.WriteString("v=STSv1; id=" + r.ID + ";")
	for _, e := range r.Extensions {
		b.WriteString(" " + e.Name + "=" + e.Value + ";")
	}
	return b.String()
}

const recordVersion = "v=STSv1"

// ParseRecord finds the MTA-STS record among the TXT records of the name
// "_mta-sts.<policy domain>" (Section 3.1). Each element of txts is one
// resource record, its strings joined without anything between them.
//
// Of several records, those that do not begin with the octets "v=STSv1;" are
// left out; exactly one must remain. The errors are ErrNoRecord,
// ErrMultipleRecords and ErrRecordSyntax: with each of them the domain has no
// usable record, which never ends a cached policy.
func ParseRecord(txts []string) (Record, error) {
	if len(txts) == 1 {
		// The ABNF allows white space before the ";", so that a single record
		// need not begin with "v=STSv1;".
		rest, ok := strings.CutPrefix(txts[0], recordVersion)
		if !ok || rest != "" && rest[0] != ';' && !isWSP(rest[0]) {
			return Record{}, fmt.Errorf("%w: the TXT record is another one: %s", ErrNoRecord, quote(txts[0]))
		}
		return parseRecord(rest)
	}
	found, at := 0, 0
	for i, txt := range txts {
		if strings.HasPrefix(txt, recordVersion+";") {
			found++
			at = i
		}
	}
	switch found {
	case 0:
		return Record{}, fmt.Errorf("%w: %d TXT records, none begins with %q", ErrNoRecord, len(txts), recordVersion+";")
	case 1:
		return parseRecord(txts[at][len(recordVersion):])
	}
	return Record{}, fmt.Errorf("%w: %d begin with %q", ErrMultipleRecords, found, recordVersion+";")
}

// parseRecord reads what follows the version:
//
//	1*(sts-field-delim sts-field) [sts-field-delim]
//	sts-field-delim = *WSP ";" *WSP
func parseRecord(s string) (Record, error) {
	var r Record
	bad := func(format string, args ...any) (Record, error) {
		return Record{}, fmt.Errorf("%w: %s", ErrRecordSyntax, fmt.Sprintf(format, args...))
	}
	for n := 1; s != ""; n++ {
		s = strings.TrimLeft(s, " \t")
		if s == "" || s[0] != ';' {
			return bad("white space that no %q follows", ";")
		}
		s = strings.TrimLeft(s[1:], " \t")
		if s == "" {
			break // the delimiter at the end
		}
		field := s
		if i := strings.IndexByte(s, ';'); i >= 0 {
			field = strings.TrimRight(s[:i], " \t")
		}
		if field != "" && isWSP(field[len(field)-1]) {
			// Only the last field can end so; even one that would be ignored as a
			// repetition must fit the grammar.
			return bad("white space that no %q follows", ";")
		}
		s = s[len(field):]
		name, value, ok := strings.Cut(field, "=")
		if !ok {
			return bad("field %d has no %q: %s", n, "=", quote(field))
		}
		switch {
		case name == "id" && r.ID != "":
			// All but the first of a name are ignored (Section 3.2, last
			// paragraph, which speaks of records too).
		case name == "id":
			if !isRecordID(value) {
				return bad("id is not 1 to 32 letters and digits: %s", quote(value))
			}
			r.ID = value
		case !isExtensionName(name):
			return bad("field name %s", quote(name))
		case hasExtension(r.Extensions, name):
		case !isRecordValue(value):
			return bad("value of %s: %s", name, quote(value))
		default:
			r.Extensions = append(r.Extensions, Extension{strings.Clone(name), strings.Clone(value)})
		}
	}
	if r.ID == "" {
		return bad("no id")
	}
	r.ID = strings.Clone(r.ID)
	return r, nil
}

func hasExtension(list []Extension, name string) bool {
	for _, e := range list {
		if e.Name == name {
			return true
		}
	}
	return false
}

// isRecordID: 1*32(ALPHA / DIGIT).
func isRecordID(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for i := range len(s) {
		if !isAlnum(s[i]) {
			return false
		}
	}
	return true
}

// isExtensionName: (ALPHA / DIGIT) *31(ALPHA / DIGIT / "_" / "-" / "."), the
// same in records and policies.
func isExtensionName(s string) bool {
	if s == "" || len(s) > 32 || !isAlnum(s[0]) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// isRecordValue: 1*(%x21-3A / %x3C / %x3E-7E), neither ";" nor "=" nor a space.
func isRecordValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x21 || c > 0x7e || c == ';' || c == '=' {
			return false
		}
	}
	return s != ""
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func isWSP(c byte) bool { return c == ' ' || c == '\t' }
