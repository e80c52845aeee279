// Package appliance is the roof of the box: it turns the settings into the
// small configurations of the components, wires them by hand, and translates
// between the mail machine, the page and the board, which do not know each
// other.
//
// RunInit is PID 1, RunRole one of the two roles that it starts, and Serve both
// of them on an ordinary Linux host. This package holds no mail logic, no page
// and no pattern of a light; the parts of the box (settings, network, clock,
// health, admin API, command line ...) are its sub-packages.
package appliance
