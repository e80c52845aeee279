// Package image builds the appliance's image: a Spec goes in, a folder of
// artefacts comes out, and the same spec gives the same bytes on any machine.
//
//	vmlinuz        Debian's arm64 kernel, unaltered
//	initrd.zst     the initramfs with the one executable, /init
//	manifest.json  versions, sizes and digests (package manifest)
//	SHA256SUMS     the digests again, as sha256sum -c reads them
//
// The steps are packages of their own: kernel (fetch, unpack, order the
// modules), initramfs (the archive), disk (the data disk). Package qemu
// starts the result in a virtual machine.
package image
