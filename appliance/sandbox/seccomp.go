package sandbox

import (
	"fmt"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A call is a system call that is allowed when all tests hold.
type call struct {
	nr    uint32
	tests []test
}

// A test looks at the low half of an argument: masked, it must be one of any.
// The kernel takes only the low half of every argument that is tested here,
// but for pointers, which have wide set: then the high half must be 0.
type test struct {
	arg  uint32
	mask uint32
	any  []uint32
	wide bool
}

func is(arg uint32, values ...uint32) test { return test{arg: arg, mask: ^uint32(0), any: values} }

func without(arg, bits uint32) test { return test{arg: arg, mask: bits, any: []uint32{0}} }

// Answers of the filter.
const (
	permit = unix.SECCOMP_RET_ALLOW
	refuse = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	// absent is for calls that have an older twin, which callers try next.
	absent = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	kill   = unix.SECCOMP_RET_KILL_PROCESS
)

// Offsets in the kernel's struct seccomp_data, in bytes. Both processors that
// we know are little-endian.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

// header leaves the number of the call to what follows.
func header() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: offArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1},
		bpf.RetConstant{Val: kill}, // another table of numbers: nothing here would be true
		bpf.LoadAbsolute{Off: offNumber, Size: 4},
	}
}

// block is what to do for one call; body must end in an answer.
func block(nr uint32, body ...bpf.Instruction) []bpf.Instruction {
	return append([]bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpEqual, Val: nr, SkipFalse: uint8(len(body))}}, body...)
}

// program is the filter for a process with this number.
func program(r Rules, pid int) []bpf.Instruction {
	p := header()
	for _, nr := range []uint32{unix.SYS_EXECVE, unix.SYS_EXECVEAT} {
		p = append(p, block(nr, bpf.RetConstant{Val: kill})...)
	}
	for _, nr := range []uint32{unix.SYS_CLONE3, unix.SYS_OPENAT2} {
		p = append(p, block(nr, bpf.RetConstant{Val: absent})...)
	}
	for _, c := range calls(r, uint32(pid)) {
		var body []bpf.Instruction
		for _, t := range c.tests {
			body = append(body, t.instructions()...)
		}
		p = append(p, block(c.nr, append(body, bpf.RetConstant{Val: permit})...)...)
	}
	return append(p, bpf.RetConstant{Val: refuse})
}

// instructions go on behind their end when the test holds.
func (t test) instructions() []bpf.Instruction {
	var body []bpf.Instruction
	if t.wide {
		body = append(body,
			bpf.LoadAbsolute{Off: offArgs + 8*t.arg + 4, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
			bpf.RetConstant{Val: refuse})
	}
	body = append(body,
		bpf.LoadAbsolute{Off: offArgs + 8*t.arg, Size: 4},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: t.mask})
	for i, v := range t.any {
		body = append(body, bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipTrue: uint8(len(t.any) - i)})
	}
	return append(body, bpf.RetConstant{Val: refuse})
}

// install puts a filter on all threads. The error is ENOSYS when the kernel has
// none.
func install(program []bpf.Instruction) error {
	raw, err := bpf.Assemble(program)
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, in := range raw {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_LOG
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	switch {
	case errno != 0:
		return errno
	case thread != 0:
		return fmt.Errorf("thread %d has a filter of its own", thread)
	}
	return nil
}
