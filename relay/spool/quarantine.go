package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// quarantine copies a damaged part of a segment to a file of its own and
// reports it; while that file is there the same damage is not reported again.
// It reports whether the damage is new. What can be read of the segment is
// copied forward, and the segment is freed, unless the copy failed.
func (l *Log) quarantine(seg *segment, b badRange) (fresh bool) {
	seg.damaged = true
	whose := ""
	if b.headerOK && b.head.kind != kindMark {
		whose = formatID(b.head.number)
	}
	name := quarantineName(fmt.Sprintf("%016x-%x", seg.seq, b.from))
	fresh, err := l.reportOnce(name, func(f File) error { return copyOut(seg, b.from, b.to, f) },
		"a record cannot be read back and was set aside", "segment", seg.name(), "offset", b.from, "bytes", b.to-b.from, "message", whose)
	if err != nil {
		seg.stuck = true
	}
	return fresh
}

// quarantineName is the name of the file about something that was damaged: an
// id, or a segment and an offset.
func quarantineName(what string) string { return "quarantine-" + what + ".bin" }

// reportOnce reports damage unless a file of that name exists, and makes the
// file, with what fill writes to it. The file stays until somebody removes it.
// It says whether the damage is new, and whether the file is durable.
func (l *Log) reportOnce(name string, fill func(File) error, detail string, args ...any) (fresh bool, err error) {
	if f, err := l.disk.Open(name); err == nil {
		l.log.Warn("spool: damage that is known", "file", name, "error", f.Close())
		return false, nil
	}
	temp := name + ".part"
	defer func() {
		// Reported first: a cut in between repeats it, and loses nothing.
		l.report(detail, append(args, "file", name, "error", err)...)
		if err == nil {
			err = errors.Join(l.disk.Rename(temp, name), l.disk.SyncDir())
		}
	}()
	if err := l.disk.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return true, err
	}
	f, err := l.disk.Create(temp)
	if err != nil {
		return true, err
	}
	if fill != nil {
		err = fill(f)
	}
	return true, errors.Join(err, f.Sync(), f.Close())
}

// copyOut copies a range of a segment to f. What cannot be read is zeros.
func copyOut(seg *segment, from, to int64, f File) error {
	block := make([]byte, 64<<10)
	for off := from; off < to; off += int64(len(block)) {
		b := block[:min(int64(len(block)), to-off)]
		_ = readAround(seg.file, b, off) // why it is set aside
		if _, err := f.WriteAt(b, off-from); err != nil {
			return err
		}
	}
	return nil
}

// rcptList names recipients for a report, bounded and escaped.
func rcptList(env *Envelope) string {
	var b strings.Builder
	for i, r := range env.Rcpts {
		if i == 10 {
			fmt.Fprintf(&b, " and %d more", len(env.Rcpts)-i)
			break
		}
		fmt.Fprintf(&b, "%s<%.320s>", map[bool]string{true: " "}[i > 0], r.Addr)
	}
	return b.String()
}

// sprintPair renders one key and value of a report.
func sprintPair(key, value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		if v == "" {
			return ""
		}
		return fmt.Sprintf(", %v %q", key, v)
	}
	return fmt.Sprintf(", %v %v", key, value)
}
