// Package kernel gets the guest's kernel: Debian's own package, named by a
// lock file, unpacked to the kernel image and the few modules that a board
// needs.
//
// The package is fetched by the machine's apt with a state folder of our own,
// so the machine's package lists and dpkg status stay as they are, no
// foreign architecture has to be added, and no mirror is named in the code:
// apt's own source files and keyrings decide where packages come from and
// who vouches for them. Root rights are not needed.
//
// Nothing is altered: the kernel image and the modules are byte for byte
// Debian's (a stripped module would lose its signature).
//
// This package does not decide which modules a board wants (package board
// does) and does not build the initramfs (package initramfs does).
package kernel
