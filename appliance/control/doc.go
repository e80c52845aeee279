// Package control is the socket between PID 1 and the roles: what the box
// looks like at this moment, as one JSON value, over HTTP on a unix socket.
//
// The server side belongs to PID 1, which publishes a Box whenever something
// changes. The client side belongs to the roles: the relay learns from it
// whether the clock is trusted, the page learns everything that it shows about
// the box. Only the uids that the server is given may read it, and fewer of them
// may ask PID 1 to do something (Request): the page and root may, the relay may
// not.
package control
