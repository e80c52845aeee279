package clock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/beevik/ntp"
	"golang.org/x/sys/unix"
)

// queryTimeout bounds one question, the name of the server included.
const queryTimeout = 3 * time.Second

// farthestRoot is the largest error that a server may admit to, the way to us
// included (RFC 5905, Appendix A: MAXDISP). A server of an office often admits
// to seconds; what matters more is whether others agree with it.
const farthestRoot = 16 * time.Second

// Kiss is a server's wish not to be asked so often, or at all (RFC 5905,
// Section 7.4). The code is RATE, DENY, RSTR or another of four letters; "" when
// it is none.
type Kiss struct{ Code string }

func (k *Kiss) Error() string { return fmt.Sprintf("does not want to be asked (%q)", k.Code) }

// QueryNTP asks a server by NTP and refuses answers that say of themselves
// that they are of no use (RFC 5905): of a server that is not synchronised, of
// an impossible stratum, to another question than ours, from another address
// than the one asked, or too far from the truth by their own figures. A server
// that does not want to be asked gives a *Kiss. It is a Query for Config.
func QueryNTP(ctx context.Context, server string) (time.Duration, error) {
	var d net.Dialer
	return query(ctx, server, nil, func(ctx context.Context, remote string) (net.Conn, error) {
		return d.DialContext(ctx, "udp", remote) // connected: the kernel drops what others send
	})
}

// query is QueryNTP over any connection and clock; nil is the system's clock,
// with the kernel's time stamps.
func query(ctx context.Context, server string, now func() time.Time,
	dial func(ctx context.Context, remote string) (net.Conn, error),
) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	resp, err := ntp.QueryWithOptions(server, ntp.QueryOptions{
		Timeout:       queryTimeout,
		GetSystemTime: now,
		Extensions:    []ntp.Extension{soundHeader{}},
		Dialer: func(_, remote string) (net.Conn, error) {
			conn, err := dial(ctx, remote)
			if err == nil {
				// The library closes the connection; after that this does nothing.
				context.AfterFunc(ctx, func() { _ = conn.Close() })
			}
			return conn, err
		},
	})
	if err != nil {
		return 0, plain(err)
	}
	if resp.Stratum == 0 {
		return 0, &Kiss{resp.KissCode}
	}
	if err := resp.Validate(); err != nil {
		return 0, fmt.Errorf("answer is of no use: %w", err)
	}
	if resp.RootDistance > farthestRoot {
		return 0, fmt.Errorf("answer is of no use: it may be wrong by %.0f s", resp.RootDistance.Seconds())
	}
	return resp.ClockOffset, nil
}

// soundHeader refuses an answer before the library reads it: of another version
// of the protocol, for which the library has other rules than for the question,
// and with a poll interval or precision that is no power of two of this world:
// the library shifts by them, and panics at -128.
type soundHeader struct{}

func (soundHeader) ProcessQuery(*bytes.Buffer) error { return nil }

func (soundHeader) ProcessResponse(b []byte) error {
	const poll, precision, most = 2, 3, 64
	if len(b) <= precision {
		return nil // is refused for its length
	}
	if version := b[0] >> 3 & 7; version != 3 && version != 4 {
		return fmt.Errorf("answer is of no use: it is of version %d", version)
	}
	for _, e := range []int8{int8(b[poll]), int8(b[precision])} {
		if e < -most || e > most {
			return errors.New("answer is of no use: its poll interval or precision is impossible")
		}
	}
	return nil
}

// SetSystemClock sets the kernel's clock; a slew that still goes on ends. It is
// a Step for Config.
func SetSystemClock(t time.Time) error {
	tv := unix.NsecToTimeval(t.UnixNano())
	return unix.Settimeofday(&tv)
}

// What the kernel is told about the precision of the time, in microseconds. It
// is no more than what the quorum checks.
const kernelError = int64(agreement / time.Microsecond)

// SlewSystemClock makes the kernel's clock run faster or slower, by at most one
// part in two thousand, until it has moved by offset; it replaces what is left
// of an earlier slew. It also tells the kernel that the time is right, so that
// a battery clock, where there is one, is set every eleven minutes. It is a Slew
// for Config.
func SlewSystemClock(offset time.Duration) error {
	slew := unix.Timex{Modes: unix.ADJ_OFFSET_SINGLESHOT, Offset: offset.Microseconds()}
	if _, err := unix.Adjtimex(&slew); err != nil {
		return fmt.Errorf("the clock cannot be slewed: %w", err)
	}
	right := unix.Timex{Modes: unix.ADJ_STATUS | unix.ADJ_MAXERROR | unix.ADJ_ESTERROR, Maxerror: kernelError, Esterror: kernelError}
	if _, err := unix.Adjtimex(&right); err != nil {
		return fmt.Errorf("the clock cannot be called right: %w", err)
	}
	return nil
}

// plain says what went wrong without the addresses and ports that differ from
// one question to the next: the same trouble must always read the same.
func plain(err error) error {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return errors.New("no such name")
	case errors.As(err, &dns):
		return errors.New("its name cannot be looked up")
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, net.ErrClosed):
		return errNoAnswer
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("refused")
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return errors.New("cannot be reached")
	}
	return err
}

var errNoAnswer = errors.New("no answer")
