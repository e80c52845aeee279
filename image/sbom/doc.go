// Package sbom writes down what an image is made of: a bill of materials in the
// form SPDX 2.3 (JSON), and the licences' texts in one file.
//
// The Go modules are those that the program itself names (debug/buildinfo), with
// their hashes as in go.sum; the texts come from the folders of the packages
// that are linked, in the module cache. The Debian packages are those of the
// lock file, and their texts their copyright files.
//
// The same parts give the same bytes: the document's time is the image's, and
// its name in the world is made of the digest of its content.
//
// The package does not judge licences: NOTICE says which module has which, and
// a test of the tree refuses those that must not be linked.
package sbom
