package appliance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatepost/image/layout"
)

func TestTakeOffer(t *testing.T) {
	other := strings.Replace(rightConfig, "gate.", "old.", 1)
	const wrong = "version = 1\nhostnam = \"x\"\n"
	for _, tc := range []struct {
		name       string
		esp, files map[string]string
		config     string // config.toml afterwards
		replaced   string // what is kept of the one before
		renamed    bool
		errors     string // in the text file for the person
	}{
		{"nothing there", nil, nil, "", "", false, ""},
		{"first start", map[string]string{layout.Provision: rightConfig}, nil, rightConfig, "", true, ""},
		{"first start, wrong", map[string]string{layout.Provision: wrong}, nil, "", "", false, `gatepost.toml: line 2: unknown key "hostnam"`},
		{"the box has settings", map[string]string{layout.Provision: rightConfig}, map[string]string{configName: other}, other, "", false, ""},
		{"the box has a copy of its settings", map[string]string{layout.Provision: rightConfig}, map[string]string{"system/" + lastGoodName: other}, "", "", false, ""},
		{"the power went before the renaming", map[string]string{layout.Provision: rightConfig}, map[string]string{configName: rightConfig}, rightConfig, "", true, ""},
		{"replace", map[string]string{layout.ProvisionReplace: rightConfig}, map[string]string{configName: other}, rightConfig, other, true, ""},
		{"replace, first start", map[string]string{layout.ProvisionReplace: rightConfig}, nil, rightConfig, "", true, ""},
		{"replace, wrong", map[string]string{layout.ProvisionReplace: wrong}, map[string]string{configName: other}, other, "", false, "gatepost-replace.toml: line 2"},
		{"replace again", map[string]string{layout.ProvisionReplace: rightConfig, layout.ProvisionReplace + layout.ProvisionUsed: "before", layout.ProvisionErrors: "old"}, nil, rightConfig, "", true, ""},
		{"too large", map[string]string{layout.Provision: "#" + strings.Repeat("x", maxConfig)}, nil, "", "", false, "larger"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			data, system := disk(t, tc.files)
			esp, _ := disk(t, tc.esp)
			o := takeOffer(esp, data, system)
			if o.taken || o.fault != nil {
				if err := o.mark(esp); err != nil {
					t.Fatal(err)
				}
			}
			read := func(root *os.Root, name string) string {
				b, _ := os.ReadFile(filepath.Join(root.Name(), name))
				return string(b)
			}
			if got := read(data, configName); got != tc.config {
				t.Errorf("config.toml: got %q, want %q", got, tc.config)
			}
			if got := read(system, replacedName); got != tc.replaced {
				t.Errorf("kept: got %q, want %q", got, tc.replaced)
			}
			renamed := o.name != "" && read(esp, o.name) == "" && read(esp, o.name+layout.ProvisionUsed) == rightConfig
			if renamed != tc.renamed {
				t.Errorf("renamed: got %v, want %v", renamed, tc.renamed)
			}
			got := read(esp, layout.ProvisionErrors)
			if (got == "") != (tc.errors == "") || !strings.Contains(got, tc.errors) || got != "" && !strings.HasSuffix(got, "\r\n") {
				t.Errorf("errors: got %q, want %q", got, tc.errors)
			}
		})
	}
}
