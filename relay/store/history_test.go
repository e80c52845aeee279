package store

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatepost/relay/verdict"
)

// typicalEvidence is what an attempt at one host with three certificates saw.
func typicalEvidence(n int) *verdict.Evidence {
	at := time.Date(2026, 11, 23, 12, 0, 0, n, time.UTC)
	e := &verdict.Evidence{
		Route: verdict.RouteMX,
		DNS:   &verdict.DNS{Security: "unsigned"},
		Hosts: []verdict.Host{{
			Time: at, Took: time.Duration(n) * time.Microsecond, MX: "mx1.mail.example.com", Addr: "192.0.2.10",
			Pattern: "*.mail.example.com", Protection: verdict.Verified, TLSVersion: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256",
			Outcome: verdict.Delivered, Code: 250, Enhanced: "2.0.0", Reply: fmt.Sprintf("Ok: queued as 4F%08X", n*7919),
		}},
	}
	for i := range 4 {
		e.DNS.MX = append(e.DNS.MX, verdict.MX{Host: fmt.Sprintf("mx%d.mail.example.com", i+1), Pref: uint16(10 * i)})
	}
	for i := range 3 {
		e.Hosts[0].Chain = append(e.Hosts[0].Chain, verdict.Certificate{
			Subject: fmt.Sprintf("CN=Authority X%d,O=Example Trust Services,C=US", i), Issuer: fmt.Sprintf("CN=Authority X%d,O=Example Trust Services,C=US", i+1),
			NotBefore: at.AddDate(0, -1, 0).Truncate(time.Second), NotAfter: at.AddDate(0, 2, 0).Truncate(time.Second),
			SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte{byte(i), byte(n), byte(n >> 8)})),
		})
	}
	e.Hosts[0].Chain[0].Names = []string{"mx1.mail.example.com", "mx2.mail.example.com", "mx3.mail.example.com", "mx4.mail.example.com"}
	return e
}

func typicalAttempt(n int, at time.Time, e *verdict.Evidence) Attempt {
	return Attempt{
		Time: at, ID: fmt.Sprintf("0%010d", n), From: "anna.schmidt@office.example", Rcpt: fmt.Sprintf("user%d@example.com", n), Tries: 1,
		Verdict: verdict.Verdict{
			Time: at, Outcome: verdict.Delivered, Rule: "RFC 8461, Section 5", Domain: "example.com", MX: "mx1.mail.example.com", Addr: "192.0.2.10",
			Protection: verdict.Verified, TLSVersion: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256",
			CertNames: []string{"mx1.mail.example.com", "mx2.mail.example.com"}, CertIssuer: "CN=Authority X1,O=Example Trust Services,C=US",
			CertNotAfter: at.AddDate(0, 2, 0), PolicyMode: "enforce", PolicyID: "20261101T000000", PolicyFetched: at, PolicyExpires: at.AddDate(0, 0, 7),
			PolicyMX: []string{"*.mail.example.com"}, Code: 250, Enhanced: "2.0.0", Reply: "Ok: queued as 4F00000000", MXTried: 1, Evidence: e,
		},
	}
}

// The recipients of one attempt share what it saw, in the database and in
// lists, and it goes with the last of them.
func TestEvidenceOncePerAttempt(t *testing.T) {
	root := testRoot(t)
	s := openStore(t, root, Config{Attempts: 4, Now: testNow})
	at := testNow()
	first, second := typicalEvidence(1), typicalEvidence(2)
	for i, e := range []*verdict.Evidence{first, second, first, nil} {
		s.AddAttempt(typicalAttempt(i, at, e))
	}
	check := func(want ...*verdict.Evidence) {
		t.Helper()
		list, err := s.Attempts(HistoryOptions{})
		if err != nil || len(list) != len(want) {
			t.Fatalf("got %d attempts, %v, want %d", len(list), err, len(want))
		}
		for i, a := range list {
			if !reflect.DeepEqual(a.Verdict.Evidence, want[i]) {
				t.Errorf("attempt %d: got %+v, want %+v", i, a.Verdict.Evidence, want[i])
			}
			for j := range i {
				if want[i] != nil && want[i] == want[j] && a.Verdict.Evidence != list[j].Verdict.Evidence {
					t.Errorf("attempts %d and %d do not share what they saw", i, j)
				}
			}
		}
	}
	keys := func() (n int) {
		s.view(func(tx *bolt.Tx) error {
			return tx.Bucket(bucketEvidence).ForEach(func(_, _ []byte) error { n++; return nil })
		})
		return n
	}
	check(nil, first, second, first)
	s.Close()
	s = openStore(t, root, Config{Attempts: 4, Now: testNow})
	defer s.Close()
	check(nil, first, second, first)
	if got := keys(); got != 2 {
		t.Errorf("%d kept, want 2", got)
	}
	// One more: the oldest line goes, what it saw is still needed.
	for i, want := range []int{2, 1, 0} {
		s.AddAttempt(typicalAttempt(10+i, at, nil))
		if err := s.flush(); err != nil {
			t.Fatal(err)
		}
		if got := keys(); got != want {
			t.Errorf("after %d more lines: %d kept, want %d", i+1, got, want)
		}
	}
	check(nil, nil, nil, nil)
}

