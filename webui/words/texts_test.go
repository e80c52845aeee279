package words

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"gatepost/webui/foreign"
)

// technicalText reports whether a text may use a mail expert's words, because
// it stands inside the technical details.
func technicalText(key string) bool {
	return strings.HasPrefix(key, "tech.") || key == "claim.fingerprint"
}

// sample fills every parameter that a text can have.
func sample(n int, long bool) values {
	name, domain := foreign.Text("anna@partner.example"), host("partner.example")
	if long {
		name, domain = foreign.Text(strings.Repeat("x", 500)), host(strings.Repeat("long.", 50)+"example")
	}
	vals := values{
		"domain": domain, "mx": domain, "to": name, "user": name, "client": foreign.Text("192.168.1.20"), "who": foreign.Text("Anna"), "name": "Anna",
		"owner": "you", "version": foreign.Text("1.2.3"), "zone": "UTC", "what": "it",
	}
	for _, key := range []string{"count", "total", "seconds", "minutes", "number", "page", "pages", "percent", "verified", "encrypted", "clear"} {
		vals[key] = n
	}
	for _, key := range []string{"since", "when", "next", "deadline", "in", "out", "oldest", "started"} {
		vals[key] = now.Add(-30 * time.Hour)
	}
	return vals
}

// TestTextsAreFitToRead: every text outside the technical details is short,
// whole, and free of words that only mail experts know.
func TestTextsAreFitToRead(t *testing.T) {
	for _, lang := range Languages() {
		v := voice(t, lang)
		for key, m := range v.Book.texts {
			for _, vals := range []values{sample(1, false), sample(2000, false), sample(3, true)} {
				if !m.complete(vals) {
					t.Errorf("%s %s: parameters %v are not known to this test", lang, key, m.names())
					break
				}
				text := v.fill(m, vals)
				s, own := text.String(), ""
				for _, p := range text {
					if !p.Foreign {
						own += p.Text
					}
				}
				if strings.TrimSpace(s) != s || s == "" || strings.ContainsAny(s, "{}#") || strings.Contains(s, "  ") {
					t.Errorf("%s %s: got %q", lang, key, s)
				}
				if n := utf8.RuneCountInString(s); n > MaxSentence && vals["count"] != 3 || n > 2*MaxSentence {
					t.Errorf("%s %s: got %d characters: %s", lang, key, n, s)
				}
				if f := forbidden.FindString(own); f != "" && !technicalText(key) {
					t.Errorf("%s %s: the term %q is not for this page: %s", lang, key, f, s)
				}
			}
		}
	}
}

// TestEveryReasonCanBeTold: what held, delayed or returned mail once can be told
// afterwards, and says nothing of a future that is over.
func TestEveryReasonCanBeTold(t *testing.T) {
	future := regexp.MustCompile(`(?i)we keep trying|next try|wir versuchen es weiter|nächster versuch`)
	for _, lang := range Languages() {
		v := voice(t, lang)
		for id, r := range v.Book.reasons {
			if len(r.sentences[Note]) > 0 {
				continue
			}
			if len(r.sentences[Past]) == 0 {
				t.Errorf("%s %s: no words for afterwards", lang, id)
			}
			for _, m := range r.sentences[Past] {
				if s := v.fill(m, Params{}.values(v)).String(); future.MatchString(s) {
					t.Errorf("%s %s: %s", lang, id, s)
				}
			}
		}
	}
}

// maxGrade is the school year whose pupils can read a text (webui.md 3.4).
const maxGrade = 9

// grade is the Flesch-Kincaid grade of English sentences. What a stranger wrote
// and times count as one short word each.
func grade(text Text) float64 {
	var b strings.Builder
	for _, p := range text {
		if p.Foreign || !p.Time.IsZero() {
			b.WriteString("it")
			continue
		}
		b.WriteString(p.Text)
	}
	s := b.String()
	sentences := max(1, len(regexp.MustCompile(`[.?!:](\s|$)`).FindAllString(s, -1)))
	words := strings.FieldsFunc(s, func(r rune) bool { return !unicode.IsLetter(r) && r != '\'' })
	syllables := 0
	for _, w := range words {
		syllables += syllablesOf(w)
	}
	if len(words) == 0 {
		return 0
	}
	n := float64(len(words))
	return 0.39*n/float64(sentences) + 11.8*float64(syllables)/n - 15.59
}

var vowels = regexp.MustCompile(`[aeiouy]+`)

func syllablesOf(word string) int {
	w := strings.ToLower(word)
	n := len(vowels.FindAllString(w, -1))
	for _, silent := range []string{"e", "es", "ed"} {
		if n > 1 && strings.HasSuffix(w, silent) && !strings.HasSuffix(w, "le") && !regexp.MustCompile(`(t|d)ed$|(s|x|z|c|g|ch|sh)es$`).MatchString(w) {
			n--
			break
		}
	}
	return max(n, 1)
}

func TestSyllables(t *testing.T) {
	for word, want := range map[string]int{
		"mail": 1, "message": 2, "certificate": 4, "encrypted": 3, "asked": 1, "table": 2, "the": 1, "undone": 2, "notice": 2, "servers": 2, "authority": 4, "somebody": 4,
	} {
		if got := syllablesOf(word); got != want {
			t.Errorf("%s: got %d, want %d", word, got, want)
		}
	}
}

// TestGrade: the English sentences can be read after nine years of school. A
// label or a short line has too few words for the measure.
func TestGrade(t *testing.T) {
	const fewWords = 10
	v := voice(t, "en")
	check := func(where string, text Text) {
		if len(strings.Fields(text.String())) < fewWords {
			return
		}
		if g := grade(text); g > maxGrade {
			t.Errorf("%s: grade %.1f, want at most %d: %s", where, g, maxGrade, text)
		}
	}
	for key, m := range v.Book.texts {
		if !technicalText(key) && key != "home.protected-counts" { // which is a list of figures
			check(key, v.fill(m, sample(3, false)))
		}
	}
	full := paramSets()
	slices.Reverse(full)
	for _, id := range v.Book.ReasonIDs() {
		for _, outcome := range []string{Held, Waiting, Returned, Past, Note} {
			e := v.Reason(id, outcome, full[1])
			check(id+" "+outcome, e.Sentence)
			check(id+" next", e.Next)
		}
	}
	for _, id := range v.Book.ProblemIDs() {
		p := v.Problem(id, map[string]string{"count": "3", "percent": "88", "domain": "partner.example", "since": "2026-11-24T08:00:00Z"})
		check(id, p.Sentence)
		check(id+" happens", p.Happens)
		check(id+" do", p.Do)
	}
}
