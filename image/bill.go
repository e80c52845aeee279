package image

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"gatepost/image/kernel"
	"gatepost/image/sbom"
)

// Licences of the Debian packages, as their copyright files have them for what
// is in the image. The kernel's headers for programs are not.
const (
	kernelLicense = "GPL-2.0-only"
	stubLicense   = "LGPL-2.1-or-later"
)

// preface of the licences' file; %s are version, kernel and stub.
const preface = `Licences of what is in the image of Gatepost %s

The program of the box is linked from Gatepost's own code, the Go standard
library and the Go modules below. The kernel and its modules are files of the
Debian package %s, and the first part of the
UKI is a file of the Debian package %s,
byte for byte. Their complete sources are the Debian source packages "linux" and
"systemd" of these versions, which the Debian project offers. Whoever passes an
image on must pass on that offer, or the sources.
`

// bill gives the bill of materials and the licences' texts.
func (s Spec) bill(ctx context.Context, k kernel.Kernel, program []byte) (spdx, licenses []byte, err error) {
	notice, err := os.ReadFile(filepath.Join(s.Source, "NOTICE"))
	if err != nil {
		return nil, nil, fmt.Errorf("image: %w", err)
	}
	modules, err := sbom.Modules(program, string(notice))
	if err != nil {
		return nil, nil, err
	}
	b := sbom.Bill{
		Version: s.Version, Profile: s.Profile.Name, Time: s.BuildTime,
		Go: goVersion(program), Program: describeFile("init", program).SHA256, Modules: modules,
		Packages: []sbom.Package{
			{Name: k.Package.Name, Version: k.Package.Version, SHA256: k.Package.SHA256, License: kernelLicense},
			{Name: k.Stub.Package.Name, Version: k.Stub.Package.Version, SHA256: k.Stub.Package.SHA256, License: stubLicense},
		},
	}
	if spdx, err = b.SPDX(); err != nil {
		return nil, nil, err
	}
	texts, err := s.texts(ctx, k, len(modules) > 0)
	if err != nil {
		return nil, nil, err
	}
	return spdx, sbom.Join(fmt.Sprintf(preface, s.Version, k.Package, k.Stub.Package), texts), nil
}

// texts gives all texts: ours, Go's and the modules', Debian's.
func (s Spec) texts(ctx context.Context, k kernel.Kernel, linked bool) ([]sbom.Text, error) {
	var texts []sbom.Text
	for _, name := range []string{"LICENSE", "NOTICE"} {
		data, err := os.ReadFile(filepath.Join(s.Source, name))
		if err != nil {
			return nil, fmt.Errorf("image: %w", err)
		}
		texts = append(texts, sbom.Text{Title: "Gatepost: " + name, Data: data})
	}
	if linked {
		folders, err := s.linkedFolders(ctx)
		if err != nil {
			return nil, err
		}
		of, err := sbom.ModuleTexts(folders)
		if err != nil {
			return nil, err
		}
		texts = append(texts, of...)
	}
	if k.Copyright.Name == "" || len(k.Stub.Copyright) == 0 {
		return nil, fmt.Errorf("image: %s or %s has no copyright file", k.Package, k.Stub.Package)
	}
	rights, err := os.ReadFile(k.Copyright.Path)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	texts = append(texts,
		sbom.Text{Title: k.Package.String() + ": copyright", Data: rights},
		sbom.Text{Title: k.Stub.Package.String() + ": copyright", Data: k.Stub.Copyright})
	common, err := sbom.CommonTexts()
	return append(texts, common...), err
}

// linkedFolders asks Go where the packages of the program are.
func (s Spec) linkedFolders(ctx context.Context) ([]sbom.Folder, error) {
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir, cmd.Env = s.Source, goEnv()
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("image: go %s: %w\n%s", args[0], err, stderr.String())
		}
		return string(out), nil
	}
	root, err := run("env", "GOROOT")
	if err != nil {
		return nil, err
	}
	root = strings.TrimSpace(root)
	folders := []sbom.Folder{{Root: root, Dir: root}}
	out, err := run("list", "-deps", "-f", "{{with .Module}}{{.Path}}\t{{.Dir}}{{end}}\t{{.Dir}}", "./cmd/gatepost")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) == 3 && f[0] != "gatepost" {
			folders = append(folders, sbom.Folder{Module: f[0], Root: f[1], Dir: f[2]})
		}
	}
	return folders, nil
}
