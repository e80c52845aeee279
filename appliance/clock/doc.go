// Package clock decides whether the time of the box can be believed.
//
// Time is unknown until NTP servers agree and what they say is not before the
// floor: the moment the image was built or the last time that was saved,
// whichever is later. Until then nothing may be decided about certificates,
// expiry or the age of mail. Once the time is trusted it stays trusted, and
// never steps back by more than a second.
//
// It asks by NTP (RFC 5905) without authentication: an attacker on the path
// can lie about the time before trust, but not to a moment before the floor.
package clock
