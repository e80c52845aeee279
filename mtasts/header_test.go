package mtasts

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

// FuzzHeader: what plainHeader reads, encoding/json reads alike.
func FuzzHeader(f *testing.F) {
	for _, h := range headers() {
		line, err := json.Marshal(h)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		fast, ok := plainHeader(line)
		if !ok {
			return
		}
		var slow entryHeader
		if err := json.Unmarshal(line, &slow); err != nil {
			t.Fatalf("%q: read as %+v, but it is no JSON: %v", line, fast, err)
		}
		if !reflect.DeepEqual(fast, slow) {
			t.Errorf("%q:\ngot  %+v\nwant %+v", line, fast, slow)
		}
	})
}

func headers() []entryHeader {
	at := time.Date(2026, 9, 1, 12, 0, 0, 123456789, time.UTC)
	usual := entryHeader{
		Domain: "example.com", ID: "20260901", FetchedAt: at, UsedAt: at.Unix(),
		Host: HostEvidence{
			Addr: "203.0.113.7:443", TLSVersion: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256",
			CertNames: []string{"mta-sts.example.com", "*.example.com"}, CertIssuer: "CN=R11,O=Example,C=US", CertNotAfter: at.Add(time.Hour),
		},
	}
	list := []entryHeader{usual}
	for _, change := range []func(*entryHeader){
		func(h *entryHeader) { h.Host.CertNames = h.Host.CertNames[:1] },
		func(h *entryHeader) { h.UsedAt = 0 },
		func(h *entryHeader) { h.UsedAt = -1 },
		func(h *entryHeader) { h.Host = HostEvidence{} },
		func(h *entryHeader) { h.Host.CertIssuer = `O="Müller & <Söhne>"` },
		func(h *entryHeader) { h.Host.CertNames = []string{"a\x00b\x7f"} },
		func(h *entryHeader) { h.FetchedAt = time.Unix(0, 0).In(time.FixedZone("", 3600)) },
	} {
		h := usual
		change(&h)
		list = append(list, h)
	}
	return list
}

// TestHeader: every header reads back; the usual form without encoding/json.
func TestHeader(t *testing.T) {
	for i, h := range headers() {
		line, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := decodeHeader(line)
		if !ok || !got.FetchedAt.Equal(h.FetchedAt) {
			t.Errorf("header %d: got %+v, %v", i, got, ok)
		}
		got.FetchedAt = h.FetchedAt // the same moment, in another zone
		if !reflect.DeepEqual(got, h) {
			t.Errorf("header %d:\ngot  %+v\nwant %+v", i, got, h)
		}
		if _, plain := plainHeader(line); i < 2 && !plain {
			t.Errorf("header %d: %s is not read directly", i, line)
		}
		// Each byte changed, and each prefix, is read alike or left alone.
		for j := range line {
			for _, c := range []byte{0, '"', '\\', '0', ',', '}', 'Z', 0xff} {
				bent := append([]byte(nil), line...)
				bent[j] = c
				compareHeader(t, bent)
			}
			compareHeader(t, line[:j])
		}
	}
}

func compareHeader(t *testing.T, line []byte) {
	t.Helper()
	fast, ok := plainHeader(line)
	if !ok {
		return
	}
	var slow entryHeader
	if err := json.Unmarshal(line, &slow); err != nil || !reflect.DeepEqual(fast, slow) {
		t.Errorf("%q:\ngot  %+v\nwant %+v, %v", line, fast, slow, err)
	}
}
