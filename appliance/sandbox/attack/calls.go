package attack

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// raw makes a system call; a result that is a descriptor is closed when file
// is true.
func raw(nr, a1, a2, a3, a4, a5 uintptr, file bool) error {
	r, _, errno := unix.Syscall6(nr, a1, a2, a3, a4, a5, 0)
	if errno != 0 {
		return errno
	}
	if file {
		unix.Close(int(r))
	}
	return nil
}

// bad is an address that nothing can be read from: whoever let a call through
// as far as its arguments says EFAULT.
const bad = 1

// Calls are the actions that ask the kernel for something other than a file.
func Calls(t Target) []Action {
	pid := uintptr(t.Init)
	return []Action{
		{Name: "fork", Try: fork},
		{Name: "execute memory that it has written", Try: func() error {
			m, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
			if err != nil {
				return err
			}
			return unix.Munmap(m)
		}},
		{Name: "make written memory executable", Try: func() error {
			m, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
			if err != nil {
				return err
			}
			defer unix.Munmap(m)
			return unix.Mprotect(m, unix.PROT_READ|unix.PROT_EXEC)
		}},
		{Name: "make a file in memory (memfd)", Try: func() error {
			fd, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC)
			if err != nil {
				return err
			}
			return unix.Close(fd)
		}},
		{Name: "mount", Try: func() error { return unix.Mount("none", "/", "none", unix.MS_PRIVATE|unix.MS_SLAVE, "") }},
		{Name: "unmount", Try: func() error { return unix.Unmount(t.Own, 0) }},
		{Name: "new mount interface (fsopen)", Try: func() error { return raw(unix.SYS_FSOPEN, bad, 0, 0, 0, 0, true) }},
		{Name: "pivot_root", Try: func() error { return unix.PivotRoot("/", "/") }},
		{Name: "chroot", Try: func() error { return unix.Chroot("/") }},
		{Name: "new user namespace", Try: func() error { return unix.Unshare(unix.CLONE_NEWUSER) }},
		{Name: "new mount namespace", Try: func() error { return unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWUSER) }},
		{Name: "enter a namespace (setns)", Try: func() error { return unix.Setns(-1, 0) }},
		{Name: "ptrace PID 1", Try: func() error { return seize(t.Init) }},
		{Name: "read another process's memory", Try: func() error {
			_, err := unix.ProcessVMReadv(t.Init, byteHere(), nowhere(), 0)
			return err
		}},
		{Name: "write another process's memory", Try: func() error {
			_, err := unix.ProcessVMWritev(t.Init, byteHere(), nowhere(), 0)
			return err
		}},
		{Name: "signal PID 1", Try: func() error { return unix.Kill(t.Init, 0) }},
		{Name: "signal every other process", Try: func() error { return unix.Kill(-1, 0) }},
		{Name: "a handle of another process (pidfd)", Try: func() error { return raw(unix.SYS_PIDFD_OPEN, pid, 0, 0, 0, 0, true) }},
		{Name: "raw socket", Try: socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)},
		{Name: "packet socket", Try: socket(unix.AF_PACKET, unix.SOCK_RAW, 0)},
		{Name: "netlink socket (routes)", Try: socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)},
		{Name: "socket of the kernel's ciphers", Try: socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0)},
		{Name: "vsock", Try: socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0)},
		{Name: "TCP socket", May: t.Dial, Try: socket(unix.AF_INET, unix.SOCK_STREAM, 0)},
		{Name: "UDP socket", May: t.Dial, Try: socket(unix.AF_INET, unix.SOCK_DGRAM, 0)},
		{Name: "listen on port 99", Try: bindTCP(99)},
		{Name: "become root", Try: func() error { return raw(unix.SYS_SETUID, 0, 0, 0, 0, 0, false) }},
		{Name: "become another group", Try: func() error { return raw(unix.SYS_SETGID, 0, 0, 0, 0, 0, false) }},
		{Name: "take all capabilities", Try: capset},
		{Name: "load a module", Try: func() error { return raw(unix.SYS_INIT_MODULE, bad, 4096, bad, 0, 0, false) }},
		{Name: "load a module from a file", Try: func() error { return raw(unix.SYS_FINIT_MODULE, ^uintptr(0), bad, 0, 0, 0, false) }},
		{Name: "remove a module", Try: func() error { return raw(unix.SYS_DELETE_MODULE, bad, 0, 0, 0, 0, false) }},
		{Name: "load another kernel (kexec)", Try: func() error { return raw(unix.SYS_KEXEC_LOAD, 0, 99, bad, 0, 0, false) }},
		{Name: "restart the machine", Try: func() error { return raw(unix.SYS_REBOOT, 0, 0, 0, 0, 0, false) }},
		{Name: "set the clock", Try: func() error { return raw(unix.SYS_SETTIMEOFDAY, 0, 0, 0, 0, 0, false) }},
		{Name: "set the host name", Try: func() error { return raw(unix.SYS_SETHOSTNAME, bad, 4, 0, 0, 0, false) }},
		{Name: "keys of the kernel (keyctl)", Try: func() error { return raw(unix.SYS_KEYCTL, 0, ^uintptr(2), 0, 0, 0, false) }},
		{Name: "bpf", Try: func() error { return raw(unix.SYS_BPF, 0, bad, 8, 0, 0, true) }},
		{Name: "perf_event_open", Try: func() error { return raw(unix.SYS_PERF_EVENT_OPEN, bad, 0, ^uintptr(0), ^uintptr(0), 0, true) }},
		{Name: "personality", Try: func() error { return raw(unix.SYS_PERSONALITY, 0xffffffff, 0, 0, 0, 0, false) }},
		{Name: "io_uring", Try: func() error { return raw(unix.SYS_IO_URING_SETUP, 1, bad, 0, 0, 0, true) }},
		{Name: "userfaultfd", Try: func() error { return raw(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0, 0, 0, true) }},
		{Name: "swap", Try: func() error { return raw(unix.SYS_SWAPON, bad, 0, 0, 0, 0, false) }},
		{Name: "log of the kernel", Try: func() error { return raw(unix.SYS_SYSLOG, 3, bad, 0, 0, 0, false) }},
		{Name: "open by handle", Try: func() error { return raw(unix.SYS_OPEN_BY_HANDLE_AT, ^uintptr(0), bad, 0, 0, 0, true) }},
		{Name: "raise its own limits", Try: func() error {
			return raw(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_CORE, bad, 0, 0, false)
		}},
		{Name: "undo its dumpable bit", Try: func() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) }},
		{Name: "type into a terminal (ioctl)", Try: func() error { return raw(unix.SYS_IOCTL, 1, unix.TIOCSTI, bad, 0, 0, false) }},
		{Name: "a thread of its own", May: true, Try: func() error {
			done := make(chan struct{})
			go func() { runtime.LockOSThread(); close(done) }() // the thread ends with it
			<-done
			return nil
		}},
		{Name: "a signal to itself", May: true, Try: func() error { return unix.Kill(os.Getpid(), 0) }},
	}
}

