package address

import (
	"errors"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	good := []string{
		"a@b.example", "a.b.c@b.example", "user+tag@b.example", "o'brien@b.example", "!#$%&'*+-/=?^_`{|}~@b.example", "A@B.Example",
		"a@localhost", "a@[192.0.2.1]", "a@[IPv6:2001:db8::1]", "a@[ipv6:::1]", "user%other.example@b.example", "0@1.2",
		strings.Repeat("a", 64) + "@b.example", "a@" + strings.Repeat("b", 63) + ".example", "a@xn--mnchen-3ya.example",
	}
	for _, a := range good {
		if err := Check(a, false); err != nil {
			t.Errorf("%q: got %v, want none", a, err)
		}
	}
	bad := []string{
		"", "a", "@", "a@", "@b.example", ".a@b.example", "a.@b.example", "a..b@b.example", "a@b..example", "a@.b", "a@b.", "a@-b.example", "a@b-.example",
		"a b@c.example", "a\tb@c.example", "a\r\nb@c.example", "a@b\r.example", "a\x00@b.example", "a\x7f@b.example", "a@b_c.example", "a@b c.example",
		`"a"@b.example`, `"a b"@b.example`, "a>@b.example", "<a@b.example>", "a,b@c.example", "a:b@c.example", "@x:a@b.example", "a@b@c.example>", "a(x)@b.example",
		"a@[192.0.2.1", "a@192.0.2.1]", "a@[192.0.2.256]", "a@[2001:db8::1]", "a@[IPv6:192.0.2.1]", "a@[IPv6:fe80::1%eth0]", "a@[]", "a@[x]", "a@[192.0.2.1]x",
		strings.Repeat("a", 65) + "@b.example", "a@" + strings.Repeat("b", 64) + ".example", "a@" + strings.Repeat("b.", 140) + "example",
		"victim@other.example> NOTIFY=NEVER X@allowed.example", "a\xff@b.example", "a@b\xc3.example", "a\u0085@b.example", "a\u2028b@b.example", "a\u202eb@b.example",
		"a\u00a0b@c.example", "a@b\u3002c", "a@\u200b.example",
	}
	for _, a := range bad {
		if err := Check(a, true); err == nil {
			t.Errorf("%q: got no error", a)
		} else if errors.Is(err, ErrNeedsUTF8) {
			t.Errorf("%q: got ErrNeedsUTF8, want a syntax error", a)
		}
	}
	for _, a := range []string{"jürgen@b.example", "a@bücher.example", "用户@例子.example", "अजय@डाटा.example"} {
		if err := Check(a, true); err != nil {
			t.Errorf("%q: got %v, want none with SMTPUTF8", a, err)
		}
		if err := Check(a, false); !errors.Is(err, ErrNeedsUTF8) {
			t.Errorf("%q: got %v, want ErrNeedsUTF8", a, err)
		}
	}
}

// FuzzCheck: whatever passes can be put between angle brackets without
// changing what the line means.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{"a@b.example", "a@[192.0.2.1]", "a b@c", "a@b@c", `"x"@y`, "ü@ü.example", "victim@other.example> X@allowed.example", "a\r\n@b", "@x:a@b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if Check(s, true) != nil {
			return
		}
		if strings.ContainsAny(s, "<>\"\\(),;: \t\r\n\x00\x7f") && !strings.Contains(s, "@[") {
			t.Errorf("accepted %q", s)
		}
		if strings.ContainsAny(s, "<>\" \t\r\n\x00") || len(s) > MaxTotal || strings.Count(s, "@") != 1 {
			t.Errorf("accepted %q", s)
		}
		if Check(s, false) == nil && !IsASCII(s) {
			t.Errorf("accepted %q as ASCII", s)
		}
	})
}
