// Command lampguest is the first process of a test's machine: a second process
// of it drives the lights, and after LAMP_SECONDS it is killed, as a program
// dies that cannot switch its lights off any more. Then the machine goes on for
// LAMP_AFTER seconds. What the lights have cost is said on the console. With
// LAMP_PANIC the kernel dies at the end.
//
// The words LAMP_... of the kernel's command line are its environment.
package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"time"

	"gatepost/appliance/boot"
	"gatepost/board"
	"gatepost/board/led"
	"gatepost/board/panel"
)

func main() {
	if os.Getenv("LAMP_CHILD") != "" {
		light()
		return
	}
	_ = boot.MountAll(boot.EarlyMounts())
	if console, err := boot.OpenConsole("/dev/console"); err == nil {
		os.Stdout, os.Stderr = console, console
	}
	names, _ := boot.ReadModuleList(boot.ModuleList)
	_, _ = boot.LoadModules(boot.ModuleDir, names, nil)
	if err := watch(); err != nil {
		fmt.Println("lamp: FAILED:", err)
	}
	if os.Getenv("LAMP_PANIC") != "" {
		return // the kernel dies without its first process
	}
	_ = boot.Stop(boot.PowerOff)
	time.Sleep(math.MaxInt64) // the first process must never end
}

func seconds(name string) time.Duration {
	n, _ := strconv.Atoi(os.Getenv(name))
	return time.Duration(n) * time.Second
}

// watch starts the process that drives the lights, and kills it.
func watch() error {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "LAMP_CHILD=yes")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	time.Sleep(seconds("LAMP_SECONDS"))
	if err := cmd.Process.Kill(); err != nil {
		return err
	}
	_ = cmd.Wait()
	s := cmd.ProcessState
	fmt.Printf("lamp: killed; %d ms of CPU in the program, %d ms in the kernel for it\n", s.UserTime().Milliseconds(), s.SystemTime().Milliseconds())
	time.Sleep(seconds("LAMP_AFTER"))
	fmt.Println("lamp: end")
	return nil
}

// light drives the lights of the board that is detected, and two lights on
// GPIO lines that nothing else uses.
func light() {
	conditions := map[string]led.Conditions{
		"healthy": {Link: true, Lease: true},
		"held":    {Link: true, Lease: true, Held: true},
		"dead":    {Dead: true},
	}[os.Getenv("LAMP_STATE")]
	sys, err := os.OpenRoot("/sys")
	if err != nil {
		fmt.Println("lamp:", err)
	}
	detected, _ := board.Detect(os.DirFS("/"))
	const chip = "9030000.pl061"
	lines := board.Profile{Name: "lines", Lights: []board.Light{
		{Name: board.Status, Line: board.Line{Chip: chip, Number: 6}},
		{Name: board.Alert, Line: board.Line{Chip: chip, Number: 7}},
	}}
	for _, profile := range []board.Profile{detected, lines} {
		front := panel.Open(panel.Config{Profile: profile, Sys: sys, NoButton: true})
		for _, f := range front.Findings() {
			fmt.Println("lamp:", profile.Name, f)
		}
		front.Set(conditions)
		go front.Run(context.Background())
	}
	fmt.Println("lamp: lit")
	time.Sleep(math.MaxInt64)
}
