// Package qemu runs an image in a virtual machine: QEMU's arm64 virt board,
// booted with kernel and initramfs, as long as a context lives.
//
// A Machine is everything that a tester can do to a box from outside: read
// its console, press its power key, look at its lights (the GPIO lines, by
// the monitor, without help from the guest), pull its plug, measure its
// memory. No port of the host, no root and no KVM is needed.
//
// A QEMU process never outlives its Machine, and the kernel ends it when the
// program that started it is killed. This package does not build images
// (package image does) and does not play the network: the guest's card is
// wired to a unix socket on which somebody else (the lab) listens.
package qemu
