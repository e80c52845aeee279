package clock

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

// fakeServer is a connection to a server that answers each question with the
// same bytes; the time of the question is put in where the protocol wants it.
type fakeServer struct {
	net.Conn
	answer []byte
	echo   bool // put the time of the question in
	asked  []byte
}

func (f *fakeServer) Write(b []byte) (int, error) {
	f.asked = append([]byte(nil), b...)
	return len(b), nil
}

func (f *fakeServer) Read(b []byte) (int, error) {
	n := copy(b, f.answer)
	if f.echo && n >= 32 && len(f.asked) >= 48 {
		copy(b[24:32], f.asked[40:48])
	}
	return n, nil
}

func (f *fakeServer) Close() error                { return nil }
func (f *fakeServer) SetDeadline(time.Time) error { return nil }

func (f *fakeServer) ask(now time.Time) (time.Duration, error) {
	return query(context.Background(), "192.0.2.1", func() time.Time { return now },
		func(context.Context, string) (net.Conn, error) { return f, nil })
}

// goodAnswer is what a right server says at now, without the time of the
// question.
func goodAnswer(now time.Time) []byte {
	const since1900 = 2208988800
	stamp := uint64(now.Unix()+since1900) << 32
	b := make([]byte, 48)
	b[0], b[1], b[2], b[3] = 4<<3|4, 2, 6, 0xec
	binary.BigEndian.PutUint32(b[4:], 0x100)
	binary.BigEndian.PutUint32(b[8:], 0x100)
	copy(b[12:], []byte{192, 0, 2, 7})
	binary.BigEndian.PutUint64(b[16:], stamp-10<<32)
	binary.BigEndian.PutUint64(b[32:], stamp)
	binary.BigEndian.PutUint64(b[40:], stamp)
	return b
}

func TestAnswersOfNoUse(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name   string
		change func(b []byte) []byte
		forged bool // not an answer to our question
		err    string
	}{
		{"right", func(b []byte) []byte { return b }, false, ""},
		{"with an extension", func(b []byte) []byte { return append(b, make([]byte, 20)...) }, false, ""},
		{"to another question", func(b []byte) []byte { return b }, true, "didn't match"},
		{"empty", func([]byte) []byte { return nil }, false, "invalid"},
		{"short", func(b []byte) []byte { return b[:47] }, false, "invalid"},
		{"mode of a client", func(b []byte) []byte { b[0] = 4<<3 | 3; return b }, false, "mode"},
		{"broadcast", func(b []byte) []byte { b[0] = 4<<3 | 5; return b }, false, "mode"},
		{"not synchronised", func(b []byte) []byte { b[0] |= 3 << 6; return b }, false, "leap"},
		{"stratum 16", func(b []byte) []byte { b[1] = 16; return b }, false, "stratum"},
		{"stratum 255", func(b []byte) []byte { b[1] = 255; return b }, false, "stratum"},
		{"kiss", func(b []byte) []byte { b[1] = 0; copy(b[12:], "RATE"); return b }, false, `"RATE"`},
		{"root dispersion", func(b []byte) []byte { b[8] = 0xff; return b }, false, "dispersion"},
		{"root delay", func(b []byte) []byte { b[5] = 40; return b }, false, "dispersion"},
		{"stale", func(b []byte) []byte { binary.BigEndian.PutUint64(b[16:], 0x83aa7e8000000000); return b }, false, "fresh"},
		{"of version 5, not synchronised", func(b []byte) []byte { b[0] = 3<<6 | 5<<3 | 4; return b }, false, "version 5"},
		{"precision of 2^-128", func(b []byte) []byte { b[3] = 0x80; return b }, false, "impossible"},
		{"poll of 2^127", func(b []byte) []byte { b[2] = 0x7f; return b }, false, "impossible"},
		{"no transmit time", func(b []byte) []byte { clear(b[40:48]); return b }, false, "transmit time"},
		{"sent before it came", func(b []byte) []byte { b[34]++; return b }, false, "backwards"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &fakeServer{answer: tc.change(goodAnswer(now.Add(time.Hour))), echo: !tc.forged}
			off, err := f.ask(now)
			if tc.err == "" {
				if err != nil || (off-time.Hour).Abs() > time.Millisecond {
					t.Errorf("got %v, %v; want an hour", off, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("got %v, %v; want an error with %q", off, err, tc.err)
			}
			var kiss *Kiss
			if errors.As(err, &kiss) != (tc.name == "kiss") {
				t.Errorf("%v: a kiss or not?", err)
			}
		})
	}
}

// The clock of a box may show any time from 1970 to 2099.
func TestOffsetsOverACentury(t *testing.T) {
	truth := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for _, now := range []time.Time{time.Unix(0, 0), time.Date(2011, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2099, 12, 31, 0, 0, 0, 0, time.UTC)} {
		off, err := (&fakeServer{answer: goodAnswer(truth), echo: true}).ask(now)
		if err != nil || !now.Add(off).Equal(truth) {
			t.Errorf("at %v: got %v, %v; want %v", now, now.Add(off), err, truth)
		}
	}
}

// FuzzAnswer plays a hostile server. Whatever comes must be refused or be an
// answer that says of itself that it is of use.
func FuzzAnswer(f *testing.F) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	good := goodAnswer(now)
	for _, change := range []func(b []byte) []byte{
		func(b []byte) []byte { return b },
		func(b []byte) []byte { return b[:20] },
		func(b []byte) []byte { b[0] |= 3 << 6; b[1] = 16; return b },
		func(b []byte) []byte { b[1] = 0; copy(b[12:], "DENY"); return b },
		func(b []byte) []byte { clear(b[16:24]); return append(b, 0, 0, 0, 0) },
		func(b []byte) []byte { b[32], b[40] = 0, 0; return b }, // after 2036
		func(b []byte) []byte { b[4], b[8] = 0x7f, 0x7f; return b },
	} {
		f.Add(change(append([]byte(nil), good...)), true, now.Unix())
	}
	f.Add(good, false, int64(0))
	f.Fuzz(func(t *testing.T, answer []byte, echo bool, at int64) {
		if len(answer) > 8192 {
			return
		}
		at = min(max(at, 0), 4102444800) // 1970 to 2100
		ours := time.Unix(at, 0)
		off, err := (&fakeServer{answer: answer, echo: echo}).ask(ours)
		if err != nil {
			return
		}
		leap, mode, stratum := answer[0]>>6, answer[0]&7, answer[1]
		if len(answer) < 48 || leap == 3 || mode != 4 || stratum == 0 || stratum > 15 {
			t.Errorf("believed leap %d, mode %d, stratum %d, %d bytes", leap, mode, stratum, len(answer))
		}
		// NTP tells 136 years; ours are those from 1970.
		if then := ours.Add(off); then.Year() < 1969 || then.Year() > 2106 {
			t.Errorf("at %v an offset of %v", ours, off)
		}
	})
}
