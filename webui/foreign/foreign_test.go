package foreign

import (
	"fmt"
	"html/template"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestString(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "",
		"Invoice 2211":                    "Invoice 2211",
		"Grüße, 東京, Привет 👍":             "Grüße, 東京, Привет 👍",
		"a\x00b":                          "a‹U+0000›b",
		"a\r\nBcc: x":                     "a‹U+000D›‹U+000A›Bcc: x",
		"a\tb":                            "a‹U+0009›b",
		"\x1b[31mred":                     "‹U+001B›[31mred",
		"moc.elpmaxe\u202egpj.exe":        "moc.elpmaxe‹U+202E›gpj.exe",
		"\u2066x\u2069":                   "‹U+2066›x‹U+2069›",
		"pay\u200bpal":                    "pay‹U+200B›pal",
		"\ufeffx":                         "‹U+FEFF›x",
		"a\u00a0b\u3000c":                 "a b c",
		"a\u2028b\u2029c\u0085d":          "a‹U+2028›b‹U+2029›c‹U+0085›d",
		"a\xffb\xc3(":                     "a‹0xFF›b‹0xC3›(",
		"\u3164\u2800\u115f":              "‹U+3164›‹U+2800›‹U+115F›",
		"x\ufe0f":                         "x‹U+FE0F›",
		"\U000e0041":                      "‹U+E0041›",
		"\ue000":                          "‹U+E000›",
		"e\u0301\u0301\u0301\u0301":       "e\u0301\u0301\u0301\u0301",
		"e" + strings.Repeat("\u0301", 6): "e\u0301\u0301\u0301\u0301‹U+0301›‹U+0301›",
	} {
		if got := Text(in).String(); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		in   Text
		n    int
		want string
	}{
		{"abcdef", 6, "abcdef"},
		{"abcdefg", 6, "abcde…"},
		{"äöüß", 3, "äö…"},
		{"ab\x00cd", 6, "ab…"},
		{"abc", 0, "…"},
		{"a", 1, "a"},
		{"\x00\x00", 3, "…"},
	} {
		if got := c.in.Cut(c.n); got != c.want {
			t.Errorf("%q cut to %d: got %q, want %q", c.in, c.n, got, c.want)
		}
	}
	if n := utf8.RuneCountInString(Text(strings.Repeat("x", 1<<20)).String()); n != MaxRunes {
		t.Errorf("got %d runes, want %d", n, MaxRunes)
	}
}

func TestDomain(t *testing.T) {
	for in, want := range map[Text]string{
		"partner.example":                   "partner.example",
		"xn--bcher-kva.example":             "bücher.example (xn--bcher-kva.example)",
		"XN--BCHER-KVA.example":             "bücher.example (XN--BCHER-KVA.example)",
		"xn--\u202e.example":                "xn--‹U+202E›.example",
		"xn--a.example":                     "xn--a.example",
		"<b>xn--.example":                   "<b>xn--.example",
		Text(strings.Repeat("xn--a.", 100)): Text(strings.Repeat("xn--a.", 100)).Cut(80),
	} {
		if got := Domain(in, 80); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestPrintsSafely(t *testing.T) {
	bad := Text("<b>\u202e")
	const want = "<b>‹U+202E›"
	if got := fmt.Sprintf("%s|%v", bad, bad); got != want+"|"+want {
		t.Errorf("got %q, want it safe twice", got)
	}
	var b strings.Builder
	if err := template.Must(template.New("").Parse(`<p title="{{.}}">{{.}}`)).Execute(&b, bad); err != nil {
		t.Fatal(err)
	}
	if got, want := b.String(), `<p title="&lt;b&gt;‹U&#43;202E›">&lt;b&gt;‹U&#43;202E›`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "a\x00b", "\u202e", "xn--bcher-kva.example", "\xff\xfe", "e\u0301\u0301\u0301\u0301\u0301"} {
		f.Add(s, 10)
	}
	f.Fuzz(func(t *testing.T, s string, n int) {
		for _, got := range []string{Text(s).Cut(n), Domain(Text(s), n)} {
			if !utf8.ValidString(got) {
				t.Errorf("%q: got %q, which is not UTF-8", s, got)
			}
			if c := utf8.RuneCountInString(got); c > max(n, 1) {
				t.Errorf("%q: got %d runes, want at most %d", s, c, n)
			}
			for _, r := range got {
				if unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) {
					t.Errorf("%q: got the invisible %U in %q", s, r, got)
				}
			}
			if again := Text(got).Cut(len(got) + 1); again != got {
				t.Errorf("%q: got %q, which is not stable: %q", s, got, again)
			}
		}
	})
}
