package spool

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// written makes a log of one message for each size, each in a flush of its
// own, in a closed state, and returns their ids.
func written(t *testing.T, disk *faultDisk, sizes ...int) []ID {
	t.Helper()
	l, stop := running(t, disk, Config{})
	defer stop()
	var ids []ID
	for _, n := range sizes {
		ids = append(ids, appendBody(t, l, pattern(n), "x@a.example"))
	}
	return ids
}

// records returns where the records of a segment are.
func records(t *testing.T, disk *faultDisk, name string) []scanned {
	t.Helper()
	f, err := disk.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	seq, _ := parseName(name, segmentSuffix)
	seg := segment{seq: seq}
	if _, err := seg.readHeader(f); err != nil {
		t.Fatal(err)
	}
	size, _ := f.Size()
	var all []scanned
	sc := scanner{f: f, size: size - blockSize, tag: seg.tag}
	if _, err := sc.run(func(r scanned) error { all = append(all, r); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

func allNames(disk *faultDisk) []string {
	disk.mu.Lock()
	defer disk.mu.Unlock()
	return slices.Sorted(maps.Keys(disk.names))
}

func segmentNames(disk *faultDisk) []string {
	names := allNames(disk)
	return slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, segmentSuffix) })
}

func TestDamageInTheMiddle(t *testing.T) {
	tests := []struct {
		name string
		at   func(scanned) int64 // which byte of the second message goes wrong
		// reports at the start; the last is of the reader where the message
		// stays.
		reports []string
		stays   bool
	}{
		{"body", func(r scanned) int64 { return r.off + headerSize + 10 }, []string{`a message cannot be read back, message "ID"`}, true},
		{"envelope", func(r scanned) int64 { return r.off + headerSize + int64(r.bodyLen) + 3 }, []string{`message "ID"`}, false},
		{"header", func(r scanned) int64 { return r.off + 20 }, []string{"set aside"}, false},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			disk := newFaultDisk(1)
			ids := written(t, disk, 3000, 3000, 3000)
			name := segmentNames(disk)[0]
			at := tt.at(records(t, disk, name)[1])
			disk.names[name].data[at] ^= 0x40

			var reports damages
			l, stop := running(t, disk, Config{Events: reports.sink})
			var got []ID
			for _, s := range l.Messages() {
				got = append(got, s.ID)
			}
			want := []ID{ids[0], ids[2]}
			if tt.stays {
				want = ids
				for range 2 { // it is reported once
					if _, err := readAll(l, ids[1]); !errors.Is(err, ErrDamaged) {
						t.Errorf("got %v, want ErrDamaged", err)
					}
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			for i := range tt.reports {
				tt.reports[i] = strings.ReplaceAll(tt.reports[i], "ID", ids[1])
			}
			reports.want(t, tt.reports...)
			if !slices.ContainsFunc(allNames(disk), func(n string) bool { return strings.HasPrefix(n, "quarantine-") && strings.HasSuffix(n, ".bin") }) {
				t.Error("nothing was set aside")
			}
			// What can be read is copied forward, and the segment goes.
			time.Sleep(time.Minute)
			if !tt.stays && slices.Contains(segmentNames(disk), name) {
				t.Error("the damaged segment is still there")
			}
			// It goes on, and says it once only, whether the segment is
			// gone already or not.
			appendBody(t, l, pattern(100), "x@a.example")
			stop()
			for range 3 {
				reports = damages{}
				l, stop = running(t, disk.kill(), Config{Events: reports.sink})
				if n := len(l.Messages()); n != len(want)+1 {
					t.Errorf("got %d messages, want %d", n, len(want)+1)
				}
				for _, id := range want {
					body, err := readAll(l, id)
					if tt.stays && id == ids[1] {
						if !errors.Is(err, ErrDamaged) {
							t.Errorf("got %v, want ErrDamaged", err)
						}
					} else if !bytes.Equal(body, pattern(3000)) {
						t.Errorf("%s: %d bytes, %v", id, len(body), err)
					}
				}
				stop()
				reports.want(t)
			}
		})
	}
}

// Records of one flush, of which one cannot be read: those behind it are found,
// and it is not taken for the gap before the next flush.
func TestDamageInABatch(t *testing.T) {
	for damaged := range 3 {
		synctest.Test(t, func(t *testing.T) {
			disk := newFaultDisk(1)
			l, stop := running(t, disk, Config{})
			appendBody(t, l, pattern(100), "x@a.example")
			// Three messages that wait while somebody else leads share a flush.
			l.mu.Lock()
			l.leading = true
			l.mu.Unlock()
			var all sync.WaitGroup
			for range 3 {
				all.Go(func() { appendBody(t, l, pattern(500), "x@a.example") })
			}
			synctest.Wait()
			l.release()
			all.Wait()
			appendBody(t, l, pattern(100), "x@a.example")
			stop()
			name := segmentNames(disk)[0]
			rec := records(t, disk, name)[1+damaged]
			disk.names[name].data[rec.off+20] ^= 1 // the header
			var reports damages
			l, stop = running(t, disk, Config{Events: reports.sink})
			if got := len(l.Messages()); got != 4 {
				t.Errorf("record %d damaged: got %d messages, want 4", damaged, got)
			}
			reports.want(t, "set aside")
			time.Sleep(time.Minute)
			stop()
			l, stop = running(t, disk, Config{Events: reports.sink})
			if got := len(l.Messages()); got != 4 {
				t.Errorf("record %d damaged: got %d messages after copying forward, want 4", damaged, got)
			}
			stop()
		})
	}
}

