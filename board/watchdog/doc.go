// Package watchdog drives the hardware watchdog of a board: a timer that
// restarts the machine unless it is fed in time.
//
// It holds no rule about when to feed: whoever runs a Feeder hands that in. The
// device is opened through u-root's package; what that package gets wrong (its
// SetTimeout hands the kernel nanoseconds where seconds belong) is done here.
package watchdog
