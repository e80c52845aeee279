package control

import (
	"net/netip"
	"time"

	"gatepost/appliance/health"
)

// Box is the whole box at one moment. It is a plain value: copies share no
// memory with the publisher once they have passed through the socket.
type Box struct {
	Version  string    `json:"version"`
	Hostname string    `json:"hostname"`
	Booted   time.Time `json:"booted"` // by the clock of the box; meaningless while Clock.Trusted is false

	Network Network      `json:"network"`
	Clock   Clock        `json:"clock"`
	Storage Storage      `json:"storage"`
	Config  Config       `json:"config"`
	Roles   []Role       `json:"roles"`
	Health  health.State `json:"health"`
	Lights  []Light      `json:"lights,omitempty"`
	// Light is the row of the legend that the lights show (board/led), "" for
	// a box without lights.
	Light string `json:"light,omitempty"`
	// Button is true when the box has a reset button that is in use. Press counts
	// the long presses by which a person shows that they stand before the box;
	// it is 0 except in the minute after one.
	Button bool `json:"button,omitempty"`
	Press  int  `json:"press,omitempty"`
	// LastReboot is why the box restarted itself the last time, "" when it did
	// not.
	LastReboot string `json:"last_reboot,omitempty"`
}

// Network states, from nothing to everything.
const (
	NetworkStarting = "starting"
	NetworkNoLink   = "no-link"  // no interface, or no signal on the cable
	NetworkNoLease  = "no-lease" // a cable, but no address
	NetworkUp       = "up"
)

// Network is how the box is connected.
type Network struct {
	State     string         `json:"state"`
	Mode      string         `json:"mode"` // "dhcp" or "static"
	Interface string         `json:"interface,omitempty"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Gateway   netip.Addr     `json:"gateway"`
	DNS       []netip.Addr   `json:"dns,omitempty"`
	NTP       []netip.Addr   `json:"ntp,omitempty"`
	Domain    string         `json:"domain,omitempty"`
	// LocalName is the name on the wire, "gatepost-1a2b.local"; "" when there is
	// none.
	LocalName string    `json:"local_name,omitempty"`
	Expires   time.Time `json:"expires"`        // end of the lease; zero for a static address
	Note      string    `json:"note,omitempty"` // technical detail for State other than up
}

// Up reports whether the box has an address.
func (n Network) Up() bool { return n.State == NetworkUp }

// Clock is what is known of the time. While Trusted is false nothing may be
// decided about certificates, expiry or the age of mail.
type Clock struct {
	Trusted bool   `json:"trusted"`
	Source  string `json:"source,omitempty"` // the servers that agreed
	Note    string `json:"note,omitempty"`   // why not, or how well
}

// Storage states.
const (
	StorageOK      = "ok"
	StorageMissing = "missing" // no disk with our label
	StorageFailed  = "failed"  // there, but cannot be mounted or written
)

// Storage is the data disk.
type Storage struct {
	State      string `json:"state"`
	Device     string `json:"device,omitempty"`
	Message    string `json:"message,omitempty"`
	TotalBytes int64  `json:"total_bytes"`
	FreeBytes  int64  `json:"free_bytes"` // free for a process without privileges
}

// UsedPercent is the use of the disk, 0 to 100, rounded up; 0 when there is no
// disk.
func (s Storage) UsedPercent() int {
	if s.TotalBytes <= 0 {
		return 0
	}
	used := s.TotalBytes - s.FreeBytes
	return int((used*100 + s.TotalBytes - 1) / s.TotalBytes)
}

// Config says which settings are in force.
type Config struct {
	State string `json:"state"`           // "file", "last-good" or "default", as in health.ConfigUse
	Error string `json:"error,omitempty"` // every problem of the file, one a line
	Hash  string `json:"hash,omitempty"`  // config.Hash of what is in force
	// PageNames are the names by which the page may be called beside the box's
	// addresses.
	PageNames []string `json:"page_names,omitempty"`
}

// Role is one supervised process.
type Role struct {
	Name     string    `json:"name"`
	Up       bool      `json:"up"`
	PID      int       `json:"pid,omitempty"`
	Since    time.Time `json:"since"`
	Restarts int       `json:"restarts"`
	LastExit string    `json:"last_exit,omitempty"`
	// Cage is what it may not do any more, in words; "" before it has said so.
	Cage string `json:"cage,omitempty"`
}

// Light is one light of the board and what it does now.
type Light struct {
	Name    string `json:"name"`
	On      bool   `json:"on"`      // lit at this moment
	Pattern string `json:"pattern"` // "on", "off", "slow", "fast", "2x" ...
}