// Damage in the last flush of a segment is known for what it is though the next
// segment, of which the header said so, is gone.
func TestDamageBehindAFreedSegment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newFaultDisk(1)
		l, stop := running(t, disk, Config{})
		appendBody(t, l, pattern(30000), "x@a.example")
		appendBody(t, l, pattern(100), "x@a.example")
		first := rotate(t, l)
		id := appendBody(t, l, pattern(100), "x@a.example")
		next := rotate(t, l)
		appendBody(t, l, pattern(30000), "x@a.example")
		if err := l.Record(t.Context(), id, Outcome{State: StateDelivered}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		l.mu.Lock()
		next.pins--
		l.mu.Unlock()
		time.Sleep(time.Minute)
		stop()
		if slices.Contains(segmentNames(disk), next.name()) {
			t.Fatal("the segment in the middle is not freed: the test shows nothing")
		}
		all := records(t, disk, first.name())
		disk.names[first.name()].data[all[len(all)-1].off+20] ^= 1
		var reports damages
		l, _ = running(t, disk, Config{Events: reports.sink})
		if got := len(l.Messages()); got != 2 {
			t.Errorf("got %d messages, want 2", got)
		}
		reports.want(t, "set aside")
	})
}

// The same without time for the compactor: the report is not repeated.
func TestDamageReportedOnce(t *testing.T) {
	disk := newFaultDisk(1)
	written(t, disk, 3000, 3000, 3000)
	name := segmentNames(disk)[0]
	disk.names[name].data[records(t, disk, name)[1].off+20] ^= 1
	for i := range 3 {
		var reports damages
		l, err := Open(disk, Config{Events: reports.sink, SegmentSize: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(l.Messages()); n != 2 {
			t.Errorf("got %d messages, want 2", n)
		}
		if l.Close(); i == 0 {
			reports.want(t, "set aside")
		} else {
			reports.want(t)
		}
	}
}

// The last record of all was flushed, which the mark at the end shows: its
// damage is not taken for a torn tail.
func TestDamageAtTheEnd(t *testing.T) {
	for _, body := range []bool{true, false} {
		disk := newFaultDisk(1)
		ids := written(t, disk, 3000, 3000)
		name := segmentNames(disk)[0]
		r := records(t, disk, name)[1]
		at := r.off + 100
		if !body {
			at = r.off + headerSize + int64(r.bodyLen) + 3
		}
		disk.names[name].data[at] ^= 1
		var reports damages
		l, stop := running(t, disk, Config{Events: reports.sink})
		got := l.Messages()
		if body {
			if len(got) != 2 || got[1].ID != ids[1] {
				t.Errorf("got %v, want both", got)
			}
			if _, err := readAll(l, ids[1]); !errors.Is(err, ErrDamaged) {
				t.Errorf("got %v, want ErrDamaged", err)
			}
			reports.want(t, "cannot be read back")
		} else {
			if len(got) != 1 || got[0].ID != ids[0] {
				t.Errorf("got %v, want the first", got)
			}
			reports.want(t, "set aside")
		}
		stop()
	}
}

func TestDamageAfterOpen(t *testing.T) {
	disk := newFaultDisk(1)
	var reports damages
	l, _ := running(t, disk, Config{Events: reports.sink})
	small := appendBody(t, l, pattern(3000), "x@a.example")
	large := appendBody(t, l, pattern(20000), "x@a.example")
	name := segmentNames(disk)[0]
	all := records(t, disk, name)
	disk.mu.Lock()
	disk.names[name].data[all[0].off+2000] ^= 1
	disk.names[name].data[all[4].off+2000] ^= 1 // the fourth part of the other
	disk.mu.Unlock()
	if _, err := l.Open(small); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v, want ErrDamaged at once", err)
	}
	got, err := readAll(l, large)
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v, want ErrDamaged", err)
	}
	if !bytes.HasPrefix(pattern(20000), got) || len(got) != 3*l.chunk {
		t.Errorf("%d bytes were given out, want the %d before the damage", len(got), 3*l.chunk)
	}
	reports.want(t, small, large)
}

