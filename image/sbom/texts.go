package sbom

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A Folder is a folder of a linked package, and the module it belongs to.
type Folder struct {
	Module string // "" for Go's own library
	// Root is the module's folder, Dir the package's, which is Root or below.
	Root, Dir string
}

// A Text is one licence's text and what it is of.
type Text struct {
	Title string
	Data  []byte
}

// fileForm is what files with licences are called.
var fileForm = regexp.MustCompile(`(?i)^(licen[cs]e|copying|copyright|notice|patents)([.-].*)?$`)

// ModuleTexts reads the licences of the packages in folders: the files beside
// each package and above it up to its module's root. A module without any is an
// error: what nobody allowed must not be shipped. Go's library itself is the
// Folder without a module.
func ModuleTexts(folders []Folder) ([]Text, error) {
	files := map[string]map[string]bool{} // module -> paths
	roots := map[string]string{}
	for _, f := range folders {
		if files[f.Module] == nil {
			files[f.Module] = map[string]bool{}
		}
		roots[f.Module] = f.Root
		for dir := f.Dir; ; dir = filepath.Dir(dir) {
			entries, err := os.ReadDir(dir)
			if err != nil {
				return nil, fmt.Errorf("sbom: licences of %s: %w", f.Module, err)
			}
			for _, e := range entries {
				if e.Type().IsRegular() && fileForm.MatchString(e.Name()) && !strings.HasSuffix(e.Name(), ".go") {
					files[f.Module][filepath.Join(dir, e.Name())] = true
				}
			}
			if dir == f.Root || len(dir) <= len(f.Root) {
				break
			}
		}
	}
	var texts []Text
	for _, module := range sortedKeys(files) {
		if len(files[module]) == 0 {
			return nil, fmt.Errorf("sbom: no licence was found in %s (%s)", module, roots[module])
		}
		for _, file := range sortedKeys(files[module]) {
			data, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("sbom: %w", err)
			}
			name, err := filepath.Rel(roots[module], file)
			if err != nil {
				return nil, fmt.Errorf("sbom: %w", err)
			}
			title := module
			if module == "" {
				title = "the Go programming language"
			}
			texts = append(texts, Text{Title: title + ": " + filepath.ToSlash(name), Data: data})
		}
	}
	return texts, nil
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Debian's copyright files name some licences without their texts, since every
// Debian system has these. Our image has not.
//
//go:embed texts
var common embed.FS

// CommonTexts gives the texts that Debian's copyright files refer to.
func CommonTexts() ([]Text, error) {
	entries, err := common.ReadDir("texts")
	if err != nil {
		return nil, fmt.Errorf("sbom: %w", err)
	}
	var texts []Text
	for _, e := range entries {
		data, err := common.ReadFile("texts/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("sbom: %w", err)
		}
		texts = append(texts, Text{Title: strings.TrimSuffix(e.Name(), ".txt"), Data: data})
	}
	return texts, nil
}

// Join makes one file of all texts, in their order. A text that came before, as
// the modules of one author often have it, is referred to.
func Join(preface string, texts []Text) []byte {
	var b bytes.Buffer
	b.WriteString(preface)
	line := strings.Repeat("=", 78)
	seen := map[[32]byte]string{}
	for _, t := range texts {
		fmt.Fprintf(&b, "\n%s\n%s\n%s\n\n", line, t.Title, line)
		data := bytes.TrimSpace(bytes.ReplaceAll(t.Data, []byte("\r\n"), []byte("\n")))
		sum := sha256.Sum256(data)
		if first, ok := seen[sum]; ok {
			fmt.Fprintf(&b, "The same text as under %q.\n", first)
			continue
		}
		seen[sum] = t.Title
		b.Write(data)
		b.WriteByte('\n')
	}
	return b.Bytes()
}
