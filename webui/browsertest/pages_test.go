package browsertest

import (
	"context"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// violation is a fault that axe has found.
type violation struct {
	ID    string `json:"id"`
	Help  string `json:"help"`
	Nodes []struct {
		HTML    string `json:"html"`
		Summary string `json:"failureSummary"`
	} `json:"nodes"`
}

// runAxe runs the checker with the rules of WCAG 2.0 to 2.2, A and AA.
const runAxe = `axe.run(document, {runOnly: {type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}}).then(r => r.violations)`

// tooWide finds out whether the page has to be scrolled sideways, and what
// sticks out.
const tooWide = `(() => {
	const w = document.documentElement.clientWidth;
	if (document.documentElement.scrollWidth <= w) return [];
	return [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > w + 1).slice(0, 5).map(e => e.outerHTML.slice(0, 120));
})()`

// smallTargets finds buttons and links in lists of actions below 24 by 24
// pixels (WCAG 2.5.8); links within a sentence are exempt.
const smallTargets = `[...document.querySelectorAll("button, .button, nav a, summary, input:not([type=hidden]), select")]
	.filter(e => { const r = e.getBoundingClientRect(); return r.width > 0 && (r.width < 24 || r.height < 24); })
	.filter(e => e.type !== "checkbox" || !e.closest("label"))
	.map(e => e.outerHTML.slice(0, 120))`

// Every page, in light and dark, on a wide and a narrow screen and with forced
// colours: no fault in accessibility, nothing to scroll sideways, no small
// target, and not a word in the console, which is where a breach of the content
// security policy is told.
func TestPages(t *testing.T) {
	base, names := site(t)
	axe, err := os.ReadFile("testdata/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	ctx := browser(t)
	var mu sync.Mutex
	var said []string
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.Type == "debug" {
				continue // hints to developers, which the console hides by default
			}
			mu.Lock()
			said = append(said, string(m.Type)+": "+m.Text)
			mu.Unlock()
		}
	}()
	checked := 0
	for _, l := range looks() {
		for _, name := range names {
			if err := open(ctx, base+"/"+name+".html", l); err != nil {
				t.Fatalf("%s, %s: %v", name, l.name, err)
			}
			where := name + ", " + l.name
			want[string](t, ctx, where+": sticks out at the side", tooWide)
			want[string](t, ctx, where+": a target is too small", smallTargets)
			mu.Lock()
			if len(said) > 0 {
				t.Errorf("%s: the console says %q", where, said)
			}
			said = nil
			mu.Unlock()
			if err := chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](string(axe))); err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			faults, err := chromedp.Run(ctx, chromedp.Evaluate[[]violation](runAxe, chromedp.EvalAwaitPromise))
			if err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			for _, f := range faults {
				for _, n := range f.Nodes[:min(len(f.Nodes), 3)] {
					t.Errorf("%s: %s: %s\n  %s\n  %s", where, f.ID, f.Help, n.HTML, strings.ReplaceAll(n.Summary, "\n", "\n  "))
				}
			}
			checked++
		}
	}
	t.Logf("%d pages in %d ways: %d checks", len(names), len(looks()), checked)
}

func open(ctx context.Context, url string, l look) error {
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(l.width, l.height)); err != nil {
		return err
	}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, l.media); err != nil {
		return err
	}
	return chromedp.Do(ctx, chromedp.Navigate(url))
}

// want fails for each thing that a script finds.
func want[T any](t *testing.T, ctx context.Context, what, script string) {
	t.Helper()
	found, err := chromedp.Run(ctx, chromedp.Evaluate[[]T](script))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	for _, f := range found {
		t.Errorf("%s: %v", what, f)
	}
}

var index = template.Must(template.New("").Parse(`<!doctype html><meta charset="utf-8"><title>Gatepost: every page</title>
<style>body{font:16px system-ui;margin:2rem}figure{display:inline-block;margin:1rem;vertical-align:top}img{max-width:30rem;border:1px solid #888}</style>
<h1>Every page</h1>{{range .}}<h2>{{.Page}}</h2>{{range .Files}}<figure><img loading="lazy" src="{{.}}" alt=""><figcaption>{{.}}</figcaption></figure>{{end}}{{end}}
`))

// TestScreenshots writes the book of pictures, for people to look at.
func TestScreenshots(t *testing.T) {
	if *shots == "" {
		t.Skip("no -screenshots: \"make screenshots\" writes them")
	}
	base, names := site(t)
	ctx := browser(t)
	if err := os.MkdirAll(*shots, 0o755); err != nil {
		t.Fatal(err)
	}
	type entry struct {
		Page  string
		Files []string
	}
	var book []entry
	for _, name := range names {
		e := entry{Page: name}
		for _, l := range looks()[:3] {
			if err := open(ctx, base+"/"+name+".html", l); err != nil {
				t.Fatal(err)
			}
			png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
			if err != nil {
				t.Fatalf("%s, %s: %v", name, l.name, err)
			}
			file := fmt.Sprintf("%s.%s.png", name, l.name)
			if err := os.WriteFile(filepath.Join(*shots, file), png, 0o644); err != nil {
				t.Fatal(err)
			}
			e.Files = append(e.Files, file)
		}
		book = append(book, e)
	}
	f, err := os.Create(filepath.Join(*shots, "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := index.Execute(f, book); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d pages in %s", len(book), *shots)
}
