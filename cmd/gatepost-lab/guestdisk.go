package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"gatepost/appliance"
	"gatepost/image/disk"
	"gatepost/relay/lab"
)

// The device with which a visitor of the lab can log in to send.
const deviceName = "visitor"

// configText is the guest's config.toml. It is an ordinary one but for the
// quick retries and the lab's own authority.
var configText = template.Must(template.New("config.toml").Parse(`# The settings of the appliance in the laboratory.
version = 1
hostname = "gatepost.office.example"

[relay]
trusted_networks = ["{{.LAN}}"]
# Quicker than in real life, so that a repair is seen while one watches.
retry = [{{.Retry}}]

[trust]
# The laboratory's own authority: its policy hosts and mail servers.
extra_roots = """
{{.Roots}}"""

[admin]
hosts = ["localhost", "127.0.0.1"]

[[submission.devices]]
name = "{{.Device}}"
password_hash = "{{.Hash}}"
`))

// guestConfig writes the guest's settings.
func guestConfig(ctx context.Context, world lab.World, ca *lab.CA, retry, password string) ([]byte, error) {
	hash, err := appliance.HashPassword(ctx, password)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = configText.Execute(&b, map[string]string{
		"LAN": world.LAN.Prefix.String(), "Retry": retry, "Roots": string(ca.PEM()),
		"Device": deviceName, "Hash": hash,
	})
	return b.Bytes(), err
}

// labRetry is the guest's schedule in the lab.
const labRetry = `"10s", "15s", "20s", "30s", "1m", "5m", "30m"`

// state is what a run of the lab keeps for the next one.
type state struct {
	CA       *lab.CA
	Disk     string
	Password string
	Fresh    bool // the disk was made just now
}

// openState reads what the last run left in dir, or makes it anew. fresh throws
// the old away.
func openState(ctx context.Context, dir string, world lab.World, fresh bool) (state, error) {
	s := state{Disk: filepath.Join(dir, "data.img")}
	caFile, pwFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "password")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return s, err
	}
	ca, err1 := os.ReadFile(caFile)
	pw, err2 := os.ReadFile(pwFile)
	_, err3 := os.Stat(s.Disk)
	if !fresh && errors.Join(err1, err2, err3) == nil {
		var err error
		s.Password = strings.TrimSpace(string(pw))
		s.CA, err = lab.ParseCA(ca, time.Now())
		return s, err
	}
	s.Fresh = true
	s.Password = strings.ToLower(rand.Text()[:12])
	var err error
	if s.CA, err = lab.NewCA(time.Now()); err != nil {
		return s, err
	}
	text, err := guestConfig(ctx, world, s.CA, labRetry, s.Password)
	if err != nil {
		return s, err
	}
	err = disk.Create(ctx, s.Disk, disk.Spec{Files: map[string]disk.File{"config.toml": {Data: text}}})
	if err != nil {
		return s, fmt.Errorf("data disk: %w", err)
	}
	if ca, err = s.CA.Marshal(); err != nil {
		return s, err
	}
	return s, errors.Join(os.WriteFile(caFile, ca, 0o600), os.WriteFile(pwFile, []byte(s.Password+"\n"), 0o600))
}
