// Package mdns gives the box a name of its own on the wire, such as
// gatepost-1a2b.local, and shows its page to whoever looks for one (RFC 6762
// and RFC 6763). The name is made from the network card's MAC, so that it is the
// same after every restart and on a new disk.
//
// A box that renames itself again and again, because a repeater between two
// networks sends its own words back to it, is worse than one without a name.
// Here a name changes at most once, to the longer form gatepost-3c1a2b.local;
// what says the same as the box said itself is never a conflict; and whoever
// goes on contradicting makes the box fall silent, with a note, until the
// network changes.
//
// A Responder knows no sockets but through Conn; Listen opens the real ones.
package mdns
