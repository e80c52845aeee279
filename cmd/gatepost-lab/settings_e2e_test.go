//go:build e2e

package main

import (
	"bytes"
	"context"
	"fmt"
	"html"
	"mime/multipart"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"gatepost/image/qemu"
	"gatepost/relay/lab"
)

// settings reads the text and the hash of the settings from the page.
func (o *office) settings() (text, hash, trial string) {
	o.t.Helper()
	_, body, err := o.page.raw(o.ctx, http.MethodGet, "/system", nil)
	find := func(re *regexp.Regexp) string {
		if m := re.FindStringSubmatch(string(body)); m != nil {
			return html.UnescapeString(m[1])
		}
		return ""
	}
	text, hash, trial = find(inTextarea), find(inHash), find(inTrial)
	check(o.t, err == nil && text != "" && hash != "", "the page shows the settings and their hash (%.12s, %v)", hash, err)
	return text, hash, trial
}

// at opens the page of the guest at another address.
func (o *office) at(addr string) *page {
	o.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		o.t.Fatal(err)
	}
	to := netip.AddrPortFrom(netip.MustParseAddr(addr), 443)
	o.group.Go(func() error { return o.Wire.Forward(o.rig.ctx, ln, o.host, to) })
	p, err := openPage(ln.Addr().String())
	if err != nil {
		o.t.Fatal(err)
	}
	return p
}

// restarts waits for the guest to restart itself, which ends its QEMU.
func (o *office) restarts(what string) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.ctx, stepLimit)
	defer cancel()
	end, err := o.Machine.Wait(ctx)
	check(o.t, err == nil && end.Reason == "guest-reset", "%s: the box restarts itself (%s, %v)", what, end, err)
}

// ready waits for the page of a box that was switched on.
func (o *office) ready(what string) qemu.Line {
	o.t.Helper()
	l, ok := o.console("gatepost: ready:")
	if !check(o.t, ok, "%s: the box is ready after %.1f s", what, l.At.Seconds()) {
		o.t.FailNow()
	}
	return l
}

// TestE2ESettings changes the settings of a running box, loses them, and
// gets them back: everything through the page, as a person would.
func TestE2ESettings(t *testing.T) {
	world := lab.Office()
	o := boot(t, setup{World: world})
	o.ready("first start")
	code := o.claimCode(o.ctx)
	if !o.claim() {
		t.FailNow()
	}
	text, hash, _ := o.settings()
	_, shown, _ := o.page.post(o.ctx, "/system/check", url.Values{"text": {strings.Replace(text, "[relay]", "[relais]", 1)}})
	line := strings.Count(text[:strings.Index(text, "[relay]")], "\n") + 1
	check(t, strings.Contains(shown, fmt.Sprintf(`Line %d: unknown key "relais" (did you mean "relay"?)`, line)), "wrong settings are refused with their line")

	const passphrase = "kettle-garden-violin-12"
	status, saved, err := o.page.raw(o.ctx, http.MethodPost, "/system/backup",
		url.Values{"passphrase": {passphrase}, "repeat": {passphrase}, "password": {ownerPassword}})
	check(t, err == nil && status == http.StatusOK && bytes.HasPrefix(saved, []byte("age-encryption.org/v1\n")), "a backup of %d bytes is downloaded (%d, %v)", len(saved), status, err)

	o.changeAddress(t, text)
	_, shown, err = o.page.post(o.ctx, "/system/end/factory-reset", url.Values{"password": {ownerPassword}})
	check(t, err == nil && strings.Contains(shown, "The box erases everything"), "a factory reset is asked for (%v)", err)
	o.restarts("factory reset")

	o = boot(t, setup{World: world, Disk: o.disk})
	_, ok := o.console("everything on the data disk was erased")
	check(t, ok, "the console says that everything was erased")
	o.ready("blank box")
	fresh := o.claimCode(o.ctx)
	check(t, fresh != "" && fresh != code, "the blank box shows a new claim code (%s, before %s)", fresh, code)
	o.openUnclaimed()
	o.page.post(o.ctx, "/claim", url.Values{"code": {fresh}})
	const other = "another-password-for-a-while"
	o.page.post(o.ctx, "/claim/owner", url.Values{"name": {"Bert"}, "password": {other}, "repeat": {other}})
	_, blank, _ := o.settings()
	check(t, blank != hash, "the blank box has other settings (%.12s)", blank)
	shown = o.upload(saved, map[string]string{"passphrase": passphrase, "password": other})
	check(t, strings.Contains(shown, "The backup of gatepost.office.example"), "the backup is taken: %.200s", shown)
	o.restarts("restore")

	o = boot(t, setup{World: world, Disk: o.disk})
	o.ready("restored box")
	o.openUnclaimed()
	check(t, o.page.login(o.ctx, "Anna", ownerPassword) == nil, "Anna logs in with her password of before")
	_, again, _ := o.settings()
	check(t, again == hash, "the restored box has the hash of before (%.12s, %.12s)", again, hash)
	o.page.post(o.ctx, "/system/end/power-off", url.Values{"password": {ownerPassword}})
	ctx, cancel := context.WithTimeout(o.ctx, stepLimit)
	defer cancel()
	end, err := o.Machine.Wait(ctx)
	check(t, err == nil && end.PoweredOff(), "the page switches the box off (%s, %v)", end, err)
}

