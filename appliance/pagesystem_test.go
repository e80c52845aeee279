package appliance

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/appliance/config"
	"gatepost/appliance/control"
	"gatepost/board/button"
	"gatepost/webui"
)

// systemOf is the page's way to a PID 1 over a real socket.
func systemOf(t *testing.T, p *initProcess) pageSystem {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	me := []uint32{uint32(os.Getuid())}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- (&control.Server{Hub: control.NewHub(control.Box{}), UIDs: me, Act: p.act, ActUIDs: me}).Run(ctx, l)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return pageSystem{control.NewClient(path)}
}

// The whole way from the page to the disk: what is shown, checked, tried,
// confirmed, saved and asked for.
func TestPageAsksPID1(t *testing.T) {
	s := newTried(t, map[string]string{configName: rightConfig + "[smart_host]\nserver = \"a.example\"\nuser = \"u\"\npassword = \"kettle\"\n"})
	p := newInitProcess(InitOptions{Version: "1.2.3"})
	p.data, p.system = s.data, s.system
	p.setInForce(s.inForce())
	page := systemOf(t, p)
	ctx, anna := t.Context(), webui.Person{Name: "Anna", From: "192.168.1.14"}

	now, err := page.Settings(ctx)
	if err != nil || strings.Contains(now.Text, "kettle") || now.Use != "file" || now.Hash != config.Hash(p.current()) || now.Trial != nil {
		t.Fatalf("got %+v, %v", now, err)
	}
	next := strings.Replace(now.Text, "gate.office", "new.office", 1)
	plan, err := page.Check(ctx, next)
	if err != nil || len(plan.Changes) != 1 || !plan.Changes[0].NeedsProof || p.current().Hostname != "gate.office.example" {
		t.Errorf("check: got %+v, %v", plan, err)
	}
	_, err = page.Check(ctx, next+"bogus = 1\n")
	var no *webui.SystemError
	if !errors.As(err, &no) || no.Code != webui.SystemInvalid || len(no.Faults) != 1 || no.Faults[0].Line == 0 {
		t.Errorf("faults: got %+v", err)
	}
	plan, err = page.Try(ctx, next, time.Minute, anna)
	if err != nil || plan.Trial == nil || plan.Trial.Left != time.Minute || p.current().Hostname != "new.office.example" {
		t.Fatalf("try: got %+v, %v", plan, err)
	}
	if err := page.Confirm(ctx, "x", anna); !errors.As(err, &no) || no.Code != webui.SystemNoTrial {
		t.Errorf("another trial: got %v", err)
	}
	if err := page.Revert(ctx, "x", anna); !errors.As(err, &no) || no.Code != webui.SystemNoTrial {
		t.Errorf("another trial: got %v", err)
	}
	if err := page.Confirm(ctx, plan.Trial.ID, anna); err != nil {
		t.Error(err)
	}
	if text := s.file(configName); !strings.Contains(text, "new.office.example") || !strings.Contains(text, `"kettle"`) {
		t.Errorf("the file: got %q", text)
	}
	const words = "four quiet herons"
	file, err := page.Backup(ctx, words, anna)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := page.Restore(ctx, file, words+"s", anna); !errors.As(err, &no) || no.Code != webui.SystemPassphrase {
		t.Errorf("wrong words: got %v", err)
	}
	if err := page.End(ctx, webui.EndEraseData, anna); !errors.As(err, &no) {
		t.Errorf("erase: got %v", err)
	}
	info, err := page.Restore(ctx, file, words, anna)
	if err != nil || info.Box != "new.office.example" || info.Version != "1.2.3" {
		t.Errorf("restore: got %+v, %v", info, err)
	}
	if end := <-p.ends; end.String() != "restart" {
		t.Errorf("after a restore: got %v, want a restart", end)
	}
	if err := page.End(ctx, webui.EndPowerOff, anna); err != nil || (<-p.ends).String() != "power off" {
		t.Errorf("power off: got %v", err)
	}
	var lines []string
	for _, l := range p.journal.Lines(0) {
		lines = append(lines, l.Text)
	}
	log := strings.Join(lines, "\n")
	for _, want := range []string{"act: settings-try by Anna at 192.168.1.14", `hostname: "new.office.example" in place of "gate.office.example"`, "act: power-off by Anna"} {
		if !strings.Contains(log, want) {
			t.Errorf("the journal has no %q:\n%s", want, log)
		}
	}
	if strings.Contains(log, "kettle") || strings.Contains(log, words) {
		t.Error("a secret is in the journal")
	}
}

// The button of the box does what the page does, without the page.
func TestButtonResets(t *testing.T) {
	for want, act := range map[string]button.Act{
		control.OpRecoveryReset: button.Password,
		control.OpFactoryReset:  button.Reset,
	} {
		s := newTried(t, map[string]string{configName: rightConfig})
		p := newInitProcess(InitOptions{})
		p.state.init()
		p.pressed(act)
		if len(p.ends) > 0 || p.lights.refresh(time.Now()).Find {
			t.Errorf("%s without a disk is accepted", want)
		}
		p.data, p.system = s.data, s.system
		p.pressed(act)
		if end := (<-p.ends).String(); end != "restart" {
			t.Errorf("%s: got %s, want a restart", want, end)
		}
		if left := s.file("system/" + jobName); !strings.Contains(left, want) || !strings.Contains(left, "the reset button") {
			t.Errorf("got the job %q, want %s by the button", left, want)
		}
		if !p.lights.refresh(time.Now()).Find {
			t.Error("the lights do not answer the press")
		}
		lines := p.journal.Lines(0)
		if len(lines) == 0 || !strings.Contains(lines[0].Text, "there is no data disk") {
			t.Errorf("%s without a disk: got %v", want, lines)
		}
	}
}

// Two seconds open the page for a minute, and each press counts anew.
func TestButtonOpensThePage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newInitProcess(InitOptions{})
		p.state.init()
		want := func(n int) {
			t.Helper()
			if got := p.state.snapshot().Press; got != n {
				t.Errorf("got press %d, want %d", got, n)
			}
		}
		want(0)
		p.pressed(button.Short)
		want(0)
		p.pressed(button.Claim)
		want(1)
		time.Sleep(claimFor - time.Second)
		p.pressed(button.Claim)
		want(2)
		time.Sleep(claimFor - time.Second)
		want(2) // the first one's minute does not end the second's
		time.Sleep(2 * time.Second)
		want(0)
	})
}
