package kernel

import (
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"time"
)

// watchSize writes a line every two seconds that tells how much of size
// bytes has arrived in dir. The returned function ends it and has joined it.
func watchSize(w io.Writer, what, dir string, size int64) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(2 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				fmt.Fprintf(w, "%s: %.1f of %.1f MB\n", what, mb(largest(dir)), mb(size))
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// largest gives the size of the largest file below dir.
func largest(dir string) int64 {
	var n int64
	// A file that vanishes while we look is only a moment's inaccuracy.
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			n = max(n, info.Size())
		}
		return nil
	})
	return n
}

func mb(n int64) float64 { return float64(n) / 1e6 }
