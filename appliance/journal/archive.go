package journal

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"gatepost/appliance/statefile"
)

// Limits of an archive: all its files together, and one file unpacked, which
// bounds what reading a file may cost.
const (
	ArchiveBytes = 2 << 20
	maxUnpacked  = 4 << 20
)

// Archive keeps old lines on the disk, one compressed file for each Save, so
// that what happened before a restart can be read after it. A file is whole or
// not there at all, whenever the power goes. One goroutine at a time may use
// an archive.
type Archive struct {
	Root  *os.Root // the folder; nothing else may be in it that ends in archiveSuffix
	Limit int64    // bytes of all files; 0 means ArchiveBytes
}

const archiveSuffix = ".log.gz"

// Save writes the lines to a file of their own and removes the oldest files
// beyond the limit. No lines are no file.
func (a Archive) Save(lines []Line) error {
	if len(lines) == 0 {
		return nil
	}
	var packed bytes.Buffer
	zip, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(zip)
	for _, l := range lines {
		if err := enc.Encode(l); err != nil {
			return fmt.Errorf("log on the disk: %w", err)
		}
	}
	if err := zip.Close(); err != nil {
		return fmt.Errorf("log on the disk: %w", err)
	}
	files, err := a.files()
	if err != nil {
		return err
	}
	next := 1
	if len(files) > 0 {
		_, _ = fmt.Sscanf(files[len(files)-1].name, "%d", &next) // files are named so
		next++
	}
	limit := a.Limit
	if limit == 0 {
		limit = ArchiveBytes
	}
	// Room first: the disk may be nearly full.
	var errs []error
	total := int64(packed.Len())
	for _, f := range files {
		total += f.size
	}
	for ; len(files) > 0 && total > limit; files = files[1:] {
		total -= files[0].size
		errs = append(errs, a.Root.Remove(files[0].name))
	}
	if total <= limit {
		errs = append(errs, statefile.Write(a.Root, fmt.Sprintf("%08d%s", next, archiveSuffix), packed.Bytes(), 0o600))
	}
	return errors.Join(errs...)
}

// Load returns the last lines that are kept, at most limit, oldest first. A
// file that cannot be read is left out and told in the error, beside the lines
// of the others.
func (a Archive) Load(limit int) ([]Line, error) {
	files, err := a.files()
	if err != nil {
		return nil, err
	}
	var out []Line
	var errs []error
	for _, f := range slices.Backward(files) {
		if len(out) >= limit {
			break
		}
		lines, err := a.read(f.name)
		if err != nil {
			errs = append(errs, fmt.Errorf("log on the disk: %s: %w", f.name, err))
		}
		out = append(lines, out...)
	}
	return out[max(0, len(out)-limit):], errors.Join(errs...)
}

// read returns the lines of a file up to the first that is not one.
func (a Archive) read(name string) ([]Line, error) {
	f, err := a.Root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLines(f)
}

func readLines(r io.Reader) ([]Line, error) {
	zip, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	var out []Line
	for dec := json.NewDecoder(io.LimitReader(zip, maxUnpacked)); ; {
		var l Line
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return out, err
		}
		l.Source, l.Text = Clean(l.Source), Clean(l.Text)
		out = append(out, l)
	}
}

type archived struct {
	name string
	size int64
}

// files lists the files, oldest first.
func (a Archive) files() ([]archived, error) {
	entries, err := fs.ReadDir(a.Root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("log on the disk: %w", err)
	}
	var out []archived
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || !strings.HasSuffix(e.Name(), archiveSuffix) {
			continue
		}
		out = append(out, archived{e.Name(), info.Size()})
	}
	return out, nil // ReadDir sorts, and the numbers have leading zeros
}

// SaveEvery is how often a Keeper writes at most.
const SaveEvery = time.Hour

// A Keeper saves what is new in a journal once an hour, and when it is told
// that the box stops.
type Keeper struct {
	Journal *Journal
	Archive Archive
	saved   uint64 // the last line that is on the disk
}

// Begin reads what is kept of the time before into the journal. It must come
// before Save; the lines that the journal has already stay the newest.
func (k *Keeper) Begin() error {
	lines, err := k.Archive.Load(cap(k.Journal.ring))
	k.saved = k.Journal.Prepend(lines)
	return err
}

// Save writes what came since the last Save. When less than everything fits
// into the journal's memory, the oldest lines are lost, as in memory.
func (k *Keeper) Save() error {
	lines := k.Journal.Lines(k.saved)
	if len(lines) == 0 {
		return nil
	}
	err := k.Archive.Save(lines)
	if err == nil {
		k.saved = lines[len(lines)-1].Seq
	}
	return err
}