func TestSearch(t *testing.T) {
	s := openStore(t, testRoot(t), Config{Now: testNow})
	defer s.Close()
	for i, a := range []struct{ from, rcpt string }{
		{"anna@office.example", "x@a.example"},
		{"anna@office.example", "Y@A.Example"},
		{"", "anna@office.example"},
		{"z@a.example", "bob@office.example"},
		{`"a@b"@sub.a.example`, "x@b.example"},
		{"anna@office.example", "x@a.example.b.example"},
	} {
		at := time.Unix(int64(100*i), 0)
		s.AddAttempt(Attempt{Time: at, ID: fmt.Sprintf("id%d", i), From: a.from, Rcpt: a.rcpt, Verdict: verdict.Verdict{Domain: "d.example"}})
		if i == 3 {
			if err := s.flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name string
		o    HistoryOptions
		want string
	}{
		{"address as sender or recipient", HistoryOptions{Text: "ANNA@office.example"}, "[5 2 1 0]"},
		{"address in another case", HistoryOptions{Text: "y@a.example"}, "[1]"},
		{"domain", HistoryOptions{Text: "a.example"}, "[3 1 0]"},
		{"domain with @", HistoryOptions{Text: "@A.example"}, "[3 1 0]"},
		{"quoted local part", HistoryOptions{Text: `"A@b"@sub.a.example`}, "[4]"},
		{"part of a name", HistoryOptions{Text: "office"}, "[]"},
		{"sender", HistoryOptions{From: "Anna@Office.Example"}, "[5 1 0]"},
		{"null sender", HistoryOptions{From: "<>"}, "[2]"},
		{"sender and recipient", HistoryOptions{From: "anna@office.example", Rcpt: "x@a.example"}, "[0]"},
		{"since", HistoryOptions{Since: time.Unix(300, 0)}, "[5 4 3]"},
		{"until", HistoryOptions{Until: time.Unix(300, 0)}, "[2 1 0]"},
		{"first page", HistoryOptions{Limit: 2}, "[5 4]"},
		{"second page", HistoryOptions{Limit: 2, After: 5}, "[3 2]"},
		{"third page", HistoryOptions{Limit: 2, After: 3}, "[1 0]"},
		{"behind the end", HistoryOptions{After: 1}, "[]"},
		{"before the beginning", HistoryOptions{After: 1000, Limit: 1}, "[5]"},
	}
	for _, tt := range tests {
		list, err := s.Attempts(tt.o)
		got := []string{}
		for _, a := range list {
			got = append(got, strings.TrimPrefix(a.ID, "id"))
		}
		if err != nil || fmt.Sprint(got) != tt.want {
			t.Errorf("%s: got %v, %v, want %s", tt.name, got, err, tt.want)
		}
	}
}

func TestHistoryBounds(t *testing.T) {
	root := testRoot(t)
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	s := openStore(t, root, Config{Now: func() time.Time { return now }, HistoryBytes: 200 << 10})
	for i := range 3000 {
		s.AddAttempt(typicalAttempt(i, now, typicalEvidence(i)))
		if i%100 == 99 {
			if err := s.flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	list, err := s.Attempts(HistoryOptions{Limit: 5000})
	if err != nil || len(list) < 50 || len(list) > 250 || list[0].ID != "00000002999" {
		t.Fatalf("got %d attempts, %v", len(list), err)
	}
	sizes := make(map[string]int)
	s.view(func(tx *bolt.Tx) error {
		for _, bucket := range [][]byte{bucketHistory, bucketLines, bucketEvidence} {
			tx.Bucket(bucket).ForEach(func(k, v []byte) error { sizes[string(bucket)] += len(k) + len(v); return nil })
			sizes[string(bucket)] /= len(list)
		}
		return nil
	})
	t.Logf("%d attempts in 200 KiB, bytes each: %v", s.kept.attempts, sizes)
	// The measurement at the start agrees with the count that was kept.
	kept := s.kept
	s.Close()
	s = openStore(t, root, Config{Now: func() time.Time { return now }, HistoryBytes: 200 << 10})
	defer s.Close()
	if s.kept != kept || kept.attempts != len(list) || kept.bytes > 200<<10 {
		t.Errorf("got %+v after a restart, want %+v and %d attempts", s.kept, kept, len(list))
	}
	// A month later everything is gone, without another attempt.
	s.AddNote(Note{Time: now, Kind: "removed"})
	now = now.Add(defaultKeep - time.Minute)
	s.flush()
	if got, _ := s.Attempts(HistoryOptions{Limit: 5000}); len(got) != len(list) {
		t.Errorf("%d attempts before their time is over, want %d", len(got), len(list))
	}
	now = now.Add(2 * time.Minute)
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.Attempts(HistoryOptions{}); len(got) != 0 || s.kept != (extent{}) {
		t.Errorf("%d attempts and %+v after 30 days, want none", len(got), s.kept)
	}
	if got, _ := s.Notes(0); len(got) != 0 {
		t.Errorf("%d notes after 30 days, want none", len(got))
	}
}

func TestNotes(t *testing.T) {
	root := testRoot(t)
	s := openStore(t, root, Config{Now: testNow})
	for i := range maxNotes + 10 {
		s.AddNote(Note{Time: testNow(), Kind: "double_bounce", ID: fmt.Sprint(i), Text: strings.Repeat("t", 5000)})
		if i%900 == 0 {
			if err := s.flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, err := s.Notes(2); err != nil || len(got) != 2 || got[0].ID != "2009" || got[1].ID != "2008" || len(got[0].Text) != maxNoteText {
		t.Errorf("got %v, %v", got, err)
	}
	s.Close()
	s = openStore(t, root, Config{Now: testNow})
	defer s.Close()
	got, err := s.Notes(10000)
	if err != nil || len(got) != maxNotes || got[0].ID != "2009" {
		t.Errorf("got %d notes, %v, want the newest %d", len(got), err, maxNotes)
	}
}

func TestSettings(t *testing.T) {
	root := testRoot(t)
	s := openStore(t, root, Config{})
	if got, err := s.Setting("pauses"); got != nil || err != nil {
		t.Errorf("got %q, %v, want nothing", got, err)
	}
	for _, value := range []string{"one", "two"} {
		if err := s.SaveSetting("pauses", []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SaveSetting("big", make([]byte, maxSetting+1)); err == nil {
		t.Error("a value over the limit was kept")
	}
	s.Close()
	s = openStore(t, root, Config{})
	defer s.Close()
	if got, err := s.Setting("pauses"); string(got) != "two" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if err := s.SaveSetting("pauses", nil); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Setting("pauses"); got != nil || err != nil {
		t.Errorf("got %q, %v, want nothing", got, err)
	}
}

// A database that is mostly free is written anew at the start, with all that
// is in it; one cut off in the middle of that is no trouble.
func TestCompact(t *testing.T) {
	root := testRoot(t)
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	s := openStore(t, root, Config{Now: clock})
	for i := range 8000 {
		s.AddAttempt(typicalAttempt(i, now, typicalEvidence(i)))
		if i%4000 == 3999 {
			if err := s.flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.SaveSetting("pauses", []byte("all")); err != nil {
		t.Fatal(err)
	}
	if err := s.Policies().Save(t.Context(), "a.example", []byte("policy")); err != nil {
		t.Fatal(err)
	}
	s.Close()
	size := func() int64 {
		info, err := root.Stat(testName)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	full := size()
	s = openStore(t, root, Config{Now: clock, Attempts: 2000})
	for range 3 {
		s.AddAttempt(typicalAttempt(0, now, nil))
		if err := s.flush(); err != nil {
			t.Fatal(err)
		}
	}
	want, err := s.Attempts(HistoryOptions{Limit: 5000})
	if err != nil || len(want) != 2000 {
		t.Fatalf("got %d attempts, %v", len(want), err)
	}
	s.Close()
	if full < minCompact || size() < full {
		t.Fatalf("%d bytes after %d: the test shows nothing", size(), full)
	}
	if err := root.WriteFile(testName+compactSuffix, bytes.Repeat([]byte("half"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, root, Config{Now: clock, Attempts: 2000})
	defer s.Close()
	if got := size(); got > full/2 {
		t.Errorf("%d bytes after the start, was %d", got, full)
	}
	if _, err := root.Stat(testName + compactSuffix); err == nil {
		t.Error("the copy is still there")
	}
	got, err := s.Attempts(HistoryOptions{Limit: 5000})
	if err != nil || !slices.EqualFunc(got, want, func(a, b Attempt) bool { return a.Seq == b.Seq && a.ID == b.ID }) {
		t.Errorf("got %d attempts, %v, want the same %d", len(got), err, len(want))
	}
	if v, err := s.Setting("pauses"); string(v) != "all" || err != nil {
		t.Errorf("got setting %q, %v", v, err)
	}
	if v, err := s.Policies().Load(t.Context(), "a.example"); string(v) != "policy" || err != nil {
		t.Errorf("got policy %q, %v", v, err)
	}
	s.AddAttempt(typicalAttempt(1, now, nil))
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes before, %d after", full, size())
}
