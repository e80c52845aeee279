package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	mib     = 1 << 20
	oldSize = 8 * mib
	newSize = 12*mib + 7*SectorSize
)

// medium is a disk that loses or keeps each sector of the writes since the
// last Sync when the power goes.
type medium struct {
	data  []byte           // what survives
	cache map[int64][]byte // sectors written since
	left  int              // Syncs and writes until the power goes; negative: never
}

var errPower = errors.New("the power is gone")

func newMedium(data []byte, size int) *medium {
	m := &medium{data: make([]byte, size), cache: map[int64][]byte{}, left: -1}
	copy(m.data, data)
	return m
}

func (m *medium) step() error {
	if m.left == 0 {
		return errPower
	}
	if m.left > 0 {
		m.left--
	}
	return nil
}

func (m *medium) ReadAt(b []byte, off int64) (int, error) {
	n, err := bytes.NewReader(m.data).ReadAt(b, off)
	for at, s := range m.cache {
		if at >= off && at < off+int64(n) {
			copy(b[at-off:n], s)
		}
	}
	return n, err
}

func (m *medium) WriteAt(b []byte, off int64) (int, error) {
	if off%SectorSize != 0 || len(b)%SectorSize != 0 || off+int64(len(b)) > int64(len(m.data)) {
		return 0, fmt.Errorf("a write of %d bytes at %d", len(b), off)
	}
	for i := 0; i < len(b); i += SectorSize {
		m.cache[off+int64(i)] = slices.Clone(b[i : i+SectorSize])
	}
	return len(b), m.step()
}

func (m *medium) Sync() error {
	if err := m.step(); err != nil {
		return err
	}
	m.keep(func() bool { return true })
	return nil
}

// keep puts those sectors of the cache on the medium for which it is asked to.
func (m *medium) keep(choose func() bool) {
	for _, at := range slices.Sorted(mapKeys(m.cache)) {
		if choose() {
			copy(m.data[at:], m.cache[at])
		}
	}
	clear(m.cache)
}

