// Package layout says where things are on the disk of the appliance: the
// partitions, their names and numbers, and the files on the boot partition that
// others than the firmware read. The builder writes by it, PID 1 and later the
// updater read by it. It holds constants and nothing that acts.
//
// The disk, a GPT with 512-byte sectors:
//
//	1 MiB     BootName, FAT32: the boot loader's place and two slots
//	193 MiB   DataName, ext4: everything that must survive; the last partition,
//	          so that the first start can make it as large as the disk
package layout

// Partitions. Every box has the same numbers: the partition is found by its
// type and name, the file system by its label.
const (
	DiskGUID = "6B0D5C6E-43F7-4B0C-9D0B-7A4E5E0D0001"

	BootIndex = 1
	BootName  = "gatepost-boot"
	BootGUID  = "6B0D5C6E-43F7-4B0C-9D0B-7A4E5E0D0002"
	BootStart = 1 << 20   // bytes
	BootSize  = 192 << 20 // bytes; two slots and the updater's room
	SlotSize  = 64 << 20  // bytes; the most that a slot's file may have
	BootLabel = "GATEPOST"

	DataIndex = 2
	DataName  = "gatepost-data"
	DataGUID  = "6B0D5C6E-43F7-4B0C-9D0B-7A4E5E0D0003"
	DataStart = BootStart + BootSize
	DataSize  = 32 << 20 // bytes, in the image as it is written to a card
	DataLabel = "gpdata"
	DataUUID  = "6b0d5c6e-43f7-4b0c-9d0b-7a4e5e0d0004" // of the file system as built
)

// Types of partitions (UEFI specification 5.3.3, Discoverable Partitions).
const (
	TypeESP  = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	TypeData = "0FC63DAF-8483-4772-8E79-3D69D8477DE4" // Linux file system
)

// DataTemplate is where the initramfs has the data file system as built, empty,
// compressed with zstd. Written to the start of a partition of at least DataSize
// bytes it is a data file system, which the kernel can make larger online.
const DataTemplate = "/etc/gatepost/data.ext4.zst"

// Files of the boot partition.
const (
	// SlotA is what the firmware starts by itself; SlotB is the updater's.
	SlotA = "EFI/BOOT/BOOTAA64.EFI"
	SlotB = "EFI/gatepost/b.efi"
	// Provision is a config.toml that somebody puts there for a box that has
	// no settings yet; ProvisionReplace takes the place of those it has. The box
	// takes them over at its next start and adds ProvisionUsed to the name, or
	// writes what is wrong with them into ProvisionErrors.
	Provision        = "gatepost.toml"
	ProvisionReplace = "gatepost-replace.toml"
	ProvisionUsed    = ".used"
	ProvisionErrors  = "gatepost.errors.txt"
)
