package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/mtasts"
)

// call runs a command as main does.
func call(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(env{t.Context(), strings.NewReader(stdin), &out, &errs}, args)
	return code, out.String(), errs.String()
}

func TestCommands(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "policy.txt")
	good := "version: STSv1\nmode: enforce\nmx: a.example\nmx: *.b.example\nmax_age: 99999999\nnote: <x>\n"
	if err := os.WriteFile(file, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args   string // separated by "|"
		stdin  string
		code   int
		stdout string // a prefix
	}{
		{"record|v=STSv1; id=abc;", "", 0, `{"id":"abc"}` + "\n"},
		{"record|v=spf1 -all|v=STSv1; id=abc; x=y;", "", 0, `{"id":"abc","extensions":{"x":"y"}}` + "\n"},
		{"record", "", 1, `{"error":"no-record","detail":"`},
		{"record|hello", "", 1, `{"error":"no-record","detail":"`},
		{"record|v=STSv1; id=1;|v=STSv1; id=2;", "", 1, `{"error":"multiple-records","detail":"`},
		{"record|v=STSv1; id=a-b;", "", 1, `{"error":"record-syntax","detail":"`},
		{"policy|" + file, "", 0, `{"version":"STSv1","mode":"enforce","mx":["a.example","*.b.example"],"max_age":31557600,"max_age_clamped":true,"extensions":{"note":"<x>"}}` + "\n"},
		{"policy|-", "version: STSv1\nmode: none\nmax_age: 0\n", 0, `{"version":"STSv1","mode":"none","mx":[],"max_age":0}` + "\n"},
		{"policy|-", "version: STSv1\nmode: none\nmax_age: -1\n", 1, `{"error":"policy-syntax","detail":"line 3: `},
		{"policy|-", "", 1, `{"error":"policy-syntax","detail":"line 1: empty line"}` + "\n"},
		{"policy|-", good + "long: " + strings.Repeat("a", 70000), 1, `{"error":"policy-syntax","detail":"longer than 65536 bytes"}` + "\n"},
		{"policy|" + filepath.Join(dir, "absent"), "", 2, ""},
		{"policy", "", 2, ""},
		{"match|mx.b.example|a.example|*.b.example", "", 0, `{"match":true,"pattern":"*.b.example"}` + "\n"},
		{"match|b.example|a.example|*.b.example", "", 1, `{"match":false}` + "\n"},
		{"match|192.0.2.1|192.0.2.1", "", 1, `{"match":false}` + "\n"},
		{"match|mx.b.example|*.b.example|*.*.b.example", "", 2, `{"error":"invalid-pattern","detail":"`},
		{"match|mx.b.example", "", 2, ""},
		{"", "", 2, ""},
		{"unknown", "", 2, ""},
		{"check", "", 2, ""},
		{"check|a.example|b.example", "", 2, ""},
		{"check|a..b", "", 2, ""},
		{"check|a.example|-map|x", "", 2, ""},
		{"check|a.example|-roots|" + file, "", 2, ""},
		{"check|a.example|-roots|" + filepath.Join(dir, "absent"), "", 2, ""},
		{"serve", "", 2, ""},
		{"serve|-x", "", 2, ""},
		{"check|-x", "", 2, ""},
		{"check|a.example|-map", "", 2, ""},
		{"check|a.example|-map|mx.a.example:25=mx.b.example:25", "", 2, ""},
		{"serve|-policy|" + file + "|-domain|a.example|extra", "", 2, ""},
		{"serve|-policy|" + file + "|-domain|a.example|-cert|" + file, "", 2, ""},
		{"serve|-policy|" + file, "", 2, ""},
		{"serve|-policy|-|-domain|a.example", "hello", 1, `{"error":"policy-syntax","detail":"line 1: `},
		{"serve|-policy|" + file + "|-domain|a..b", "", 2, ""},
		{"serve|-policy|" + filepath.Join(dir, "absent") + "|-domain|a.example", "", 2, ""},
		{"serve|-policy|" + file + "|-domain|a.example|-cert|x|-key|y", "", 2, ""},
		{"serve|-policy|" + file + "|-domain|a.example|-listen|256.0.0.1:1", "", 2, ""},
	} {
		var args []string
		if test.args != "" {
			args = strings.Split(test.args, "|")
		}
		code, stdout, stderr := call(t, test.stdin, args...)
		exact := strings.HasSuffix(test.stdout, "\n") || test.stdout == ""
		if code != test.code || exact && stdout != test.stdout || !strings.HasPrefix(stdout, test.stdout) {
			t.Errorf("%s: got %d, %q (%s), want %d, %q", test.args, code, stdout, stderr, test.code, test.stdout)
		}
		if stdout != "" && !json.Valid([]byte(stdout)) {
			t.Errorf("%s: %q is no JSON", test.args, stdout)
		}
		if (stdout == "") != (stderr != "") {
			t.Errorf("%s: got %q and %q, want one of them", test.args, stdout, stderr)
		}
	}
}