func mapKeys(m map[int64][]byte) func(func(int64) bool) {
	return func(yield func(int64) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func guid(t testing.TB, s string) GUID {
	t.Helper()
	g, err := ParseGUID(s)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// sample is a disk with two partitions, as the image has it.
func sample(t testing.TB) []byte {
	t.Helper()
	sectors := uint64(oldSize / SectorSize)
	tab := &Table{
		Disk: guid(t, "6B0D5C6E-43F7-4B0C-9D0B-7A4E5E0D0001"),
		Partitions: []Partition{
			{1, guid(t, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"), GUID{15: 1}, 2048, 2*2048 - 1, 0, "one-boot"},
			{2, guid(t, "0FC63DAF-8483-4772-8E79-3D69D8477DE4"), GUID{15: 2}, 2 * 2048, 5*2048 - 1, 0, "two-data"},
		},
		firstUsable: 34, lastUsable: sectors - 34, entriesAt: primaryEntries, backupAt: sectors - 1,
	}
	m := newMedium(nil, oldSize)
	mbr := m.data[446:512]
	mbr[4], mbr[64], mbr[65] = 0xEE, 0x55, 0xAA
	binary.LittleEndian.PutUint32(mbr[8:], 1)
	binary.LittleEndian.PutUint32(mbr[12:], uint32(sectors-1))
	if err := tab.Write(m, tab); err != nil {
		t.Fatal(err)
	}
	return m.data
}

// grow is what a start does with a disk.
func grow(d Disk, size int64) (bool, error) {
	tab, err := Read(d, size)
	if err != nil {
		return false, err
	}
	g, changed, err := tab.Grown(d, size)
	if err != nil || !changed {
		return false, err
	}
	return true, g.Write(d, tab)
}

// grown makes sure that the disk is as it should be at the end.
func grown(t *testing.T, data []byte) {
	t.Helper()
	m := newMedium(data, len(data))
	tab, err := Read(m, int64(len(data)))
	if err != nil || tab.FromBackup {
		t.Fatalf("the table at the end: %+v, %v", tab, err)
	}
	two := tab.Partitions[1]
	if len(tab.Partitions) != 2 || two.First != 2*2048 || two.Last != 11*2048-1 || two.Name != "two-data" || tab.firstUsable != 34 || tab.entriesAt != primaryEntries {
		t.Fatalf("got %+v", tab)
	}
	clear(m.data[SectorSize : 2*SectorSize])
	backup, err := Read(m, int64(len(data)))
	if err != nil || !backup.FromBackup || !slices.Equal(backup.Partitions, tab.Partitions) {
		t.Fatalf("the backup: %+v, %v", backup, err)
	}
	if got := binary.LittleEndian.Uint32(m.data[446+12:]); got != uint32(len(data)/SectorSize-1) {
		t.Errorf("the protective MBR is for %d sectors", got)
	}
}

func TestGrow(t *testing.T) {
	m := newMedium(sample(t), newSize)
	if changed, err := grow(m, newSize); err != nil || !changed {
		t.Fatalf("got %v, %v", changed, err)
	}
	grown(t, m.data)
	if changed, err := grow(m, newSize); err != nil || changed {
		t.Errorf("a second time: got %v, %v; want nothing to do", changed, err)
	}
	same := newMedium(sample(t), oldSize)
	if changed, err := grow(same, oldSize); err != nil || !changed {
		t.Fatalf("the room of 8 MiB: got %v, %v", changed, err)
	}
}

// Whenever the power goes, the primary table that Linux looks at is whole and
// is the old one or the new one, and the next start brings it to the end.
func TestPowerCuts(t *testing.T) {
	old := sample(t)
	noPrimary := slices.Clone(old)
	noPrimary = append(noPrimary, make([]byte, newSize-oldSize)...)
	// The backup of a disk that has grown already and lost its primary table.
	m := newMedium(old, newSize)
	if _, err := grow(m, newSize); err != nil {
		t.Fatal(err)
	}
	lost := slices.Clone(m.data)
	clear(lost[SectorSize : 34*SectorSize])
	rng := rand.New(rand.NewPCG(5, 3))
	for name, start := range map[string][]byte{"old table": noPrimary, "primary lost": lost} {
		cuts, steps := 0, 0
		for cut := 0; ; cut++ {
			finished := false
			for try := range 25 {
				m := newMedium(start, newSize)
				m.left = cut
				_, err := grow(m, newSize)
				if err == nil {
					finished = true
					break
				}
				if !errors.Is(err, errPower) {
					t.Fatalf("%s: cut %d: %v", name, cut, err)
				}
				cuts++
				m.left = -1
				switch try { // all, none, then any
				case 0:
					m.keep(func() bool { return true })
				case 1:
					m.keep(func() bool { return false })
				default:
					m.keep(func() bool { return rng.IntN(2) == 0 })
				}
				tab, err := Read(m, newSize)
				if err != nil {
					t.Fatalf("%s: cut %d: no table is left: %v", name, cut, err)
				}
				if tab.FromBackup && name == "old table" {
					t.Fatalf("%s: cut %d: only the backup is left", name, cut)
				}
				if p := tab.Partitions; len(p) != 2 || p[0].Name != "one-boot" || p[1].First != 2*2048 {
					t.Fatalf("%s: cut %d: %+v", name, cut, p)
				}
				if _, err := grow(m, newSize); err != nil {
					t.Fatalf("%s: cut %d: the next start: %v", name, cut, err)
				}
				grown(t, m.data)
			}
			if finished {
				steps = cut
				break
			}
		}
		t.Logf("%s: %d steps, %d cuts", name, steps, cuts)
		if steps < 10 {
			t.Errorf("%s: only %d steps were cut", name, steps)
		}
	}
}

func TestRefused(t *testing.T) {
	old := sample(t)
	sign := func(b []byte) { // of the primary header and its entries
		h := b[SectorSize : 2*SectorSize]
		binary.LittleEndian.PutUint32(h[atArrayCRC:], crc32.ChecksumIEEE(b[2*SectorSize:34*SectorSize]))
		binary.LittleEndian.PutUint32(h[atCRC:], headerCRC(h))
	}
	noBackup := func(b []byte) { clear(b[oldSize-33*SectorSize:]) }
	for _, tc := range []struct {
		name   string
		change func([]byte) []byte
		want   string // "" means that the backup is used
	}{
		{"primary header torn", func(b []byte) []byte { b[SectorSize+60] ^= 1; return b }, ""},
		{"primary entries torn", func(b []byte) []byte { b[2*SectorSize+60] ^= 1; return b }, ""},
		{"both damaged", func(b []byte) []byte {
			b[SectorSize+60] ^= 1
			b[oldSize-100] ^= 1
			b[oldSize-SectorSize+60] ^= 1
			return b
		}, "wrong checksum of the header; the backup: wrong"},
		{"no table", func(b []byte) []byte { return make([]byte, len(b)) }, "no partition table (GPT)"},
		{"too small", func(b []byte) []byte { return b[:6*mib] }, "the image was cut off"},
		{"tiny", func(b []byte) []byte { return b[:5000] }, "no partition table"},
		{"overlap", func(b []byte) []byte {
			noBackup(b)
			binary.LittleEndian.PutUint64(b[2*SectorSize+128+32:], 2100)
			sign(b)
			return b
		}, "overlap"},
		{"outside", func(b []byte) []byte {
			noBackup(b)
			binary.LittleEndian.PutUint64(b[2*SectorSize+128+40:], 1<<40)
			sign(b)
			return b
		}, "outside"},
		{"another number of entries", func(b []byte) []byte {
			noBackup(b)
			b[SectorSize+atCount] = 4
			sign(b)
			return b
		}, "4 entries"},
		{"entries elsewhere", func(b []byte) []byte {
			noBackup(b)
			b[SectorSize+atEntries] = 50
			sign(b)
			return b
		}, "at sector 50"},
		{"something behind the name's end", func(b []byte) []byte {
			noBackup(b)
			b[2*SectorSize+120] = 'x'
			sign(b)
			return b
		}, "not known"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := tc.change(slices.Clone(old))
			tab, err := Read(bytes.NewReader(b), int64(len(b)))
			if tc.want == "" {
				if err != nil || !tab.FromBackup || len(tab.Partitions) != 2 {
					t.Errorf("got %+v, %v; want the backup", tab, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestGUID(t *testing.T) {
	const text = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	g := guid(t, text)
	if g.String() != text || g[0] != 0x28 || g[3] != 0xC1 || g[8] != 0xBA {
		t.Errorf("got %s, % x", g, g[:])
	}
	for _, bad := range []string{"", "C12A7328", text + "0", strings.ReplaceAll(text, "-", "")} {
		if _, err := ParseGUID(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// Another program (sgdisk) makes the table, and finds no fault with what was
// made of it.
func TestSgdisk(t *testing.T) {
	sgdisk, err := exec.LookPath("sgdisk")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("sgdisk is not installed (Debian package gdisk)") // make test installs it
		}
		t.Skip("sgdisk is not installed (Debian package gdisk)")
	}
	img := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(img)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(oldSize); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		out, err := exec.Command(sgdisk, append(args, img)...).CombinedOutput()
		if err != nil {
			t.Fatalf("sgdisk %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	run("-n", "1:2048:4095", "-t", "1:ef00", "-c", "1:one-boot", "-n", "2:4096:10239", "-t", "2:8300", "-c", "2:two-data")
	if err := f.Truncate(newSize); err != nil {
		t.Fatal(err)
	}
	if changed, err := grow(f, newSize); err != nil || !changed {
		t.Fatalf("got %v, %v", changed, err)
	}
	if out := run("-v"); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v: %s", out)
	}
	if out := run("-i", "2"); !strings.Contains(out, "Last sector: 22527 ") || !strings.Contains(out, "two-data") {
		t.Errorf("sgdisk -i 2: %s", out)
	}
}

func FuzzRead(f *testing.F) {
	old := sample(f)
	compact := append(slices.Clone(old[:34*SectorSize]), old[oldSize-33*SectorSize:]...)
	f.Add(compact, uint32(oldSize))
	f.Add(compact[:2*SectorSize], uint32(oldSize))
	f.Add([]byte{}, uint32(0))
	f.Fuzz(func(t *testing.T, data []byte, size uint32) {
		size %= 9 * mib
		m := newMedium(data[:min(len(data), int(size))], int(size))
		if n := 33 * SectorSize; len(data) > 67*SectorSize-1 && int(size) >= len(data) {
			copy(m.data[int(size)/SectorSize*SectorSize-n:], data[34*SectorSize:67*SectorSize])
		}
		tab, err := Read(m, int64(size))
		if err != nil {
			return
		}
		for _, p := range tab.Partitions {
			if p.Size() <= 0 || p.Last*SectorSize >= uint64(size) {
				t.Fatalf("partition %+v on a disk of %d bytes", p, size)
			}
		}
		g, changed, err := tab.Grown(m, int64(size))
		if err != nil || !changed {
			return
		}
		if err := g.Write(m, tab); err != nil {
			t.Fatal(err)
		}
		again, err := Read(m, int64(size))
		if err != nil || !slices.Equal(again.Partitions, g.Partitions) || again.FromBackup {
			t.Fatalf("after the change: %+v, %v; want %+v", again, err, g)
		}
	})
}
