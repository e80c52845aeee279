// Package image builds the appliance's image: a Spec goes in, a folder of
// artefacts comes out, and the same spec gives the same bytes on any machine.
//
//	vmlinuz           Debian's arm64 kernel, unaltered
//	initrd.zst        the initramfs with the one executable, /init
//	device-tree.dtb   Debian's device tree, for boards that have one in their profile
//	gatepost.efi      both and the command line as one EFI program (package uki)
//	gatepost.img      the disk of a new box, sparse (package layout)
//	gatepost.img.zst  the disk again, for those who write it to a card
//	sbom.spdx.json    the bill of materials (package sbom)
//	LICENSES.txt      the licences of all that is in the image
//	manifest.json     versions, sizes and digests (package manifest)
//	SHA256SUMS        the digests again, as sha256sum -c reads them
//
// The steps are packages of their own: kernel (fetch, unpack, order the
// modules), initramfs (the archive), uki, disk, sbom. Package qemu starts the
// result in a virtual machine.
package image
