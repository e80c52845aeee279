// Package appliance is the roof of the box: it turns the settings into the
// small configurations of the components, wires them by hand, and translates
// between the mail machine, the page and the board, which do not know each
// other.
//
// RunInit is PID 1, RunRelay and RunWeb are the two roles that it starts. This
// package holds no mail logic, no page and no pattern of a light; the parts of
// the box (settings, network, clock, health, admin API ...) are its
// sub-packages.
package appliance
