package boot

import (
	"os"
	"slices"
	"strings"
)

// Asked reports whether a word stands on the kernel's command line, which path
// holds ("/proc/cmdline"). A file that cannot be read asks for nothing.
func Asked(path, word string) bool {
	text, err := os.ReadFile(path)
	return err == nil && slices.Contains(strings.Fields(string(text)), word)
}
