package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"gatepost/relay/lab"
)

// options are the command line.
type options struct {
	list, loopback  bool
	wire, ca, guest string
	pcap            string
	forward         forwards
}

// forward is one port of the host that leads to one of the guest.
type forward struct {
	host  string
	guest uint16
}

// forwards is a flag that may be given again.
type forwards []forward

func (f *forwards) String() string { return "" }

// Set implements flag.Value.
func (f *forwards) Set(s string) error {
	host, port, ok := strings.Cut(s, "=")
	n, err := strconv.ParseUint(port, 10, 16)
	if _, bad := netip.ParseAddrPort(host); !ok || err != nil || bad != nil {
		return fmt.Errorf("want address:port=port, e.g. 127.0.0.1:2525=25")
	}
	*f = append(*f, forward{host, uint16(n)})
	return nil
}

// subcommand returns what the first argument names; nil when it is none.
func subcommand(args []string) func() error {
	if len(args) < 2 {
		return nil
	}
	switch args[1] {
	case "run":
		return func() error { return simulate(args[2:], os.Stdout, os.Stderr) }
	case "torture":
		return func() error { return torture(args[2:], os.Stdout, os.Stderr) }
	case "bench":
		return func() error { return bench(args[2:], os.Stdout) }
	}
	return nil
}

// authority reads the CA from the file, or makes one and writes it there.
func authority(file string) (*lab.CA, error) {
	if file == "" {
		return lab.NewCA(time.Now())
	}
	text, err := os.ReadFile(file)
	if err == nil {
		return lab.ParseCA(text, time.Now())
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	ca, err := lab.NewCA(time.Now())
	if err != nil {
		return nil, err
	}
	text, err = ca.Marshal()
	if err != nil {
		return nil, err
	}
	return ca, os.WriteFile(file, text, 0o600)
}
