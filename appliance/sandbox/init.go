package sandbox

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// initKeeps are the capabilities that PID 1 needs while the box runs: the
// disk (mount, resize, owners), the network (addresses, DHCP, ports), the
// clock, its roles and the end of the machine.
var initKeeps = []uint{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER, unix.CAP_FSETID,
	unix.CAP_KILL, unix.CAP_SETGID, unix.CAP_SETUID,
	unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_NET_BROADCAST,
	unix.CAP_SYS_ADMIN, unix.CAP_SYS_BOOT, unix.CAP_SYS_RESOURCE, unix.CAP_SYS_TIME, unix.CAP_SYSLOG,
}

// initRefuses are calls that no part of the box makes, roles included: they
// inherit this filter. PID 1 must start roles, so execve is not among them.
var initRefuses = []uint32{
	unix.SYS_ACCT, unix.SYS_ADD_KEY, unix.SYS_BPF, unix.SYS_CHROOT, unix.SYS_DELETE_MODULE, unix.SYS_EXECVEAT,
	unix.SYS_FANOTIFY_INIT, unix.SYS_FINIT_MODULE, unix.SYS_INIT_MODULE, unix.SYS_IO_URING_ENTER,
	unix.SYS_IO_URING_REGISTER, unix.SYS_IO_URING_SETUP, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_KEXEC_LOAD, unix.SYS_KEYCTL,
	unix.SYS_MEMFD_CREATE, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_PERF_EVENT_OPEN,
	unix.SYS_PERSONALITY, unix.SYS_PIVOT_ROOT, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PTRACE,
	unix.SYS_QUOTACTL, unix.SYS_REQUEST_KEY, unix.SYS_SETNS, unix.SYS_SWAPOFF, unix.SYS_SWAPON, unix.SYS_UNSHARE,
	unix.SYS_USERFAULTFD,
}

// EnterInit gives up what PID 1 does not need once its modules are loaded. It
// stays root with CAP_SYS_ADMIN and can do with the box what it likes; the
// filter takes the ways by which foreign code would make itself at home.
func EnterInit() error {
	if err := DropBounding(); err != nil {
		return err
	}
	var data [2]unix.CapUserData
	for _, c := range initKeeps {
		data[c/32].Effective |= 1 << (c % 32)
		data[c/32].Permitted |= 1 << (c % 32)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	if errno != 0 {
		return fmt.Errorf("capabilities: %w", errno)
	}
	return install(initProgram())
}

// initProgram is PID 1's filter: everything is allowed but what is named, and
// memory that is written is not run.
func initProgram() []bpf.Instruction {
	p := header()
	for _, nr := range initRefuses {
		p = append(p, block(nr, bpf.RetConstant{Val: refuse})...)
	}
	for _, nr := range []uint32{unix.SYS_MMAP, unix.SYS_MPROTECT} {
		p = append(p, block(nr, append(without(2, unix.PROT_EXEC).instructions(), bpf.RetConstant{Val: permit})...)...)
	}
	return append(p, bpf.RetConstant{Val: permit})
}
