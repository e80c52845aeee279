package appliance

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"gatepost/appliance/cli"
	"gatepost/appliance/config"
)

// CheckFile is the command "gatepost check FILE": it says on out that the
// settings are right and which way mail would take, or returns every problem
// with its line. No password is shown.
func CheckFile(out io.Writer, args []string) error {
	if len(args) != 1 {
		return cli.Usagef("check needs the name of one settings file")
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	c, err := config.Parse(filepath.Base(args[0]), text)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s is right: this box would be %s\n", args[0], c.Hostname)
	for _, in := range c.Inbound {
		fmt.Fprintf(out, "mail for %s goes to %s\n", in.Domain, serverText(in.Server))
	}
	if h := c.SmartHost; h != nil {
		fmt.Fprintf(out, "other mail goes out through %s\n", serverText(*h))
	}
	return nil
}

// serverText is a server of the settings on one line.
func serverText(s config.Server) string {
	text := net.JoinHostPort(s.Host, strconv.Itoa(int(s.Port)))
	switch s.TLS {
	case config.TLSNone:
		text += ", without encryption"
	case config.TLSTry:
		text += ", encrypted when it can"
	case config.TLSRequire:
		text += ", only encrypted"
	default:
		text += ", only encrypted and with a checked certificate"
	}
	if s.User != "" {
		text += ", with a login"
	}
	return text
}
