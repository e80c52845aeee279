package sbom

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// A Bill is what an image is made of.
type Bill struct {
	// Version and Profile are the image's, Time its build time.
	Version, Profile string
	Time             time.Time
	// Go is the toolchain's version, such as go1.26.3.
	Go string
	// Program is the digest of the image's one executable.
	Program string
	// Modules are linked into the program.
	Modules []Module
	// Packages are Debian's.
	Packages []Package
}

// A Module is one Go module.
type Module struct {
	Path, Version string
	// Sum is its hash as in go.sum, "h1:...".
	Sum string
	// License is an SPDX expression; "" means that it is not known.
	License string
}

// A Package is one Debian package.
type Package struct {
	Name, Version, SHA256 string
	License               string // as in Module
}

// noAssertion is SPDX's word for "not looked into".
const noAssertion = "NOASSERTION"

// The form of SPDX 2.3 (clauses 6 to 11), as far as we fill it in.
type (
	document struct {
		SPDXVersion       string         `json:"spdxVersion"`
		DataLicense       string         `json:"dataLicense"`
		SPDXID            string         `json:"SPDXID"`
		Name              string         `json:"name"`
		DocumentNamespace string         `json:"documentNamespace"`
		CreationInfo      creation       `json:"creationInfo"`
		Packages          []element      `json:"packages"`
		Relationships     []relationship `json:"relationships"`
	}
	creation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	element struct {
		SPDXID                string     `json:"SPDXID"`
		Name                  string     `json:"name"`
		VersionInfo           string     `json:"versionInfo"`
		PrimaryPackagePurpose string     `json:"primaryPackagePurpose"`
		DownloadLocation      string     `json:"downloadLocation"`
		FilesAnalyzed         bool       `json:"filesAnalyzed"`
		LicenseConcluded      string     `json:"licenseConcluded"`
		LicenseDeclared       string     `json:"licenseDeclared"`
		CopyrightText         string     `json:"copyrightText"`
		Checksums             []checksum `json:"checksums,omitempty"`
		ExternalRefs          []ref      `json:"externalRefs,omitempty"`
		Comment               string     `json:"comment,omitempty"`
	}
	checksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	ref struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	relationship struct {
		Element string `json:"spdxElementId"`
		Type    string `json:"relationshipType"`
		Related string `json:"relatedSpdxElement"`
	}
)

const (
	documentID = "SPDXRef-DOCUMENT"
	imageID    = "SPDXRef-image"
	programID  = "SPDXRef-program"
)

// SPDX writes the bill.
func (b Bill) SPDX() ([]byte, error) {
	d := document{
		SPDXVersion: "SPDX-2.3", DataLicense: "CC0-1.0", SPDXID: documentID,
		Name:         "gatepost-" + b.Version + "-" + b.Profile,
		CreationInfo: creation{b.Time.UTC().Format(time.RFC3339), []string{"Tool: gatepost-image-" + b.Version}},
		Packages:     b.elements(),
	}
	relate := func(from, kind, to string) {
		d.Relationships = append(d.Relationships, relationship{from, kind, to})
	}
	relate(documentID, "DESCRIBES", imageID)
	relate(imageID, "CONTAINS", programID)
	for _, e := range d.Packages[2:] {
		if strings.HasPrefix(e.SPDXID, "SPDXRef-deb-") {
			relate(imageID, "CONTAINS", e.SPDXID)
		} else {
			relate(programID, "STATIC_LINK", e.SPDXID)
		}
	}
	content, err := encode(d)
	if err != nil {
		return nil, err
	}
	// A name in the world that is the same for the same content. Nothing is
	// fetched from there.
	sum := sha256.Sum256(content)
	d.DocumentNamespace = "https://gatepost.invalid/spdx/" + hex.EncodeToString(sum[:])
	return encode(d)
}

func encode(d document) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(d); err != nil {
		return nil, fmt.Errorf("sbom: %w", err)
	}
	return out.Bytes(), nil
}

// elements lists the parts: the image, the program, Go's library, the modules,
// Debian's packages.
func (b Bill) elements() []element {
	part := func(id, name, version, purpose, license string) element {
		if license == "" {
			license = noAssertion
		}
		return element{
			SPDXID: id, Name: name, VersionInfo: version, PrimaryPackagePurpose: purpose,
			DownloadLocation: noAssertion, LicenseConcluded: noAssertion,
			LicenseDeclared: license, CopyrightText: noAssertion,
		}
	}
	purl := func(locator string) []ref { return []ref{{"PACKAGE-MANAGER", "purl", locator}} }
	program := part(programID, "gatepost", b.Version, "APPLICATION", "Apache-2.0")
	program.Checksums = []checksum{{"SHA256", b.Program}}
	library := part("SPDXRef-go-std", "std", strings.TrimPrefix(b.Go, "go"), "LIBRARY", "BSD-3-Clause")
	library.ExternalRefs = purl("pkg:golang/std@" + strings.TrimPrefix(b.Go, "go"))
	all := []element{
		part(imageID, "gatepost-image-"+b.Profile, b.Version, "OPERATING-SYSTEM", ""),
		program, library,
	}
	for _, m := range b.Modules {
		e := part("SPDXRef-go-"+idText(m.Path), m.Path, m.Version, "LIBRARY", m.License)
		e.ExternalRefs = purl("pkg:golang/" + m.Path + "@" + url.PathEscape(m.Version))
		e.Comment = "go.sum: " + m.Sum
		all = append(all, e)
	}
	for _, p := range b.Packages {
		e := part("SPDXRef-deb-"+idText(p.Name), p.Name, p.Version, "OPERATING-SYSTEM", p.License)
		e.Checksums = []checksum{{"SHA256", p.SHA256}}
		e.ExternalRefs = purl("pkg:deb/debian/" + p.Name + "@" + url.PathEscape(p.Version) + "?arch=arm64")
		all = append(all, e)
	}
	return all
}

// idText makes a name fit for an SPDX identifier: letters, digits, "." and "-".
func idText(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.':
			return r
		}
		return '-'
	}, name)
}
