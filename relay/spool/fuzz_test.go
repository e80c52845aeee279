package spool

import (
	"bytes"
	"testing"
)

// FuzzScan reads segments with arbitrary contents: a scan must end, must not
// panic, must give out only records with right checksums, and must find again
// what it has found.
func FuzzScan(f *testing.F) {
	const tag = 0x1122334455667788
	seg := make([]byte, blockSize)
	rec := finishRecord(append(make([]byte, headerSize), "Subject: x\r\n\r\n"...), kindMessage, 77, []byte(`{"from":"a@b.example","rcpts":[{"addr":"c@d.example"}]}`))
	stamp(rec, tag, blockSize)
	seg = append(seg, rec...)
	second := bytes.Clone(rec)
	second[60] ^= 1
	f.Add(bytes.Clone(seg))
	f.Add(append(bytes.Clone(seg), second...))
	f.Add(append(append(bytes.Clone(seg), second...), rec...))
	f.Add(append(append(bytes.Clone(seg), make([]byte, 9000)...), rec...))
	f.Fuzz(func(t *testing.T, input []byte) {
		data := bytes.Clone(input)
		file := &faultFile{newFaultDisk(1), &inode{data: data}}
		run := func(trusted int64) (offs []int64, res scanResult) {
			s := scanner{f: file, size: int64(len(data)), tag: tag, trusted: trusted}
			last := int64(blockSize)
			res, err := s.run(func(r scanned) error {
				if r.off < last || r.off%recordAlign != 0 || trusted == 0 && sum(r.body) != r.bodySum || sum(r.meta) != r.metaSum {
					t.Fatalf("record %+v after %d", r.header, last)
				}
				last = r.off + r.size()
				offs = append(offs, r.off)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if res.end != last {
				t.Fatalf("end %d, want %d", res.end, last)
			}
			return offs, res
		}
		run(int64(len(data))) // bodies are not read
		first, res := run(0)
		if res.junkTo > res.junkFrom && res.junkTo <= int64(len(data)) {
			// What Open does about a torn tail.
			clear(data[res.junkFrom:res.junkTo])
		}
		again, res := run(0)
		if len(again) != len(first) || res.junkTo != 0 {
			t.Fatalf("got %d records after cutting the tail, want %d", len(again), len(first))
		}
	})
}
