package sandbox

import "golang.org/x/sys/unix"

// Bits of clone(2): what the Go runtime sets for a thread. Without all others
// no process and no namespace can be made.
const threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM |
	unix.CLONE_THREAD | unix.CLONE_SETTLS | unix.CLONE_PARENT_SETTID | unix.CLONE_CHILD_CLEARTID

// typeMask are the bits of socket(2)'s second argument that are the type.
const typeMask = 0xf

// plain are the calls that are allowed with any argument: on what is open, on
// memory and time, and on files, where Landlock and the owner decide.
var plain = []uint32{
	// The Go runtime: threads, memory, time, signals.
	unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_FUTEX,
	unix.SYS_GETRANDOM, unix.SYS_GETTID, unix.SYS_GETTIMEOFDAY, unix.SYS_MADVISE, unix.SYS_MINCORE, unix.SYS_MUNMAP,
	unix.SYS_NANOSLEEP, unix.SYS_RESTART_SYSCALL, unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK,
	unix.SYS_RT_SIGRETURN, unix.SYS_SCHED_GETAFFINITY, unix.SYS_SCHED_YIELD, unix.SYS_SIGALTSTACK,
	// Facts about this process and the machine.
	unix.SYS_GETCWD, unix.SYS_GETEGID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETPID, unix.SYS_GETPPID,
	unix.SYS_GETRUSAGE, unix.SYS_GETUID, unix.SYS_SYSINFO, unix.SYS_UNAME, unix.SYS_UMASK,
	// Waiting for descriptors.
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2, unix.SYS_PIPE2, unix.SYS_PPOLL,
	// Descriptors.
	unix.SYS_CLOSE, unix.SYS_COPY_FILE_RANGE, unix.SYS_DUP, unix.SYS_DUP3, unix.SYS_FCNTL, unix.SYS_LSEEK,
	unix.SYS_PREAD64, unix.SYS_PWRITE64, unix.SYS_READ, unix.SYS_READV, unix.SYS_SENDFILE, unix.SYS_SPLICE,
	unix.SYS_WRITE, unix.SYS_WRITEV,
	// Files.
	unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_FADVISE64, unix.SYS_FALLOCATE, unix.SYS_FCHMOD, unix.SYS_FCHMODAT,
	unix.SYS_FDATASYNC, unix.SYS_FLOCK, unix.SYS_FSTAT, unix.SYS_FSTATFS, unix.SYS_FSYNC, unix.SYS_FTRUNCATE,
	unix.SYS_GETDENTS64, unix.SYS_LINKAT, unix.SYS_MKDIRAT, unix.SYS_OPENAT, unix.SYS_READLINKAT, unix.SYS_RENAMEAT,
	unix.SYS_RENAMEAT2, unix.SYS_STATFS, unix.SYS_STATX, unix.SYS_SYNC_FILE_RANGE, unix.SYS_UNLINKAT, unix.SYS_UTIMENSAT,
	// Connections that are open already.
	unix.SYS_ACCEPT4, unix.SYS_CONNECT, unix.SYS_GETPEERNAME, unix.SYS_GETSOCKNAME, unix.SYS_GETSOCKOPT,
	unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_SENDMSG, unix.SYS_SENDTO, unix.SYS_SETSOCKOPT, unix.SYS_SHUTDOWN,
}

// calls are all that a process with these rules and this number may ask of
// the kernel. Everything else is refused.
func calls(r Rules, pid uint32) []call {
	var list []call
	for _, numbers := range [][]uint32{plain, plainHere} {
		for _, nr := range numbers {
			list = append(list, call{nr: nr})
		}
	}
	list = append(list,
		// Threads of this process, no process and no namespace.
		call{unix.SYS_CLONE, []test{
			without(0, ^uint32(threadFlags)),
			{arg: 0, mask: unix.CLONE_THREAD, any: []uint32{unix.CLONE_THREAD}},
		}},
		// Memory that can be written is never run.
		call{unix.SYS_MMAP, []test{without(2, unix.PROT_EXEC)}},
		call{unix.SYS_MPROTECT, []test{without(2, unix.PROT_EXEC)}},
		// Signals to this process alone.
		call{unix.SYS_KILL, []test{is(0, pid)}},
		call{unix.SYS_TGKILL, []test{is(0, pid)}},
		// The runtime gives its memory names.
		call{unix.SYS_PRCTL, []test{is(0, unix.PR_SET_VMA)}},
		// Limits may be read.
		call{unix.SYS_PRLIMIT64, []test{is(0, 0, pid), {arg: 2, mask: ^uint32(0), any: []uint32{0}, wide: true}}},
	)
	families := []uint32{unix.AF_UNIX}
	if r.Dial {
		families = append(families, unix.AF_INET, unix.AF_INET6)
	}
	kinds := []uint32{unix.SOCK_STREAM, unix.SOCK_DGRAM}
	if r.Interfaces {
		families, kinds = append(families, unix.AF_NETLINK), append(kinds, unix.SOCK_RAW)
	}
	list = append(list, call{unix.SYS_SOCKET, []test{
		is(0, families...),
		{arg: 1, mask: typeMask, any: kinds},
		is(2, 0, unix.IPPROTO_TCP, unix.IPPROTO_UDP),
	}})
	if r.Dial || r.Interfaces || len(r.Sockets) > 0 {
		list = append(list, call{nr: unix.SYS_BIND}, call{nr: unix.SYS_LISTEN})
	}
	return list
}