func TestDamagedSegmentHeader(t *testing.T) {
	disk := newFaultDisk(1)
	ids := written(t, disk, 3000, 3000)
	name := segmentNames(disk)[0]
	clear(disk.names[name].data[:blockSize])
	var reports damages
	l, _ := running(t, disk, Config{Events: reports.sink})
	reports.want(t, "the header of a segment is damaged")
	if got := l.Messages(); len(got) != 2 || got[1].ID != ids[1] {
		t.Errorf("got %d messages, want both", len(got))
	}
}

func TestNotASegment(t *testing.T) {
	disk := newFaultDisk(1)
	name := segmentName(7)
	disk.names[name] = &inode{data: bytes.Repeat([]byte("rubbish "), 10000)}
	disk.names["README"] = &inode{data: []byte("not ours")}
	var reports damages
	l, _ := running(t, disk, Config{Events: reports.sink})
	reports.want(t, "was set aside")
	if names := allNames(disk); !slices.Contains(names, name+badSuffix) || !slices.Contains(names, "README") {
		t.Error("a file is gone")
	}
	appendBody(t, l, pattern(10), "x@a.example")
	if names := segmentNames(disk); len(names) != 1 || names[0] <= name {
		t.Errorf("got segments %v, want one with a higher number", names)
	}
}

// A message cannot smuggle a record into the log: its text is a whole valid
// record of another log, and the record around it is then damaged.
func TestRecordInsideAMessage(t *testing.T) {
	forged := func(number uint64, tag uint64) []byte {
		rec := finishRecord(make([]byte, headerSize), kindDead, number, nil)
		stamp(rec, tag, 0)
		return rec
	}
	disk := newFaultDisk(1)
	l, stop := running(t, disk, Config{})
	victim := appendBody(t, l, pattern(100), "x@a.example")
	number, _ := parseID(victim)
	body := bytes.Repeat(forged(number, 12345), 50)
	appendBody(t, l, body, "x@a.example")
	last := appendBody(t, l, pattern(100), "x@a.example")
	stop()
	name := segmentNames(disk)[0]
	disk.names[name].data[records(t, disk, name)[1].off+1] ^= 1
	l, _ = running(t, disk, Config{})
	if got := l.Messages(); len(got) != 2 || got[0].ID != victim || got[1].ID != last {
		t.Errorf("got %d messages, want the first and the last", len(got))
	}
}

// Live messages and last words survive copying forward, restarts, and the
// space stays bounded.
func TestCopyForward(t *testing.T) { synctest.Test(t, testCopyForward) }

func testCopyForward(t *testing.T) {
	disk := newFaultDisk(1)
	var reports damages
	kept := make(map[ID][]byte)
	var partly []ID
	for round := range 6 {
		l, stop := running(t, disk, Config{Events: reports.sink})
		for i := range 60 {
			body := pattern(1000 + i*200)
			id := appendBody(t, l, body, "x@a.example", "y@b.example")
			switch {
			case i%20 == 0:
				kept[id] = body
				if i%40 == 0 {
					partly = append(partly, id)
					if err := l.Record(t.Context(), id, Outcome{Rcpt: 1, State: StateDelivered, Tries: 1}); err != nil {
						t.Fatal(err)
					}
				}
			default:
				// The two last words come in two records, much later.
				if err := l.Record(t.Context(), id, Outcome{Rcpt: 0, State: StateDelivered}); err != nil {
					t.Fatal(err)
				}
				if err := l.Record(t.Context(), id, Outcome{Rcpt: 1, State: StateReturned}); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(time.Minute) // let it free what it can
		stop()
		l, stop = running(t, disk, Config{Events: reports.sink})
		time.Sleep(time.Minute)
		if got := len(l.Messages()); got != len(kept) {
			t.Errorf("round %d: got %d messages, want %d", round, got, len(kept))
		}
		for id, body := range kept {
			if got, err := readAll(l, id); err != nil || !bytes.Equal(got, body) {
				t.Errorf("round %d: %s: %d bytes, %v", round, id, len(got), err)
			}
		}
		for _, id := range partly {
			if s, _ := l.Get(id); s.Outcomes[1].State != StateDelivered || s.Outcomes[0].State != "" {
				t.Errorf("round %d: outcomes %+v", round, s.Outcomes)
			}
		}
		l.mu.Lock()
		for _, s := range l.segs {
			if s.stuck {
				t.Errorf("round %d: segment %s is stuck", round, s.name())
			}
		}
		l.mu.Unlock()
		stop()
	}
	l, _ := running(t, disk, Config{Events: reports.sink})
	if u := l.Usage(); u.Bytes > 4*u.Live+256<<10 {
		t.Errorf("%d bytes on disk for %d live ones", u.Bytes, u.Live)
	}
	reports.want(t)
	t.Logf("%+v, %d segments so far", l.Usage(), l.lastSeq)
}
