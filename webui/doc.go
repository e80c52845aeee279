// Package webui is the admin page: it claims the box for an owner, logs people
// in, and answers in plain words whether mail passes, what waits and why.
//
// Pages are rendered on the server with html/template and need no script. A
// change is a POST that ends in 303 and a flash message; GET never changes
// state. Every route stands in one table (rights.go) with the right that it
// needs, and the router is built from that table alone.
//
// With a QueueBackend a person can pause, return and delete waiting mail, undo
// that, and follow the way of one message from its arrival to its end, first in
// words and below them with all evidence. The messages themselves are private:
// only the owner may download one, and only with the password.
//
// It knows nothing of the mail machine or the board: a Backend and a
// QueueBackend, which the appliance writes, hand it plain view types. Text that
// strangers chose is foreign.Text in those types. It opens no listener by itself
// and starts nothing in New.
package webui