// changeAddress gives the box another address: once without a word, so that it
// comes back, and once with the confirmation, at the new address.
func (o *office) changeAddress(t *testing.T, text string) {
	t.Helper()
	const there = "192.168.77.60"
	static := text + "\n[network]\nmode = \"static\"\naddress = \"" + there + "/24\"\ngateway = \"192.168.77.1\"\ndns = [\"192.168.77.1\"]\n"
	home := o.page
	try := func(n int) {
		t.Helper()
		_, shown, err := home.post(o.ctx, "/system/try", url.Values{"text": {static}, "within": {"30"}, "password": {ownerPassword}})
		check(t, err == nil && strings.Contains(shown, "Can you still see this page?"), "the change of the address waits for its confirmation (%v)", err)
		check(t, o.counts("network: up "+there, n), "the box is at %s", there)
	}
	try(1)
	l, ok := o.console("nobody confirmed the change in 30s")
	check(t, ok, "nobody confirms: the old settings are in force again (%.1f s)", l.At.Seconds())
	_, ok = o.waits("/system", "The settings as text")
	_, _, trial := o.settings()
	check(t, ok && trial == "", "the page is back at its old address, and nothing waits")

	try(2)
	o.page = o.at(there)
	check(t, o.page.login(o.ctx, "Anna", ownerPassword) == nil, "Anna logs in at the new address")
	_, _, trial = o.settings()
	_, shown, err := o.page.post(o.ctx, "/system/confirm", url.Values{"trial": {trial}})
	check(t, err == nil && strings.Contains(shown, "The new settings are kept."), "the change is confirmed at the new address (%v)", err)
}

// counts waits until the console has shown a text n times.
func (o *office) counts(text string, n int) bool {
	ctx, cancel := context.WithTimeout(o.ctx, stepLimit)
	defer cancel()
	seen := 0
	_, err := o.Machine.Await(ctx, func(line string) bool {
		if strings.Contains(line, text) {
			seen++
		}
		return seen == n
	})
	return err == nil
}

// upload restores a backup through the page's form.
func (o *office) upload(file []byte, fields map[string]string) string {
	o.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	part, err := w.CreateFormFile("file", "gatepost.age")
	if err == nil {
		_, err = part.Write(file)
	}
	for name, value := range fields {
		if err == nil {
			err = w.WriteField(name, value)
		}
	}
	if err != nil {
		o.t.Fatal(err)
	}
	w.Close()
	status, shown, err := o.page.send(o.ctx, http.MethodPost, "/system/restore", w.FormDataContentType(), &body)
	check(o.t, err == nil && status == http.StatusOK, "the form with the backup is taken (%d, %v)", status, err)
	return text(shown)
}
