package attack

import (
	"errors"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// open tries to open a file and closes it again.
func open(path string, flags int) func() error {
	return func() error {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0o600)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	}
}

// Files are the actions on files.
func Files(t Target) []Action {
	own := filepath.Join(t.Own, "attack.tmp")
	list := []Action{
		{Name: "write, flush, rename and remove in its own folder", May: true, Try: func() error {
			if err := os.WriteFile(own, []byte("mine"), 0o600); err != nil {
				return err
			}
			return errors.Join(os.Rename(own, own+"2"), os.Remove(own+"2"))
		}},
		{Name: "read the block device", Try: open(t.Disk, unix.O_RDONLY)},
		{Name: "write the block device", Try: open(t.Disk, unix.O_RDWR)},
		{Name: "read the other role's file", Try: open(t.Other, unix.O_RDONLY)},
		{Name: "write the other role's file", Try: open(t.Other, unix.O_WRONLY)},
		{Name: "remove the other role's file", Try: func() error { return rmdir(t.Other) }},
		{Name: "write beside its own folder", Try: func() error {
			path := filepath.Join(filepath.Dir(t.Own), "attack.tmp")
			if err := open(path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY)(); err != nil {
				return err
			}
			return os.Remove(path)
		}},
		{Name: "move a file out of its own folder", Try: func() error {
			if err := os.WriteFile(own, nil, 0o600); err != nil {
				return err
			}
			defer os.Remove(own)
			out := filepath.Join(filepath.Dir(t.Own), "attack.tmp")
			if err := unix.Rename(own, out); err != nil {
				if errors.Is(err, unix.EXDEV) { // Landlock's word for it
					return unix.EACCES
				}
				return err
			}
			return os.Remove(out)
		}},
		{Name: "read a folder above its own", Try: open("/", unix.O_RDONLY|unix.O_DIRECTORY)},
		{Name: "read the program", Try: open(t.Program, unix.O_RDONLY)},
		{Name: "read /proc/self/maps", Try: open("/proc/self/maps", unix.O_RDONLY)},
		{Name: "write its own memory through /proc", Try: open("/proc/self/mem", unix.O_RDWR)},
		{Name: "read PID 1's environment", Try: open("/proc/1/environ", unix.O_RDONLY), hidden: true},
		{Name: "write PID 1's memory", Try: open("/proc/1/mem", unix.O_RDWR), hidden: true},
		{Name: "read /proc/kcore", Try: open("/proc/kcore", unix.O_RDONLY)},
		{Name: "write a kernel setting", Try: open("/proc/sys/kernel/core_pattern", unix.O_WRONLY)},
		{Name: "write to /sys", Try: open("/sys/module/kernel/parameters/panic", unix.O_WRONLY)},
		{Name: "read /sys", Try: open("/sys/kernel/uevent_seqnum", unix.O_RDONLY)},
		{Name: "write sysrq-trigger", Try: open("/proc/sysrq-trigger", unix.O_WRONLY)},
		{Name: "write to /tmp", Try: func() error {
			const path = "/tmp/attack.tmp"
			if err := open(path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY)(); err != nil {
				return err
			}
			return os.Remove(path)
		}},
		{Name: "make a block device", Try: func() error {
			if err := unix.Mknod(own, unix.S_IFBLK|0o600, int(unix.Mkdev(254, 0))); err != nil {
				return err
			}
			return os.Remove(own)
		}},
		{Name: "make a symbolic link", Try: func() error {
			if err := unix.Symlink("/", own); err != nil {
				return err
			}
			return os.Remove(own)
		}},
		{Name: "give a file to another user", Try: func() error {
			if err := os.WriteFile(own, nil, 0o600); err != nil {
				return err
			}
			defer os.Remove(own)
			return unix.Chown(own, 12345, 12345)
		}},
		{Name: "make a unix socket in its own folder", Try: bindUnix(own)},
	}
	for _, path := range t.Secret {
		list = append(list, Action{Name: "read " + path, Try: open(path, unix.O_RDONLY)})
	}
	for _, path := range t.Device {
		list = append(list, Action{Name: "open " + path, Try: open(path, unix.O_RDWR)})
	}
	for _, path := range t.Read {
		list = append(list, Action{Name: "read " + path, May: true, Try: open(path, unix.O_RDONLY)})
	}
	if t.Run != "" {
		list = append(list, Action{Name: "make a unix socket where it may", May: true, Try: bindUnix(filepath.Join(t.Run, "attack.sock"))})
	}
	return list
}

// rmdir asks for something that only a right can refuse: a file is no folder.
func rmdir(path string) error {
	if err := unix.Rmdir(path); !errors.Is(err, unix.ENOTDIR) {
		return err
	}
	return nil
}

func bindUnix(path string) func() error {
	return func() error {
		l, err := net.Listen("unix", path)
		if err != nil {
			return err
		}
		return l.Close()
	}
}
