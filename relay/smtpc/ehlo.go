package smtpc

import (
	"strconv"
	"strings"
)

// Extensions is what an EHLO reply offers. Keywords are read without regard to
// case (RFC 5321, Section 4.1.1.1).
type Extensions struct {
	Name         string // the server's own name in the first line, printable, at most 255 bytes
	StartTLS     bool
	Pipelining   bool
	EightBitMIME bool
	SMTPUTF8     bool
	DSN          bool
	RequireTLS   bool
	Enhanced     bool     // ENHANCEDSTATUSCODES
	Chunking     bool     // known, never used
	Size         bool     // SIZE was offered
	MaxSize      int64    // bytes; 0 means that no limit was told
	RcptMax      int      // LIMITS RCPTMAX; 0 means not told
	RcptDomains  int      // LIMITS RCPTDOMAINMAX; 0 means not told
	MailMax      int      // LIMITS MAILMAX; 0 means not told
	Auth         []string // AUTH mechanisms in upper case, at most 20
}

// parseEHLO reads the lines of a positive EHLO reply, codes cut off. A keyword
// that is not known, or whose parameters make no sense, offers nothing.
func parseEHLO(lines []string) Extensions {
	var e Extensions
	if len(lines) == 0 {
		return e
	}
	name, _, _ := strings.Cut(strings.TrimSpace(lines[0]), " ")
	e.Name = clip(printable(name), 255)
	for _, line := range lines[1:] {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		e.add(strings.ToUpper(fields[0]), fields[1:])
	}
	return e
}

func (e *Extensions) add(keyword string, params []string) {
	switch keyword {
	case "STARTTLS":
		e.StartTLS = true
	case "PIPELINING":
		e.Pipelining = true
	case "8BITMIME":
		e.EightBitMIME = true
	case "SMTPUTF8":
		e.SMTPUTF8 = true
	case "DSN":
		e.DSN = true
	case "REQUIRETLS":
		e.RequireTLS = true
	case "ENHANCEDSTATUSCODES":
		e.Enhanced = true
	case "CHUNKING":
		e.Chunking = true
	case "SIZE":
		e.Size = true
		if len(params) > 0 {
			// 20 digits are allowed (RFC 1870, Section 4); more than an int64 is no limit to us.
			if n, err := strconv.ParseInt(params[0], 10, 64); err == nil && n > 0 {
				e.MaxSize = n
			}
		}
	case "LIMITS":
		for _, p := range params {
			e.limit(p)
		}
	case "AUTH":
		for _, p := range params {
			if len(e.Auth) < 20 {
				e.Auth = append(e.Auth, clip(printable(strings.ToUpper(p)), 20))
			}
		}
	}
}

// limit reads one NAME=VALUE of LIMITS (RFC 9422, Section 4). What is not known
// or not a number from 1 to 999999 limits nothing.
func (e *Extensions) limit(p string) {
	name, value, ok := strings.Cut(p, "=")
	if !ok || len(value) > 6 {
		return
	}
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil || n < 1 || value[0] == '0' {
		return
	}
	switch strings.ToUpper(name) {
	case "RCPTMAX":
		e.RcptMax = int(n)
	case "RCPTDOMAINMAX":
		e.RcptDomains = int(n)
	case "MAILMAX":
		e.MailMax = int(n)
	}
}
