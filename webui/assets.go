package webui

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"strings"
)

//go:embed assets/gatepost.css assets/icon.svg
var assetFiles embed.FS

// assets holds the files that pages use, by their hashed names.
type assets struct {
	byName map[string]assetFile
	CSS    string // path of the style sheet
	Icon   string // path of the icon
}

type assetFile struct {
	kind        string
	plain, gzip []byte
}

func newAssets() (assets, error) {
	a := assets{byName: map[string]assetFile{}}
	for _, f := range []struct {
		name, kind string
		path       *string
	}{
		{"gatepost.css", "text/css; charset=utf-8", &a.CSS},
		{"icon.svg", "image/svg+xml", &a.Icon},
	} {
		data, err := fs.ReadFile(assetFiles, "assets/"+f.name)
		if err != nil {
			return assets{}, err
		}
		sum := sha256.Sum256(data)
		base, ext, _ := strings.Cut(f.name, ".")
		name := base + "-" + hex.EncodeToString(sum[:6]) + "." + ext
		a.byName[name] = assetFile{kind: f.kind, plain: data, gzip: compress(data)}
		*f.path = "/assets/" + name
	}
	return a, nil
}

// asset serves a file whose name changes with its content, so it may be kept
// for ever.
func (s *Server) asset(v *visit) {
	f, ok := s.assets.byName[v.r.PathValue("name")]
	if !ok {
		s.fail(v, http.StatusNotFound, "error.not-found")
		return
	}
	h := v.w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	if takesGzip(v.r) {
		h.Set("Content-Encoding", "gzip")
		v.w.Write(f.gzip)
		return
	}
	v.w.Write(f.plain)
}

func takesGzip(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")
}

func compress(data []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(data) // a bytes.Buffer takes everything
	z.Close()
	return b.Bytes()
}
