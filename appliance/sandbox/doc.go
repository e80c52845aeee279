// Package sandbox is the cage of a role: what a process gives up, for ever,
// before it reads the first byte of a stranger.
//
// Enter takes all capabilities, forbids gaining new ones, lets Landlock hide
// every file that is not named, and lets a seccomp filter refuse every system
// call that is not on a list. What is refused fails with EPERM or EACCES, so
// that the error names what was tried; only the start of a program ends the
// process, because no part of ours ever asks for it.
//
// docs/sandbox.md has the table of what each role may do.
package sandbox
