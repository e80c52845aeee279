package nbd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience is far longer than any of this takes.
const patience = 60 * time.Second

// needQEMU finds the client that knows the protocol better than we do.
func needQEMU(t *testing.T, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err) // make test installs it: here a skip would hide the check
		}
		t.Skipf("%s is not installed (Debian package qemu-utils)", tool)
	}
}

// serve serves a disk for the length of the test and returns its address as
// QEMU writes it.
func serve(t *testing.T, d *Disk) (*Server, string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "nbd")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s, done := &Server{Disk: d, Seed: 1}, make(chan error)
	go func() { done <- s.Run(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		d.Cut(0) // lets go who is held
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, "nbd+unix:///?socket=" + socket
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil || strings.Contains(string(out), "rror") || strings.Contains(string(out), "failed") {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func newDisk(t *testing.T, size int64) *Disk {
	t.Helper()
	d, err := NewDisk(size)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// QEMU's own client reads, writes, flushes, forces, trims and zeroes.
func TestWithQEMU(t *testing.T) {
	needQEMU(t, "qemu-io")
	d := newDisk(t, 64<<20)
	_, addr := serve(t, d)
	info := run(t, "qemu-img", "info", "--output=json", addr)
	if !strings.Contains(info, "67108864") {
		t.Errorf("qemu-img sees another size: %s", info)
	}
	run(t, "qemu-io", "-f", "raw", "-t", "writeback", "-d", "unmap", addr,
		"-c", "write -P 0x11 0 1M", "-c", "aio_write -P 0x22 1M 1M", "-c", "aio_write -P 0x33 2M 1M", "-c", "aio_flush",
		"-c", "flush", "-c", "write -f -P 0x44 3M 64k", "-c", "write -z 4k 4k", "-c", "discard 8k 4k",
		"-c", "read -P 0x11 0 4k", "-c", "read -P 0 4k 8k", "-c", "read -P 0x22 1M 1M", "-c", "read -P 0x33 2M 1M")
	c := d.Counters()
	if c.Flushes == 0 || c.FUA == 0 || c.WrittenBytes < 3<<20+64<<10+8<<10 || c.ReadBytes < 2<<20 {
		t.Errorf("got %+v, want flushes, forced writes and all bytes", c)
	}
	img := filepath.Join(t.TempDir(), "img")
	data := make([]byte, 64<<20)
	for i := range data[:8<<20] {
		data[i] = byte(rand.Uint32())
	}
	if err := os.WriteFile(img, data, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", img, addr)
	run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", img, addr)
}

// A client that is killed has lost what it did not flush, and only that.
func TestCutUnderQEMU(t *testing.T) {
	needQEMU(t, "qemu-io")
	lost := 0
	for seed := range uint64(8) {
		d := newDisk(t, 4<<20)
		s, addr := serve(t, d)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		cmd := exec.CommandContext(ctx, "qemu-io", "-f", "raw", "-t", "writeback", addr,
			"-c", "write -P 0x11 0 1M", "-c", "flush", "-c", "write -P 0x22 512k 1M", "-c", "sleep 600000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for d.Counters().WrittenBytes < 2<<20 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		d.Cut(seed)
		if err := s.Idle(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		d.PowerOn()
		b := make([]byte, 1536<<10)
		if _, err := d.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b[:512<<10], bytes.Repeat([]byte{0x11}, 512<<10)) {
			t.Errorf("seed %d: what was flushed is lost", seed)
		}
		if i := bytes.IndexFunc(b[512<<10:1<<20], func(r rune) bool { return r != 0x11 && r != 0x22 }); i >= 0 {
			t.Errorf("seed %d: byte %d is neither old nor new", seed, i)
		}
		lost += bytes.Count(b[1<<20:], make([]byte, SectorSize))
	}
	if lost == 0 {
		t.Error("eight cuts lost nothing of what was not flushed")
	}
}

// hello is the client's part of the handshake up to the transmission.
func hello() []byte {
	b := be.AppendUint32(nil, fixed|noZeroes)
	b = be.AppendUint64(b, magicOption)
	b = be.AppendUint32(b, optGo)
	b = be.AppendUint32(b, 6)
	return append(b, 0, 0, 0, 0, 0, 0)
}

func ask(flags, command uint16, off uint64, length uint32) []byte {
	b := be.AppendUint32(nil, magicRequest)
	b = be.AppendUint16(b, flags)
	b = be.AppendUint16(b, command)
	b = be.AppendUint64(b, 99)
	b = be.AppendUint64(b, off)
	return be.AppendUint32(b, length)
}

// talk gives a session these bytes and returns what it said behind the
// handshake.
func talk(t testing.TB, d *Disk, in []byte) ([]byte, error) {
	t.Helper()
	var out bytes.Buffer
	s := session{disk: d, in: bufio.NewReader(bytes.NewReader(in)), out: &out, rng: rand.New(rand.NewPCG(1, 1))}
	err := s.serve()
	return out.Bytes(), err
}

func TestMistakesOfAClient(t *testing.T) {
	const size = 8 * SectorSize
	answer := func(t *testing.T, d *Disk, q []byte) uint32 {
		t.Helper()
		plain, err := talk(t, d, append(hello(), ask(0, cmdDisconnect, 0, 0)...))
		if err != nil {
			t.Fatal(err)
		}
		out, err := talk(t, d, append(append(hello(), q...), ask(0, cmdDisconnect, 0, 0)...))
		if err != nil || len(out) != len(plain)+16 {
			t.Fatalf("got %d bytes, %v, want one answer", len(out)-len(plain), err)
		}
		return be.Uint32(out[len(plain)+4:])
	}
	tests := []struct {
		name string
		ask  []byte
		want uint32
	}{
		{"flush", ask(0, cmdFlush, 0, 0), 0},
		{"write", append(ask(flagFUA, cmdWrite, 0, SectorSize), make([]byte, SectorSize)...), 0},
		{"half a sector", append(ask(0, cmdWrite, 0, 100), make([]byte, 100)...), einval},
		{"between sectors", ask(0, cmdRead, 5, SectorSize), einval},
		{"behind the end", append(ask(0, cmdWrite, size, SectorSize), make([]byte, SectorSize)...), enospc},
		{"over the end", ask(0, cmdRead, size-SectorSize, 2*SectorSize), einval},
		{"far away", ask(0, cmdTrim, 1<<63, SectorSize), enospc},
		{"a very long one", ask(0, cmdWriteZeroes, 0, 1<<31), einval},
		{"an unknown command", ask(0, 7, 0, SectorSize), enotsup},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := answer(t, newDisk(t, size), tt.ask); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
	for name, in := range map[string][]byte{
		"no magic":        append(hello(), make([]byte, requestSize)...),
		"too much":        append(hello(), ask(0, cmdRead, 0, 1<<30)...),
		"strange flags":   {0xff, 0, 0, 1},
		"a giant option":  append(be.AppendUint32(nil, fixed), append(be.AppendUint64(nil, magicOption), 0, 0, 0, 7, 0xff, 0, 0, 0)...),
		"not this server": be.AppendUint32(nil, 0),
	} {
		if _, err := talk(t, newDisk(t, size), in); !errors.Is(err, errProtocol) {
			t.Errorf("%s: got %v, want %v", name, err, errProtocol)
		}
	}
}

// FuzzSession gives a session what a client may send. Whatever it is, the disk
// stays what it is: sectors that no write of these bytes could have touched
// are zero, and the session ends.
func FuzzSession(f *testing.F) {
	f.Add([]byte{})
	f.Add(append(hello(), append(ask(0, cmdWrite, 0, SectorSize), make([]byte, SectorSize)...)...))
	f.Add(append(hello(), append(ask(0, cmdFlush, 0, 0), ask(1, cmdWriteZeroes, 512, 1024)...)...))
	f.Add(append(hello(), append(ask(0, cmdRead, 0, 4096), ask(0, cmdDisconnect, 0, 0)...)...))
	f.Fuzz(func(t *testing.T, in []byte) {
		d := newDisk(t, 16*SectorSize)
		out, err := talk(t, d, in)
		if err != nil && !errors.Is(err, errProtocol) && !errors.Is(err, errAborted) &&
			!errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got %v", err)
		}
		c := d.Counters()
		if most := 512 + 64*int64(len(in)) + c.ReadBytes; int64(len(out)) > most {
			t.Errorf("%d bytes in, %d out", len(in), len(out))
		}
		if d.cached > int64(len(in))+c.Writes*16*SectorSize {
			t.Errorf("%d bytes in the cache of %d that came", d.cached, len(in))
		}
	})
}

// A flush that was sent before the answer to a write has come does not always
// cover it; one that was sent after it does.
func TestFlushCoversOnlyWhatWasAnswered(t *testing.T) {
	write := append(ask(0, cmdWrite, 0, SectorSize), make([]byte, SectorSize)...)
	pair := append(write, ask(0, cmdFlush, 0, 0)...)
	left := 0
	for i := range 100 {
		d := newDisk(t, 16*SectorSize)
		if _, err := talk(t, d, append(hello(), bytes.Repeat(pair, 1+i%7)...)); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		left += len(d.cache)
		if err := d.Flush(); err != nil || len(d.cache) != 0 {
			t.Fatalf("%d writes in the cache after a flush, %v", len(d.cache), err)
		}
	}
	if left == 0 {
		t.Error("in 100 sessions no flush left a write that it did not have to cover")
	}
}
