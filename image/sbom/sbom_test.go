package sbom

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func bill() Bill {
	return Bill{
		Version: "1.2.3", Profile: "qemu-virt", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Go: "go1.26.3", Program: strings.Repeat("0a", 32),
		Modules: []Module{
			{"example.org/a/v2", "v2.0.1", "h1:abc=", "MIT"},
			{"example.org/a_b~c", "v0.0.0-20260101000000-0123456789ab", "h1:def=", ""},
		},
		Packages: []Package{{"linux-image-6.1", "6.1.2-1~deb12u1", strings.Repeat("0b", 32), "GPL-2.0-only"}},
	}
}

// The document is read back without knowledge of our types, and held against
// what SPDX 2.3 demands.
func TestSPDX(t *testing.T) {
	data, err := bill().SPDX()
	if err != nil {
		t.Fatal(err)
	}
	var d map[string]any
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "gatepost-1.2.3-qemu-virt",
	} {
		if d[key] != want {
			t.Errorf("%s: got %v, want %v", key, d[key], want)
		}
	}
	if got := d["creationInfo"].(map[string]any)["created"]; got != "2026-01-02T03:04:05Z" {
		t.Errorf("got created %v", got)
	}
	idForm := regexp.MustCompile(`^SPDXRef-[a-zA-Z0-9.-]+$`)
	ids := map[string]bool{"SPDXRef-DOCUMENT": true}
	for _, p := range d["packages"].([]any) {
		e := p.(map[string]any)
		id := e["SPDXID"].(string)
		if ids[id] || !idForm.MatchString(id) {
			t.Errorf("%q is there twice or has another form", id)
		}
		ids[id] = true
		for _, must := range []string{"name", "downloadLocation", "licenseDeclared", "copyrightText"} {
			if e[must] == "" {
				t.Errorf("%s: no %s", id, must)
			}
		}
	}
	linked := map[string]bool{}
	for _, r := range d["relationships"].([]any) {
		e := r.(map[string]any)
		from, to := e["spdxElementId"].(string), e["relatedSpdxElement"].(string)
		if !ids[from] || !ids[to] {
			t.Errorf("a relationship of %s to %s, which are not both there", from, to)
		}
		linked[to] = true
	}
	if len(ids) != 7 || len(linked) != 6 {
		t.Errorf("got %d elements, %d of them linked", len(ids), len(linked))
	}
	for _, want := range []string{
		`"go.sum: h1:abc="`, `"pkg:golang/example.org/a/v2@v2.0.1"`, `"licenseDeclared": "MIT"`,
		`"pkg:deb/debian/linux-image-6.1@6.1.2-1~deb12u1?arch=arm64"`, strings.Repeat("0b", 32), `"licenseDeclared": "GPL-2.0-only"`,
		`"versionInfo": "1.26.3"`,
	} {
		if !bytes.Contains(data, []byte(want)) {
			t.Errorf("the document lacks %s", want)
		}
	}
}

func TestTheNamespaceFollowsTheContent(t *testing.T) {
	namespace := func(edit func(*Bill)) string {
		b := bill()
		edit(&b)
		data, err := b.SPDX()
		if err != nil {
			t.Fatal(err)
		}
		return regexp.MustCompile(`"documentNamespace": "([^"]*)"`).FindStringSubmatch(string(data))[1]
	}
	first := namespace(func(*Bill) {})
	if again := namespace(func(b *Bill) { b.Time = b.Time.In(time.FixedZone("far", 3600)) }); again != first {
		t.Errorf("got %s and %s for the same content", first, again)
	}
	if other := namespace(func(b *Bill) { b.Modules[0].Version = "v2.0.2" }); other == first {
		t.Error("another module, and the same namespace")
	}
}

// The test's own program names its modules as any program does.
func TestModules(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Skip(err)
	}
	if _, err := Modules(self, ""); err != nil {
		t.Errorf("got %v", err)
	}
	if all, err := Modules([]byte("no program"), ""); err != nil || len(all) != 0 {
		t.Errorf("no program: got %v, %v", all, err)
	}
}

// The tree's own NOTICE.
func TestLicenses(t *testing.T) {
	notice, err := os.ReadFile("../../NOTICE")
	if err != nil {
		t.Fatal(err)
	}
	got := Licenses(string(notice))
	for module, want := range map[string]string{
		"github.com/miekg/dns": "BSD-3-Clause", "github.com/klauspost/compress": "BSD-3-Clause AND Apache-2.0 AND MIT",
	} {
		if got[module] != want {
			t.Errorf("%s: got %q, want %q", module, got[module], want)
		}
	}
}

func TestTexts(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a/LICENSE": "text one\n", "a/license.go": "no licence", "a/sub/deep/NOTICE.md": "part", "a/other/COPYING": "not linked",
		"b/COPYING": "\r\ntext one\r\n", "go/LICENSE": "Go's", "bare/README": "nothing",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	folder := func(module, root, dir2 string) Folder {
		return Folder{module, filepath.Join(dir, root), filepath.Join(dir, dir2)}
	}
	texts, err := ModuleTexts([]Folder{
		folder("m/b", "b", "b"), folder("m/a", "a", "a/sub/deep"), folder("m/a", "a", "a/sub"), folder("", "go", "go"),
	})
	if err != nil {
		t.Fatal(err)
	}
	var titles []string
	for _, x := range texts {
		titles = append(titles, x.Title)
	}
	if want := []string{"the Go programming language: LICENSE", "m/a: LICENSE", "m/a: sub/deep/NOTICE.md", "m/b: COPYING"}; !slices.Equal(titles, want) {
		t.Errorf("got %q, want %q", titles, want)
	}
	joined := string(Join("preface\n", texts))
	if strings.Count(joined, "text one") != 1 || !strings.Contains(joined, `The same text as under "m/a: LICENSE"`) {
		t.Errorf("got %s, want the text once", joined)
	}
	if _, err := ModuleTexts([]Folder{folder("m/bare", "bare", "bare")}); err == nil || !strings.Contains(err.Error(), "m/bare") {
		t.Errorf("got %v, want the module that nobody allowed", err)
	}
	common, err := CommonTexts()
	if err != nil || len(common) != 3 {
		t.Errorf("got %d common texts, %v", len(common), err)
	}
}
