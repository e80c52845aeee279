package appliance

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gatepost/appliance/config"
)

// CheckFile is the command "gatepost check FILE": it says on out that the
// settings are right, or returns every problem with its line.
func CheckFile(out io.Writer, args []string) error {
	if len(args) != 1 {
		return errors.New("check needs the name of one settings file")
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
	return nil
}
