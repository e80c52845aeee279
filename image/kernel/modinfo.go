package kernel

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxModule bounds a module in memory, in bytes.
const maxModule = 64 << 20

// A modinfo is what a module says about the modules it needs.
type modinfo struct {
	name    string
	depends []string // hard: its symbols are missing without them
	pre     []string // soft: to be loaded before it where there are any
}

// readModinfo reads the .modinfo section of a module's file.
func readModinfo(file string) (modinfo, error) {
	data, err := readModule(file)
	if err != nil {
		return modinfo{}, err
	}
	obj, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return modinfo{}, fmt.Errorf("%s: %w", file, err)
	}
	section := obj.Section(".modinfo")
	if section == nil {
		return modinfo{}, fmt.Errorf("%s: no .modinfo section", file)
	}
	raw, err := section.Data()
	if err != nil {
		return modinfo{}, fmt.Errorf("%s: .modinfo: %w", file, err)
	}
	return parseModinfo(raw), nil
}

// parseModinfo reads the section's NUL-separated "key=value" strings.
func parseModinfo(raw []byte) modinfo {
	var m modinfo
	for entry := range bytes.SplitSeq(raw, []byte{0}) {
		key, value, _ := strings.Cut(string(entry), "=")
		switch key {
		case "name":
			m.name = moduleName(value)
		case "depends":
			for d := range strings.SplitSeq(value, ",") {
				m.depends = appendName(m.depends, d)
			}
		case "softdep":
			m.pre = append(m.pre, softPre(value)...)
		}
	}
	return m
}

// moduleForm is what a module's name looks like, with "_" for "-".
var moduleForm = regexp.MustCompile(`^[A-Za-z0-9_]+$`)

// appendName adds a module's name to names. What cannot be one is left out.
func appendName(names []string, name string) []string {
	if name = moduleName(name); moduleForm.MatchString(name) {
		names = append(names, name)
	}
	return names
}

// softPre gives the names after "pre:" and before "post:".
func softPre(value string) []string {
	var pre []string
	before := false
	for word := range strings.FieldsSeq(value) {
		switch word {
		case "pre:":
			before = true
		case "post:":
			before = false
		default:
			if before {
				pre = appendName(pre, word)
			}
		}
	}
	return pre
}

// readModule reads a module and undoes its compression, if any.
func readModule(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	switch {
	case strings.HasSuffix(file, ".xz"):
		r, err = xz.NewReader(f)
	case strings.HasSuffix(file, ".gz"):
		r, err = gzip.NewReader(f)
	case strings.HasSuffix(file, ".zst"):
		var z *zstd.Decoder
		if z, err = zstd.NewReader(f); err == nil {
			defer z.Close()
		}
		r = z
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	data, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(data) > maxModule {
		return nil, fmt.Errorf("%s: larger than %d bytes", file, maxModule)
	}
	return data, nil
}
