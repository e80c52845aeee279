package sandbox

import "golang.org/x/sys/unix"

// auditArch names the table of call numbers, for seccomp_data.arch.
const auditArch = unix.AUDIT_ARCH_AARCH64

// plainHere are plain calls that only this processor has.
var plainHere = []uint32{unix.SYS_FSTATAT}
