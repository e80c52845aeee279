package clock

import (
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

// QueryNTP asks a server by NTP and refuses answers that say of themselves
// that they are of no use (RFC 5905: not synchronised, kiss of death, root
// distance too large). It is a Query for Config.
func QueryNTP(ctx context.Context, server string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var d net.Dialer
	resp, err := ntp.QueryWithOptions(server, ntp.QueryOptions{
		Timeout: queryTimeout,
		Dialer: func(_, remote string) (net.Conn, error) {
			return d.DialContext(ctx, "udp", remote)
		},
	})
	if err != nil {
		return 0, plain(err)
	}
	if err := resp.Validate(); err != nil {
		return 0, fmt.Errorf("answer is of no use: %w", err)
	}
	return resp.ClockOffset, nil
}

// SetSystemClock sets the kernel's clock. It is a Step for Config.
func SetSystemClock(t time.Time) error {
	tv := unix.NsecToTimeval(t.UnixNano())
	return unix.Settimeofday(&tv)
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
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return errors.New("no answer")
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("refused")
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return errors.New("cannot be reached")
	}
	return err
}
