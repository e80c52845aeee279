// Package browsertest looks at the pages of the box in a real browser. It is a
// module of its own, so that the browser's driver is no dependency of the box:
// "make browser" writes every page with the tests of package webui and runs
// these tests over them. The driver and the browser belong together: when
// Debian's Chromium changes its protocol, chromedp is updated here.
//
// testdata/axe.min.js is axe-core 4.14.1 (MPL-2.0, testdata/axe.LICENSE), the
// accessibility checker; it is used by the tests alone and is in no build.
package browsertest
