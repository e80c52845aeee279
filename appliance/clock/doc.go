// Package clock decides whether the time of the box can be believed.
//
// Time is unknown until NTP servers agree and what they say is not before the
// floor: the moment the image was built or the last time that was saved,
// whichever is later. Until then nothing may be decided about certificates,
// expiry or the age of mail. Once the time is trusted the clock is never set
// back. Trust ends when nobody has confirmed the time for thirty days, or when
// the servers have contradicted it for an hour. docs/clock.md has every rule.
//
// It asks by NTP (RFC 5905) without authentication: an attacker on the path
// can lie about the time before trust, but not to a moment before the floor.
//
// The files: query.go asks one server, ask.go a round of them with the manners
// of RFC 8633, quorum.go weighs the answers, follow.go moves the clock,
// saved.go keeps the floor, clock.go is the machine.
package clock