// world is a domain with its policy host, its MX host and its DNS.
type world struct {
	t     *testing.T
	roots string // file
	serve string // address of the policy host
	mx    string // address of the MX host
	dns   *dnsServer

	mu  sync.Mutex
	ehl string // extensions of the MX host
	sni string // the name that its last client asked for
}

func newWorld(t *testing.T, policy string) *world {
	dir := t.TempDir()
	w := &world{t: t, roots: filepath.Join(dir, "roots.pem"), ehl: "STARTTLS"}
	ctx, cancel := context.WithCancel(t.Context())
	file := filepath.Join(dir, "policy.txt")
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	out, in := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- run(env{ctx, nil, in, os.Stderr}, []string{
			"serve", "-policy", file, "-domain", "good.example",
			"-listen", "127.0.0.1:0", "-write-root", w.roots,
		})
		in.Close()
	}()
	var ready struct{ Domain, Listen, Record string }
	if err := json.NewDecoder(out).Decode(&ready); err != nil {
		t.Fatal(err)
	}
	w.serve = ready.Listen
	w.dns = newDNS(t)
	w.dns.set("_mta-sts.good.example. TXT", ready.Record)
	w.dns.set("good.example. MX", "mx.good.example.")
	w.mx = w.startMX()
	t.Cleanup(func() {
		cancel()
		if code := <-done; code != 0 {
			t.Errorf("serve: got exit code %d", code)
		}
	})
	return w
}

// startMX runs an MX host whose certificate joins the trusted roots.
func (w *world) startMX() string {
	cert, err := selfSigned("mx.good.example")
	if err != nil {
		w.t.Fatal(err)
	}
	f, err := os.OpenFile(w.roots, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	if err := writeCertificate(f, cert); err != nil {
		w.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go w.session(c, cert)
		}
	}()
	return l.Addr().String()
}

// extension sets what the MX host offers; "refuse" and "starttls" make it
// misbehave.
func (w *world) extension(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ehl = name
}

func (w *world) session(c net.Conn, cert tls.Certificate) {
	defer c.Close()
	w.mu.Lock()
	ext := w.ehl
	w.mu.Unlock()
	fmt.Fprint(c, "220-mx.good.example\r\n220 ready\r\n")
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		switch verb, _, _ := strings.Cut(lines.Text(), " "); verb {
		case "EHLO":
			if ext == "refuse" {
				fmt.Fprint(c, "500 no\r\n")
				return
			}
			fmt.Fprintf(c, "250-mx.good.example\r\n250-SIZE\r\n250 %s\r\n", ext)
		case "STARTTLS":
			fmt.Fprint(c, "220 go\r\n")
			if ext == "starttls" {
				fmt.Fprint(c, "250 injected\r\n")
			}
			_ = tls.Server(c, &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.sni = hello.ServerName
				return &cert, nil
			}}).Handshake()
			return
		}
	}
}

func (w *world) check(more ...string) (int, report, string) {
	w.t.Helper()
	args := append([]string{
		"check", "-resolver", w.dns.addr, "good.example", "-roots", w.roots, "-helo", "client.example",
		"-map", "mta-sts.good.example:443=" + w.serve, "-map", "MX.good.example:25=" + w.mx,
	}, more...)
	code, text, stderr := call(w.t, "", args...)
	code2, out, _ := call(w.t, "", append(args, "-json")...)
	var r report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code2 != code || stderr != "" {
		w.t.Errorf("got %q, %v, codes %d and %d, %s", out, err, code, code2, stderr)
	}
	begin := map[string]string{protected: "protected: ", notSafe: "not protected", broken: "broken: ", unknown: "could not tell: "}
	if !strings.HasPrefix(r.Sentence, begin[r.Verdict]) {
		w.t.Errorf("verdict %s: got the sentence %q", r.Verdict, r.Sentence)
	}
	if r.PolicyHost != nil && r.PolicyHost.Addr != "" && r.PolicyHost.Addr != w.serve {
		w.t.Errorf("the policy host is at %s, got %s", w.serve, r.PolicyHost.Addr)
	}
	if r.Trouble != nil && strings.HasPrefix(r.Trouble.Detail, strings.ReplaceAll(r.Trouble.Error, "-", " ")) {
		w.t.Errorf("%s: the detail says it again: %s", r.Trouble.Error, r.Trouble.Detail)
	}
	if !strings.HasPrefix(text, "good.example: "+r.Sentence+"\n") {
		w.t.Errorf("got %q, want the sentence %q first", text, r.Sentence)
	}
	return code, r, text
}

const enforced = "version: STSv1\nmode: enforce\nmx: mx.good.example\nmax_age: 86400\n"

