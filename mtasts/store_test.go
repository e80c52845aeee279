package mtasts_test

import (
	"os"
	"testing"

	"gatepost/mtasts"
	"gatepost/mtasts/storetest"
)

func TestMemoryStore(t *testing.T) {
	storetest.Run(t, storetest.Config{
		NotStored: mtasts.ErrNotStored,
		MaxSize:   mtasts.MaxEntrySize,
		Open:      func(t *testing.T) storetest.Store { return new(mtasts.MemoryStore) },
	})
}

func TestDirStore(t *testing.T) {
	open := func(t *testing.T, dir string) storetest.Store {
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { root.Close() })
		return mtasts.NewDirStore(root)
	}
	dirs := make(map[storetest.Store]string)
	storetest.Run(t, storetest.Config{
		NotStored: mtasts.ErrNotStored,
		MaxSize:   mtasts.MaxEntrySize,
		Open: func(t *testing.T) storetest.Store {
			dir := t.TempDir()
			s := open(t, dir)
			dirs[s] = dir
			return s
		},
		Reopen: func(t *testing.T, s storetest.Store) storetest.Store { return open(t, dirs[s]) },
	})
}
