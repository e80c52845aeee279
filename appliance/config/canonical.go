package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Change is one setting that differs between two configurations. A value that
// is not set is "".
type Change struct {
	Key string `json:"key"` // "network.address", "inbound.2.server.host"
	Old string `json:"old"`
	New string `json:"new"`
}

// NeedsProof reports whether a wrong value of this setting can take the admin
// page away from the one who changes it: such a change stays only when
// somebody confirms that the page is still there.
func (c Change) NeedsProof() bool {
	table, _, _ := strings.Cut(c.Key, ".")
	return table == "network" || table == "hostname" || table == "admin"
}

// Changes lists what differs between two configurations, in order of the keys.
// Passwords are not shown, but a changed one is listed.
func Changes(before, after Config) []Change {
	a, b := flat(before), flat(after)
	keys := slices.Collect(maps.Keys(a))
	for k := range b {
		if _, both := a[k]; !both {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	var out []Change
	for _, k := range keys {
		if a[k] != b[k] {
			out = append(out, Change{Key: k, Old: a[k].shown(), New: b[k].shown()})
		}
	}
	return out
}

// Hash is the SHA-256 in hex of the settings that differ from the built-in
// ones. Two boxes with the same hash behave the same, whatever the form and the
// comments of their files; a key that a later version adds changes no hash.
// Passwords in clear are left out, or the hash could be used to guess them:
// only whether there is one counts.
func Hash(c Config) string {
	h := sha256.New()
	for _, ch := range Changes(Default(), c) {
		fmt.Fprintf(h, "%s = %q\n", ch.Key, ch.New)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// value is one setting in a form that can be compared.
type value struct {
	text   string
	secret bool
}

func (v value) shown() string {
	if v.secret && v.text != "" {
		return hidden
	}
	return v.text
}

// flat lists every setting of c by its key.
func flat(c Config) map[string]value {
	out := map[string]value{}
	flatten(out, "", reflect.ValueOf(c))
	return out
}

func flatten(out map[string]value, path string, v reflect.Value) {
	switch x := v.Interface().(type) {
	case Secret:
		out[path] = value{text: string(x), secret: true}
		return
	case time.Duration:
		out[path] = value{text: x.String()}
		return
	case fmt.Stringer: // addresses and networks
		if !v.IsZero() {
			out[path] = value{text: x.String()}
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			flatten(out, path, v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			flatten(out, join(path, keyName(v.Type().Field(i).Name)), v.Field(i))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Struct || v.Type().Elem().Implements(reflect.TypeFor[fmt.Stringer]()) {
			words := make([]string, v.Len())
			for i := range words {
				words[i] = fmt.Sprint(v.Index(i).Interface())
			}
			out[path] = value{text: strings.Join(words, ", ")}
			return
		}
		for i := range v.Len() {
			flatten(out, fmt.Sprintf("%s.%d", path, i+1), v.Index(i))
		}
	default:
		out[path] = value{text: fmt.Sprint(v.Interface())}
	}
}

// keyName turns the name of a field into that of a key: "MaxMessage" is
// "max_message".
func keyName(field string) string {
	var b strings.Builder
	runes := []rune(field)
	for i, r := range runes {
		starts := unicode.IsUpper(r) && i > 0 &&
			(unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if starts {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
