package button

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

func event(kind, code uint16, value uint32) []byte {
	b := make([]byte, eventSize)
	binary.NativeEndian.PutUint16(b[16:], kind)
	binary.NativeEndian.PutUint16(b[18:], code)
	binary.NativeEndian.PutUint32(b[20:], value)
	return b
}

func TestReadKeys(t *testing.T) {
	in := slices.Concat(event(0, 0, 0), event(typeKey, 30, 1), event(typeKey, KeyPower, 1),
		event(typeKey, KeyPower, 2), event(typeKey, KeyPower, 0), event(typeKey, KeyPower, 1))
	var got []bool
	Keys{Code: KeyPower}.read(bytes.NewReader(in), func(p bool) { got = append(got, p) })
	if want := []bool{true, false, true}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Whatever a device sends, no more is told than it can hold.
func FuzzKeys(f *testing.F) {
	f.Add(event(typeKey, KeyRestart, 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		if err := (Keys{Code: KeyRestart}).read(bytes.NewReader(data), func(bool) { n++ }); err == nil {
			t.Error("the end of the device is no error")
		}
		if n > len(data)/eventSize {
			t.Errorf("%d changes out of %d bytes", n, len(data))
		}
	})
}

func TestKeysFindALateDevice(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	pressed := make(chan bool, 1)
	done := make(chan error, 1)
	go func() { done <- Keys{Dir: dir, Code: KeyPower}.Run(ctx, func(p bool) { pressed <- p }) }()
	path := filepath.Join(dir, "event0")
	// A named pipe with a writer behaves like a device that has no event yet.
	if err := syscall.Mkfifo(path+".new", 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(path+".new", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(event(typeKey, KeyPower, 1)); err != nil {
		t.Fatal(err)
	}
	select {
	case p := <-pressed:
		if !p {
			t.Error("the press is told as a release")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the press was not seen")
	}
	cancel()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("Run did not end")
	}
}
