package spool

import (
	"errors"
	"fmt"
	"strings"
)

// maxQuarantine bounds one quarantine file in bytes.
const maxQuarantine = 4 << 20

// quarantine copies a damaged part of a segment to a file of its own and
// reports it. The file stays until somebody removes it; while it is there the
// same damage is not reported again.
func (l *Log) quarantine(seg *segment, b badRange) {
	seg.stuck = true
	name := fmt.Sprintf("quarantine-%016x-%x.bin", seg.seq, b.from)
	if f, err := l.disk.Open(name); err == nil {
		l.log.Warn("spool: damage that is known", "file", name, "error", f.Close())
		return
	}
	whose := ""
	if b.headerOK && b.head.kind != kindMark {
		whose = formatID(b.head.number)
	}
	err := l.copyOut(seg, b, name)
	l.report("a record cannot be read back and was set aside", "segment", seg.name(), "offset", b.from, "bytes", b.to-b.from,
		"message", whose, "file", name, "error", err)
}

func (l *Log) copyOut(seg *segment, b badRange, name string) error {
	f, err := l.disk.Create(name)
	if err != nil {
		return err
	}
	// Unreadable blocks stay zero, the rest is kept.
	to := min(b.to, b.from+maxQuarantine)
	block := make([]byte, blockSize)
	for off := b.from; off < to && err == nil; off += blockSize {
		n := min(blockSize, to-off)
		clear(block)
		_, readErr := seg.file.ReadAt(block[:n], off)
		_, err = f.WriteAt(block[:n], off-b.from)
		err = errors.Join(err, readErr)
	}
	return errors.Join(err, f.Sync(), f.Close(), l.disk.SyncDir())
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
