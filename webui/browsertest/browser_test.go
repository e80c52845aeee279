package browsertest

import (
	"context"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

var (
	pages = flag.String("pages", "", "the `folder` of pages that webui's TestPreview has written")
	shots = flag.String("screenshots", "", "write a picture of every page into this `folder`, with an index")
)

// browser starts Debian's Chromium, once for the whole test.
func browser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("these tests need chromium: apt-get install chromium")
	}
	alloc, stop := chromedp.NewExecAllocator(t.Context(), append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-quic", true))...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// site serves the pages with the headers with which the box serves them.
func site(t *testing.T) (base string, names []string) {
	t.Helper()
	if *pages == "" {
		t.Skip("no -pages: these tests run by \"make browser\"")
	}
	policy, err := os.ReadFile(filepath.Join(*pages, "csp.txt"))
	if err != nil {
		t.Fatal(err)
	}
	files := http.FileServer(http.Dir(*pages))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", strings.TrimSpace(string(policy)))
		w.Header().Set("X-Content-Type-Options", "nosniff")
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	list, err := filepath.Glob(filepath.Join(*pages, "*.html"))
	if err != nil || len(list) < 20 {
		t.Fatalf("got %d pages (%v), want at least 20", len(list), err)
	}
	for _, path := range list {
		names = append(names, strings.TrimSuffix(filepath.Base(path), ".html"))
	}
	return srv.URL, names
}

// look is a way to look at a page.
type look struct {
	name          string
	width, height int64
	media         emulation.SetEmulatedMediaParams
}

func feature(pairs ...string) emulation.SetEmulatedMediaParams {
	var p emulation.SetEmulatedMediaParams
	for i := 0; i < len(pairs); i += 2 {
		p.Features = append(p.Features, &emulation.MediaFeature{Name: pairs[i], Value: pairs[i+1]})
	}
	return p
}

func looks() []look {
	return []look{
		{"light", 1280, 720, feature("prefers-color-scheme", "light")},
		{"dark", 1280, 720, feature("prefers-color-scheme", "dark")},
		{"narrow", 320, 640, feature("prefers-color-scheme", "light")},
		{"forced-colors", 1280, 720, feature("forced-colors", "active")},
	}
}
