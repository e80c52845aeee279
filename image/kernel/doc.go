// Package kernel gets what the image has from Debian: the kernel, unpacked to
// its image and the few modules that a board needs, and the stub by which
// firmware starts it. A lock file names both packages. What was once in the
// cache is found there again, so an old lock file can be built from for as long
// as somebody keeps the cache, whatever the mirrors do.
//
// A package is fetched by the machine's apt with a state folder of our own,
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
