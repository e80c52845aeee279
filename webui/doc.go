// Package webui is the admin page: it claims the box for an owner, logs people
// in, and answers in plain words whether mail passes, what waits and why.
//
// Pages are rendered on the server with html/template and need no script. A
// change is a POST that ends in 303 and a flash message; GET never changes
// state. Every route stands in one table (rights.go) with the right that it
// needs, and the router is built from that table alone.
//
// It knows nothing of the mail machine or the board: a Backend, which the
// appliance writes, hands it plain view types. Text that strangers chose is
// foreign.Text in those types. It opens no listener by itself and starts
// nothing in New.
package webui
