package mtasts

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestInteropTable: the table in docs/mtasts.md is what the fixtures in
// testdata/interop give. When it fails it prints the table that is wanted.
func TestInteropTable(t *testing.T) {
	text, err := os.ReadFile("../docs/mtasts.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/interop/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %v, %v", files, err)
	}
	ca := newAuthority(t, "Test CA")
	var b strings.Builder
	b.WriteString("| fixture | policy | MX hosts | certificate for the host | certificate for another name | no STARTTLS |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- |\n")
	for _, file := range files {
		fixture := strings.TrimSuffix(filepath.Base(file), ".txt")
		for _, v := range readVectors(t, file) {
			p, err := ParsePolicy([]byte(unquoted(t, v.values["body"]...)))
			if err != nil {
				t.Fatal(err)
			}
			policy := fmt.Sprintf("%s, %d s", p.Mode, int64(p.MaxAge/time.Second))
			if p.Clamped {
				policy += " (cut)"
			}
			for _, mx := range p.MX {
				policy += "<br>" + code(mx)
			}
			for _, kind := range []string{"match", "none"} {
				hosts := strings.Fields(v.values[kind][0])
				if len(hosts) == 0 {
					continue
				}
				label := map[string]string{"match": "right: ", "none": "wrong: "}[kind]
				var names []string
				for _, host := range hosts {
					names = append(names, code(host))
				}
				fmt.Fprintf(&b, "| %s | %s | %s%s |", fixture, policy, label, strings.Join(names, "<br>"))
				for _, certificate := range []string{"own", "other", "none"} {
					fmt.Fprintf(&b, " %s |", shown(t, ca, p, hosts, certificate))
				}
				b.WriteString("\n")
			}
		}
	}
	if !strings.Contains(string(text), "\n"+b.String()) {
		t.Errorf("docs/mtasts.md does not have this table:\n%s", &b)
	}
}

// shown gives the verdict on hosts that show the same kind of certificate; it
// must be one for all of them.
func shown(t *testing.T, ca *authority, p Policy, hosts []string, certificate string) string {
	t.Helper()
	all := ""
	for _, host := range hosts {
		state := TLSState{STARTTLS: certificate != "none"}
		switch certificate {
		case "own":
			state.Connection = stateOf(t, ca, host)
		case "other":
			state.Connection = stateOf(t, ca, "mx.attacker.example")
		}
		v := Judge(p, host, state, ca.pool, time.Now())
		verdict := "mail goes"
		switch {
		case v.OK && p.Mode == None:
			verdict += ", nothing is asked"
		case v.Deliver && !v.OK:
			verdict += ", report " + code(v.Result)
		case !v.Deliver:
			verdict = "**held**, " + code(v.Reason)
		}
		if all != "" && all != verdict {
			t.Errorf("%s: got %s, the hosts before it %s", host, verdict, all)
		}
		all = verdict
	}
	return all
}

func stateOf(t *testing.T, ca *authority, name string) *tls.ConnectionState {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return state(t, tls.VersionTLS13, ca.issue([]string{name}, nil))
}

func code(s string) string { return "`" + s + "`" }
