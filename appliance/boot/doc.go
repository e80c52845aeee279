// Package boot is what PID 1 does to a bare kernel: early mounts, modules,
// random numbers, the loopback interface, the data disk, the power button, the
// supervision of the roles and the clean end.
//
// Every step takes what it acts on as a value (a table of mounts, a folder of
// modules, a folder of devices), so that it can be tried without being root,
// and returns an error that the caller prints: nothing here ends the process.
// The order of the steps is the business of package appliance.
//
// It formats no disk but a data partition of ours that is empty or that an
// administrator has given up, repairs no file system, and uses no os/exec: in PID 1
// there is one reaper, and it takes the exit status of every process.
package boot
