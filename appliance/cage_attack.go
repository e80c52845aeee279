//go:build attack

package appliance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"gatepost/appliance/sandbox/attack"
)

// rehearse lets a role of a test's image behave as if it had been taken over,
// once before the cage is closed and once in it. Starting a program ends the
// role; the next start tries the next way, and the one after that is an
// ordinary role.
func rehearse(stage, name string, in RoleInput) {
	target := attackTarget(name, in)
	marker := filepath.Join(in.DataDir, "attack.count")
	count := 0
	if text, err := os.ReadFile(marker); err == nil {
		count = len(text)
	} else if !errors.Is(err, os.ErrNotExist) {
		fmt.Fprintln(in.Stdout, "attack marker:", err)
	}
	if count == 0 {
		attack.Run(in.Stdout, stage, append(attack.Files(target), attack.Calls(target)...))
	}
	programs := attack.Programs(target)
	if stage != "closed" || count >= len(programs) {
		return
	}
	if err := os.WriteFile(marker, make([]byte, count+1), 0o600); err != nil {
		fmt.Fprintln(in.Stdout, "attack marker:", err)
		return
	}
	fmt.Fprintf(in.Stdout, "tries %s now\n", programs[count].Name)
	fmt.Fprintf(in.Stdout, "CAME BACK from %s: %+v\n", programs[count].Name, programs[count].Do())
}

func attackTarget(name string, in RoleInput) attack.Target {
	t := attack.Target{
		Own: in.DataDir, Disk: "/dev/vda", Init: 1, Program: "/init", Read: []string{filepath.Dir(resolvConf), "/dev/null"},
		Secret: []string{"/data/config.toml", "/data/system/config.last-good.toml"},
		Device: []string{
			"/dev/mem", "/dev/kmsg", "/dev/console", "/dev/gpiochip0", "/dev/rtc0", "/dev/input/event0", "/dev/watchdog",
		},
	}
	t.Other = filepath.Join(filepath.Dir(in.DataDir), RoleWeb, "tls.pem")
	if name == RoleRelay {
		t.Run, t.Dial = filepath.Dir(in.APISocket), true
	} else {
		t.Other = filepath.Join(filepath.Dir(in.DataDir), RoleRelay, "spool")
	}
	return t
}
