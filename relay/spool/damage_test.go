package spool

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
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
	sc := scanner{f: f, size: size, tag: seg.tag}
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
		id   bool                // the report names the message
	}{
		{"body", func(r scanned) int64 { return r.off + headerSize + 10 }, true},
		{"envelope", func(r scanned) int64 { return r.off + headerSize + int64(r.bodyLen) + 3 }, true},
		{"header", func(r scanned) int64 { return r.off + 20 }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
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
			if want := []ID{ids[0], ids[2]}; !slices.Equal(got, want) {
				t.Errorf("got %v, want the two others %v", got, want)
			}
			want := []string{"set aside"}
			if tt.name == "body" {
				want = append(want, `a message is lost, message "`+ids[1]+`", from "anna@office.example", to "<x@a.example>"`)
			}
			reports.want(t, want...)
			if tt.id != strings.Contains(reports.list[0], ids[1]) {
				t.Errorf("report %q", reports.list[0])
			}
			if !slices.ContainsFunc(allNames(disk), func(n string) bool { return strings.HasPrefix(n, "quarantine-") }) {
				t.Error("nothing was set aside")
			}
			// It goes on, and says it once only.
			appendBody(t, l, pattern(100), "x@a.example")
			stop()
			reports = damages{}
			l, _ = running(t, disk, Config{Events: reports.sink})
			if n := len(l.Messages()); n != 3 {
				t.Errorf("got %d messages, want 3", n)
			}
			if len(reports.list) > 1 {
				t.Errorf("reported again: %q", reports.list)
			}
		})
	}
}

// The last record of all was flushed, which the mark at the end shows: its
// loss is not taken for a torn tail.
func TestDamageAtTheEnd(t *testing.T) {
	disk := newFaultDisk(1)
	ids := written(t, disk, 3000, 3000)
	name := segmentNames(disk)[0]
	disk.names[name].data[records(t, disk, name)[1].off+100] ^= 1
	var reports damages
	l, _ := running(t, disk, Config{Events: reports.sink})
	if got := l.Messages(); len(got) != 1 || got[0].ID != ids[0] {
		t.Errorf("got %v", got)
	}
	reports.want(t, "set aside", "a message is lost")
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