// TestCheck runs check against a small world on loopback.
func TestCheck(t *testing.T) {
	for _, test := range []struct {
		name    string
		policy  string
		change  func(w *world)
		code    int
		verdict string
		trouble string // or the reason of the first MX host
	}{
		{"protected", enforced, nil, 0, protected, ""},
		{"testing", strings.Replace(enforced, "enforce", "testing", 1), nil, 1, notSafe, ""},
		{"none", strings.Replace(enforced, "enforce", "none", 1), nil, 1, notSafe, ""},
		{"no record", enforced, func(w *world) { w.dns.set("_mta-sts.good.example. TXT") }, 1, notSafe, "no-record"},
		{"two records", enforced, func(w *world) { w.dns.set("_mta-sts.good.example. TXT", "v=STSv1; id=1;", "v=STSv1; id=2;") }, 1, broken, "multiple-records"},
		{"malformed record", enforced, func(w *world) { w.dns.set("_mta-sts.good.example. TXT", "v=STSv1;") }, 1, broken, "record-syntax"},
		{"DNS fails", enforced, func(w *world) { w.dns.fail("_mta-sts.good.example. TXT") }, 2, unknown, "dns-broken"},
		{"MX unknown", enforced, func(w *world) { w.dns.fail("good.example. MX") }, 2, unknown, "dns-broken"},
		{"null MX", enforced, func(w *world) { w.dns.set("good.example. MX", ".") }, 1, notSafe, ""},
		{"MX not listed", enforced, func(w *world) { w.dns.set("good.example. MX", "other.good.example.") }, 1, broken, "sts-mx-not-listed"},
		{"no MX", enforced, func(w *world) { w.dns.set("good.example. MX") }, 1, broken, "sts-mx-not-listed"},
		{"no STARTTLS", enforced, func(w *world) { w.extension("PIPELINING") }, 1, broken, "starttls-not-supported"},
		{"no STARTTLS, testing", strings.Replace(enforced, "enforce", "testing", 1), func(w *world) { w.extension("PIPELINING") }, 1, broken, "starttls-not-supported"},
		{"injection", enforced, func(w *world) { w.extension("starttls") }, 1, broken, "validation-failure"},
		{"MX host refuses", enforced, func(w *world) { w.extension("refuse") }, 2, unknown, "connect-failed"},
		{"MX host silent", enforced, func(w *world) { w.mx = "127.0.0.1:1" }, 2, unknown, "connect-failed"},
		{"policy host silent", enforced, func(w *world) { w.serve = "127.0.0.1:1" }, 1, broken, "sts-policy-fetch-error"},
		{"policy host with another certificate", enforced, func(w *world) {
			if err := os.Truncate(w.roots, 0); err != nil {
				w.t.Fatal(err)
			}
			w.startMX()
		}, 1, broken, "sts-webpki-invalid"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.policy)
			if test.change != nil {
				test.change(w)
			}
			code, r, text := w.check()
			trouble := ""
			if r.Trouble != nil {
				trouble = r.Trouble.Error
			} else if len(r.MX) > 0 {
				trouble = r.MX[0].Reason
			}
			if code != test.code || r.Verdict != test.verdict || trouble != test.trouble {
				t.Errorf("got %d, %s, %q, want %d, %s, %q\n%s", code, r.Verdict, trouble, test.code, test.verdict, test.trouble, text)
			}
		})
	}
}