// fork makes a child by clone(2) with no flag but the signal of its end, and
// with a stack that it cannot use: the child, if there is one, dies at once.
func fork() error {
	// CLONE_VFORK and CLONE_VM would run on our memory; CLONE_NEWUSER with
	// CLONE_FS is a mixture that the kernel refuses after the filter.
	return raw(unix.SYS_CLONE, unix.CLONE_NEWUSER|unix.CLONE_FS|uintptr(unix.SIGCHLD), 0, 0, 0, 0, false)
}

// seize is ptrace's way to look at a process without stopping it.
func seize(pid int) error {
	const ptraceSeize = 0x4206
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return raw(unix.SYS_PTRACE, ptraceSeize, uintptr(pid), 0, 0, 0, false)
}

func socket(family, kind, protocol int) func() error {
	return func() error {
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	}
}

func bindTCP(port int) func() error {
	return func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Bind(fd, &unix.SockaddrInet4{Port: port})
	}
}

// nowhere is a byte that no process has: whoever may ask hears EFAULT.
func nowhere() []unix.RemoteIovec { return []unix.RemoteIovec{{Base: bad, Len: 1}} }

func byteHere() []unix.Iovec { return []unix.Iovec{{Base: new(byte), Len: 1}} }

// capset takes a capability, on a thread that ends with it.
func capset() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Effective: 1 << unix.CAP_SYS_ADMIN, Permitted: 1 << unix.CAP_SYS_ADMIN}}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- unix.Capset(&header, &data[0])
	}()
	return <-done
}

// Programs are the actions that start another program. Inside the cage each is
// the end of the process, so it can be tried once; outside the program takes
// our place.
func Programs(t Target) []Action {
	return []Action{
		{Name: "execve", Try: func() error { return unix.Exec(t.Program, []string{t.Program}, nil) }},
		{Name: "execveat", Try: func() error {
			path, err := unix.BytePtrFromString(t.Program)
			if err != nil {
				return err
			}
			none := [1]uintptr{}
			_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, ^uintptr(99), uintptr(unsafe.Pointer(path)),
				uintptr(unsafe.Pointer(&none)), uintptr(unsafe.Pointer(&none)), 0, 0)
			return errno
		}},
	}
}
