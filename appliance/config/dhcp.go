package config

import "strings"

// WithDHCP returns the text with its [network] settings made comments, so that
// the box gets its address from the network again; everything else stays as it
// is. ok is false when that does not give right settings that use DHCP, such
// as for a text that was wrong before.
func WithDHCP(text string) (string, bool) {
	r := &rewriter{lines: strings.Split(text, "\n")}
	for _, key := range keys["network"] {
		r.comment(join("network", key), "recovery")
	}
	r.comment("network", "recovery") // the table, or all of it in one line
	out := strings.Join(r.lines, "\n")
	c, err := Parse("", []byte(out))
	return out, err == nil && len(Changes(Config{Network: c.Network}, Config{Network: Default().Network})) == 0
}