// TestCheckSNI: the MX host is asked for by its name.
func TestCheckSNI(t *testing.T) {
	w := newWorld(t, enforced)
	if code, _, text := w.check(); code != 0 {
		t.Errorf("got %d, %s", code, text)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sni != "mx.good.example" {
		t.Errorf("got SNI %q, want mx.good.example", w.sni)
	}
}

// TestServeSNI: the policy host shows its certificate to who asks for its name
// or for none, and ends the handshake with others.
func TestServeSNI(t *testing.T) {
	w := newWorld(t, enforced)
	for _, test := range []struct {
		name string
		ok   bool
	}{
		{"mta-sts.good.example", true},
		{"", true},
		{"mx.good.example", false},
		{"good.example", false},
	} {
		conn, err := tls.Dial("tcp", w.serve, &tls.Config{ServerName: test.name, InsecureSkipVerify: true})
		if (err == nil) != test.ok {
			t.Errorf("%q: got %v, want ok %v", test.name, err, test.ok)
		}
		if err == nil {
			conn.Close()
		}
	}
	conn, err := tls.Dial("tcp", w.serve, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err == nil {
		conn.Close()
		t.Error("TLS 1.1 is accepted")
	}
}

// TestServeCertificate: a certificate for another name is refused at once.
func TestServeCertificate(t *testing.T) {
	cert, err := selfSigned("www.good.example")
	if err != nil {
		t.Fatal(err)
	}
	if leaf, err := x509.ParseCertificate(cert.Certificate[0]); err != nil || leaf.Issuer.String() == "" {
		t.Errorf("got %v, want a certificate whose issuer has a name: OpenSSL demands one", err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var pair bytes.Buffer
	if err := writeCertificate(&pair, cert); err != nil {
		t.Fatal(err)
	}
	if err := pem.Encode(&pair, &pem.Block{Type: "PRIVATE KEY", Bytes: key}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pair.pem")
	if err := os.WriteFile(file, pair.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := call(t, enforced, "serve", "-policy", "-", "-domain", "good.example", "-cert", file, "-key", file)
	if code != 2 || out != "" || !strings.Contains(errs, "not for mta-sts.good.example") {
		t.Errorf("got %d, %q, %q", code, out, errs)
	}
}

// TestHelp: help goes to the standard output, a wrong command is named, and a
// wrong flag is told once.
func TestHelp(t *testing.T) {
	for _, args := range []string{"help", "-h", "--help", "check -h", "serve -help"} {
		code, out, errs := call(t, "", strings.Fields(args)...)
		if code != 0 || !strings.HasPrefix(out, usage) || errs != "" {
			t.Errorf("%s: got %d, %q, %q", args, code, out, errs)
		}
	}
	if code, out, errs := call(t, "", "chekc", "a.example"); code != 2 || out != "" || !strings.HasPrefix(errs, "mtasts: unknown command \"chekc\"\nusage:") {
		t.Errorf("got %d, %q, %q", code, out, errs)
	}
	if _, _, errs := call(t, "", "check", "a.example", "-jsn"); errs != "mtasts: flag provided but not defined: -jsn\n" {
		t.Errorf("got %q", errs)
	}
}

// TestHostSentences: one host and several.
func TestHostSentences(t *testing.T) {
	good, bad, silent := mxView{OK: true}, mxView{Reason: mtasts.ReasonHostMismatch}, mxView{unknown: true}
	plain := mxView{Reason: mtasts.ReasonSTARTTLS}
	for _, test := range []struct {
		mode mtasts.Mode
		mx   []mxView
		want string
	}{
		{mtasts.Enforce, []mxView{good}, "protected: the policy demands TLS, and its MX host meets it."},
		{mtasts.Enforce, []mxView{good, good}, "protected: the policy demands TLS, and all of its 2 MX hosts meet it."},
		{mtasts.Enforce, []mxView{bad}, "broken: its MX host fails the policy (the certificate is for another name) and gets no mail from senders that enforce it."},
		{mtasts.Enforce, []mxView{good, bad, silent}, "broken: 1 of its 3 MX hosts fails the policy (the certificate is for another name) and gets no mail from senders that enforce it."},
		{mtasts.Enforce, []mxView{bad, plain, good}, "broken: 2 of its 3 MX hosts fail the policy and get no mail from senders that enforce it."},
		{mtasts.Enforce, []mxView{plain, plain, good}, "broken: 2 of its 3 MX hosts fail the policy (STARTTLS is not offered) and get no mail from senders that enforce it."},
		{mtasts.Testing, []mxView{bad}, "broken: its MX host fails the policy (the certificate is for another name), which has mode testing."},
		{mtasts.Testing, []mxView{bad, bad}, "broken: all of its 2 MX hosts fail the policy (the certificate is for another name), which has mode testing."},
		{mtasts.Testing, []mxView{good}, "not protected yet: its policy has mode testing."},
		{mtasts.None, []mxView{bad}, "not protected: its policy has mode none."},
		{mtasts.Enforce, []mxView{silent}, "could not tell: the policy demands TLS, but its MX host could not be asked."},
		{mtasts.Enforce, []mxView{silent, good}, "could not tell: the policy demands TLS, but 1 of its 2 MX hosts could not be asked."},
	} {
		if got := (report{MX: test.mx}).judgeHosts(mtasts.Policy{Mode: test.mode}).Sentence; got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

func TestCheckGuard(t *testing.T) {
	w := newWorld(t, enforced)
	w.dns.set("mta-sts.good.example. A", "127.0.0.1")
	code, out, _ := call(t, "", "check", "good.example", "-json", "-resolver", w.dns.addr)
	if code != 1 || !strings.Contains(out, "refused") {
		t.Errorf("a policy host on loopback: got %d, %s", code, out)
	}
}

func TestServeEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var out bytes.Buffer
	code := run(env{ctx, strings.NewReader(enforced), &out, os.Stderr}, []string{"serve", "-policy", "-", "-domain", "good.example", "-listen", "127.0.0.1:0"})
	if code != 0 || !strings.Contains(out.String(), `"record":"v=STSv1; id=`) {
		t.Errorf("got %d, %s", code, &out)
	}
}
