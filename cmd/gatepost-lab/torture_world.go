package main

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gatepost/image/disk"
	"gatepost/relay/lab"
	"gatepost/relay/lab/nbd"
)

// The domains of the torture. Mail to quick arrives, slow takes nothing before
// the end, strict takes it over verified TLS, and gone is a mailbox that does
// not exist.
const (
	tortureQuick  = "quick.example"
	tortureSlow   = "slow.example"
	tortureStrict = "strict.example"
	tortureGone   = "gone@" + tortureQuick
	tortureOwner  = "anna@sender.example"
)

// tortureWorld is the office with other domains around it.
func tortureWorld() lab.World {
	w := lab.Office()
	domain := func(name string, n byte) lab.Domain {
		addr := netip.AddrFrom4([4]byte{203, 0, 113, n})
		return lab.Domain{Name: name, MX: []lab.MX{{Host: "mx." + name, Pref: 10, Addr: addr}}}
	}
	quick, slow, strict, home := domain(tortureQuick, 30), domain(tortureSlow, 31), domain(tortureStrict, 32), domain("sender.example", 33)
	quick.MX[0].Unknown = []string{"gone"}
	slow.MX[0].Greylist = 1000 * time.Hour
	strict.MX[0].TLS = true
	strict.Policy = &lab.Policy{
		ID: "1", Mode: "enforce", MX: []string{"mx." + tortureStrict}, MaxAge: 7 * 24 * time.Hour,
		Addr: netip.AddrFrom4([4]byte{198, 51, 100, 32}),
	}
	w.Domains = []lab.Domain{quick, slow, strict, home}
	return w
}

// tortureRcpts is mostly one mailbox of quick.
func tortureRcpts(rng *rand.Rand) []string {
	switch n := rng.IntN(30); {
	case n < 2:
		return []string{tortureGone}
	case n < 4:
		return []string{"sales@" + tortureSlow}
	case n < 6:
		return []string{"sales@" + tortureQuick, "sales@" + tortureSlow, tortureGone}
	case n < 9:
		return []string{"sales@" + tortureStrict}
	case n < 12:
		return []string{"sales@" + tortureQuick, "office@" + tortureQuick}
	}
	return []string{"sales@" + tortureQuick}
}

// take books a message that a mail host of the world got.
func (t *torturer) take(m lab.Mail) {
	mail := bytes.ReplaceAll(m.Data, []byte("\r\n"), []byte("\n"))
	for _, to := range m.Rcpts {
		if err := t.book.arrived(to, mail); err != nil {
			t.sayf("DAMAGED: %v", err)
		}
	}
}

// newTortureDisk makes the box's first disk.
func newTortureDisk(ctx context.Context, dir string, world lab.World, ca *lab.CA) (*nbd.Disk, error) {
	text, err := guestConfig(ctx, world, ca, `"5s"`, "garden-lantern")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "first.img")
	if err := disk.Create(ctx, file, disk.Spec{Files: map[string]disk.File{"config.toml": {Data: text}}}); err != nil {
		return nil, err
	}
	defer os.Remove(file)
	return nbd.LoadDisk(file)
}

// withGeneration is the settings with another number in them, in a setting that
// decides nothing here.
func withGeneration(settings, line string) string {
	var out []string
	for l := range strings.Lines(settings) {
		if !strings.HasPrefix(l, generationMark) {
			out = append(out, l)
		}
	}
	return line + "\n" + strings.Join(out, "")
}

const generationMark = "# torture "
