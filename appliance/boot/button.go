package boot

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// One struct input_event of a 64-bit kernel (linux/input.h): two 64-bit words
// of time, type, code, value.
const (
	eventSize = 24
	typeKey   = 1   // EV_KEY
	keyPower  = 116 // KEY_POWER
)

// PowerButton watches the kernel's input devices for the power key. The
// modules evdev and gpio_keys (or ACPI's button) must be loaded.
type PowerButton struct {
	Dir string       // folder of the devices, "/dev/input"
	Log *slog.Logger // nil means discard
}

// Run calls pressed once for every press of the power key, from one goroutine
// a device, until ctx is done. Devices that appear later are found too. It
// always returns nil.
func (b PowerButton) Run(ctx context.Context, pressed func()) error {
	log := b.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	var mu sync.Mutex
	watched := map[string]bool{}
	look := func() {
		paths, _ := filepath.Glob(filepath.Join(b.Dir, "event*"))
		for _, path := range paths {
			mu.Lock()
			known := watched[path]
			watched[path] = true
			mu.Unlock()
			if known {
				continue
			}
			wg.Go(func() {
				if err := watchDevice(ctx, path, pressed); err != nil && ctx.Err() == nil {
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

func watchDevice(ctx context.Context, path string, pressed func()) error {
	// Non-blocking, so that Close ends a Read that waits.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer stop()
	defer f.Close()
	return readKeys(f, pressed)
}

// readKeys reads events to the end of r and calls pressed for each press of
// the power key; a release or a repeat is not a press.
func readKeys(r io.Reader, pressed func()) error {
	var buf [eventSize]byte
	for {
		if _, err := io.ReadFull(r, buf[:]); err != nil {
			return err
		}
		kind := binary.NativeEndian.Uint16(buf[16:])
		code := binary.NativeEndian.Uint16(buf[18:])
		value := binary.NativeEndian.Uint32(buf[20:])
		if kind == typeKey && code == keyPower && value == 1 {
			pressed()
		}
	}
}
