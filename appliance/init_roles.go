package appliance

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"gatepost/appliance/boot"
	"gatepost/appliance/control"
	"gatepost/appliance/statefile"
)

// ports are the listeners of each role.
func ports() map[string][]struct{ name, addr string } {
	return map[string][]struct{ name, addr string }{
		RoleRelay: {{ListenSMTP, ":25"}, {ListenSubmissions, ":465"}, {ListenSubmission, ":587"}},
		RoleWeb:   {{ListenHTTPS, ":443"}},
	}
}

// crashName keeps why the box restarted itself, and how often in a row.
const crashName = "restarts.json"

// After this many restarts in a row that did not help, the box stays up with
// the broken role down, so that its page can be reached.
const maxRestarts = 2

// calmAfter is how long the box must run before a restart counts as a success.
const calmAfter = 15 * time.Minute

// crashes is the content of crashName.
type crashes struct {
	InARow int    `json:"in_a_row"`
	Reason string `json:"reason"`
}

func (p *initProcess) startRoles(life context.Context) {
	why := p.whyRestarted()
	p.state.setLastReboot(why)
	if why != "" {
		p.say("before this start: %s", why)
	}
	reaper := boot.NewReaper()
	// The reaper must outlive the roles, or their ends would not be seen.
	go p.guard("reaper", func() error { return reaper.Run(context.WithoutCancel(life)) })
	p.super = &boot.Supervisor{
		Reaper:     reaper,
		Executable: "/proc/self/exe",
		Output:     p.hearRole,
		Crashed:    p.roleCrashed,
		Changed:    p.rolesChanged,
		StopLimit:  stopLimit,
	}
	open := map[string]bool{}
	for name, uid := range map[string]uint32{RoleRelay: relayUID, RoleWeb: webUID} {
		role := boot.Role{
			Name: name, Args: []string{"gatepost", name},
			User:    &syscall.Credential{Uid: uid, Gid: uid},
			Group:   p.roleGroup(name),
			Payload: func() ([]byte, error) { return json.Marshal(p.handover(name)) },
		}
		for _, l := range ports()[name] {
			f, err := openPort(l.addr)
			if err != nil {
				p.warn("port "+strings.TrimPrefix(l.addr, ":"), err)
				continue
			}
			role.Listeners = append(role.Listeners, boot.Handed{Name: l.name, File: f})
			open[l.name] = true
		}
		if name == RoleWeb {
			f, err := openHealth()
			p.warn("health socket", err)
			if err == nil {
				role.Listeners = append(role.Listeners, boot.Handed{Name: ListenHealth, File: f})
			}
		}
		p.keep(life, name, func(ctx context.Context) error { return p.super.Run(ctx, role) })
	}
	p.watchRoles(life, open)
	p.keep(life, "restarts", p.forgetCrashes)
}

// openPort opens a listener and returns its descriptor, which stays open for
// as long as the box runs: while a role restarts, connections wait.
func openPort(addr string) (*os.File, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.(*net.TCPListener).File()
}

// handover is what a role is told at its start.
func (p *initProcess) handover(role string) handover {
	s := p.inForce()
	h := handover{
		Config: s.config, ConfigUse: string(s.use), ConfigError: s.fault,
		ControlSocket: control.Socket, APISocket: apiSocket,
		DataDir: filepath.Join(boot.DataDir, role), Version: p.Version, Built: p.Built,
	}
	if p.data == nil {
		h.DataDir, h.Volatile = filepath.Join(volatileDir, role), true
		h.Erasable = p.storage.Erasable
	}
	return h
}

// rolesChanged tells the state of the roles.
func (p *initProcess) rolesChanged() {
	p.state.setRoles(controlRoles(p.super.States(), p.cages.get))
}

func controlRoles(states []boot.RoleState, cage func(role string) string) []control.Role {
	out := make([]control.Role, len(states))
	for i, s := range states {
		out[i] = control.Role{
			Name: s.Name, Up: s.Up, PID: s.PID, Since: s.Since, Restarts: s.Restarts, LastExit: s.LastExit,
			Cage: cage(s.Name),
		}
	}
	return out
}

// roleCrashed says it, and restarts the box when it happens too often, unless
// restarts have not helped before.
func (p *initProcess) roleCrashed(role, reason string, pause time.Duration, tooMany bool) {
	p.say("%s %s; it is started again in %v", role, reason, pause)
	if !tooMany {
		return
	}
	p.restartFor(role, fmt.Sprintf("%s crashed five times in ten minutes (%s)", role, reason))
}

// forgetCrashes takes a calm quarter of an hour as the proof that a restart
// has helped. The reason stays to be read until the next start.
func (p *initProcess) forgetCrashes(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(calmAfter):
	}
	p.vitals.writing.Lock()
	if c := readCrashes(p.system); c.InARow > 0 {
		p.warn("restart", writeCrashes(p.system, crashes{}))
	}
	p.vitals.writing.Unlock()
	<-ctx.Done()
	return nil
}

func readCrashes(system *os.Root) crashes {
	var c crashes
	if system == nil {
		return c
	}
	if text, err := statefile.Read(system, crashName, 4096); err == nil && json.Unmarshal(text, &c) != nil {
		return crashes{}
	}
	return c
}

func writeCrashes(system *os.Root, c crashes) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return statefile.Write(system, crashName, text, 0o600)
}
