package button

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Codes of keys (linux/input-event-codes.h).
const (
	KeyPower   = 116
	KeyRestart = 408 // what the device trees of most boards call the reset button
)

// One struct input_event of a 64-bit kernel (linux/input.h): two 64-bit words
// of time, type, code, value.
const (
	eventSize = 24
	typeKey   = 1 // EV_KEY
)

// Keys watches the kernel's input devices for one key. The modules evdev and
// gpio_keys (or ACPI's button) must be loaded.
type Keys struct {
	Dir  string       // folder of the devices, "/dev/input"
	Code uint16       // of the key
	Log  *slog.Logger // nil means discard
}

// Run calls changed with true for every press of the key and with false for
// every release, from one goroutine a device, until ctx is done. Devices that
// appear later are found too. It always returns nil.
func (k Keys) Run(ctx context.Context, changed func(pressed bool)) error {
	log := k.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	var mu sync.Mutex
	watched := map[string]bool{}
	look := func() {
		paths, _ := filepath.Glob(filepath.Join(k.Dir, "event*"))
		for _, path := range paths {
			mu.Lock()
			known := watched[path]
			watched[path] = true
			mu.Unlock()
			if known {
				continue
			}
			wg.Go(func() {
				if err := k.watch(ctx, path, changed); err != nil && ctx.Err() == nil {
					log.Debug("input device", "path", path, "error", err)
				}
				mu.Lock()
				delete(watched, path)
				mu.Unlock()
			})
		}
	}
	// Nodes appear within moments of the start; a keyboard may be plugged in
	// at any time.
	pause := 100 * time.Millisecond
	for {
		look()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(pause*2, 5*time.Second)
	}
}

func (k Keys) watch(ctx context.Context, path string, changed func(bool)) error {
	// Non-blocking, so that Close ends a Read that waits.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer stop()
	defer f.Close()
	return k.read(f, changed)
}

// read reads events to the end of r. A repeat is neither press nor release.
func (k Keys) read(r io.Reader, changed func(bool)) error {
	var buf [eventSize]byte
	for {
		if _, err := io.ReadFull(r, buf[:]); err != nil {
			return err
		}
		kind := binary.NativeEndian.Uint16(buf[16:])
		code := binary.NativeEndian.Uint16(buf[18:])
		value := binary.NativeEndian.Uint32(buf[20:])
		if kind == typeKey && code == k.Code && value <= 1 {
			changed(value == 1)
		}
	}
}
