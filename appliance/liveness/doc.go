// Package liveness decides whether the roles of the box are alive: it asks each
// one to test itself every three seconds, finds the one that answers nothing,
// and holds the rule by which the hardware watchdog may be fed.
//
// The rule and the state of a role are pure functions of what is known
// (state.go); watch.go asks. It kills and restarts nothing: PID 1 does.
package liveness
