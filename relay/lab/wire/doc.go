// Package wire is the lab's network as an Ethernet wire into which a virtual
// machine is plugged. It speaks the framing of QEMU's stream back end
//
//	-netdev stream,id=n0,server=off,addr.type=unix,addr.path=...
//
// (each frame behind its length, 32 bits, big endian) on a unix socket, and
// owns every address of the world in a gVisor network stack: it answers ARP
// for the gateway, accepts and opens TCP connections and carries UDP. It needs
// no privilege and no port of the host.
//
// A [Wire] is a lab.Network. It carries IPv4 only. One guest is plugged in at
// a time; a new connection takes the place of the old one, as after a reboot.
package wire
