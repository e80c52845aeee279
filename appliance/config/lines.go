package config

import "strings"

// lineIndex finds the line on which a key of a TOML file stands.
type lineIndex map[string]int

// indexLines notes the first line of each key and table of a TOML text. It
// reads only as much TOML as that needs: table heads, keys at the start of a
// line, and multi-line strings, which it skips.
func indexLines(text string) lineIndex {
	idx := lineIndex{}
	table := ""
	count := map[string]int{}
	closing := ""
	for n, line := range strings.Split(text, "\n") {
		if closing != "" {
			if strings.Contains(line, closing) {
				closing = ""
			}
			continue
		}
		s := strings.TrimSpace(line)
		switch {
		case s == "" || s[0] == '#':
		case strings.HasPrefix(s, "[["):
			name, _, _ := strings.Cut(strings.TrimPrefix(s, "[["), "]]")
			name = strings.TrimSpace(name)
			table = arrayPath(name, count[name])
			count[name]++
			idx.note(table, n+1)
			idx.note(name, n+1)
		case s[0] == '[':
			name, _, _ := strings.Cut(s[1:], "]")
			table = strings.TrimSpace(name)
			idx.note(table, n+1)
		default:
			key, value, ok := strings.Cut(s, "=")
			if !ok {
				continue
			}
			idx.note(join(table, strings.Trim(strings.TrimSpace(key), `"'`)), n+1)
			closing = openString(value)
		}
	}
	return idx
}

func (idx lineIndex) note(path string, line int) {
	if _, have := idx[path]; !have {
		idx[path] = line
	}
}

// openString returns the closing mark of a multi-line string that the value
// opens and does not close, or "".
func openString(value string) string {
	for _, mark := range []string{`"""`, `'''`} {
		if strings.Count(value, mark) == 1 {
			return mark
		}
	}
	return ""
}

func join(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}

// nearest returns the candidate that a person most likely meant, or "".
func nearest(word string, candidates []string) string {
	best, bestDist := "", 3
	for _, c := range candidates {
		if d := distance(word, c); d < bestDist {
			best, bestDist = c, d
		}
	}
	return best
}

// distance is the number of letters to change, add or drop between two words.
func distance(a, b string) int {
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range len(a) {
		cur := make([]int, len(b)+1)
		cur[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			cur[j+1] = min(prev[j]+cost, prev[j+1]+1, cur[j]+1)
		}
		prev = cur
	}
	return prev[len(b)]
}
