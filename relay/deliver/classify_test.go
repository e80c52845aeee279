package deliver

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gatepost/relay/verdict"
)

// knownReply is a line of testdata/replies.tsv.
type knownReply struct {
	code int
	text string
	want verdict.Reason
}

// readReplies reads refusals in the forms that mail servers use, and what is
// behind each.
func readReplies(t *testing.T) []knownReply {
	t.Helper()
	data, err := os.ReadFile("testdata/replies.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var out []knownReply
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' && !strings.Contains(line, "\t") {
			continue
		}
		fields := strings.Split(line, "\t")
		if len(fields) != 3 {
			t.Fatalf("got %q, want code, reason and text", line)
		}
		code, err := strconv.Atoi(fields[0])
		if err != nil || !slices.Contains(verdict.All(), verdict.Reason(fields[1])) {
			t.Fatalf("got %q, want a code and a reason that there is", line)
		}
		out = append(out, knownReply{code, fields[2], verdict.Reason(fields[1])})
	}
	return out
}

func TestClassify(t *testing.T) {
	unknown := 0
	replies := readReplies(t)
	for _, c := range replies {
		enhanced, text := "", c.text
		if code, rest, ok := strings.Cut(c.text, " "); ok && len(code) >= 5 && code[1] == '.' && strings.Trim(code, "0123456789.") == "" {
			enhanced, text = code, rest
		}
		got := classify(c.code, enhanced, text)
		if got != c.want {
			t.Errorf("%d %s\ngot %s, want %s", c.code, c.text, got, c.want)
		}
		if got == verdict.Unknown {
			unknown++
		}
		if c.code/100 == 5 && got == verdict.Unknown || c.code/100 == 4 && got == verdict.Refused {
			t.Errorf("%d %s: %s does not go with the code", c.code, c.text, got)
		}
	}
	if len(replies) < 300 || unknown*20 > len(replies) {
		t.Errorf("%d of %d replies are unknown, want at most one of 20 of at least 300", unknown, len(replies))
	}
	t.Logf("%d replies, %d of them unknown", len(replies), unknown)
}

// Words within words, and codes that nobody knows.
func TestClassifyOddities(t *testing.T) {
	for _, c := range []struct {
		code     int
		enhanced string
		text     string
		want     verdict.Reason
	}{
		{554, "5.7.1", "listed in zen (SBL)", verdict.BlockedByList},
		{554, "5.7.1", "The request was garbled and absorbs no terrible words", verdict.Refused},
		{599, "", "", verdict.Refused},
		{499, "", "", verdict.Unknown},
		{550, "5", "", verdict.Refused},
		{550, "", strings.Repeat("x", 2000), verdict.Refused},
	} {
		if got := classify(c.code, c.enhanced, c.text); got != c.want {
			t.Errorf("%d %s %q: got %s, want %s", c.code, c.enhanced, c.text, got, c.want)
		}
	}
}
