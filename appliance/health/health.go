// Package health turns the conditions of the box into one state. The lights,
// the page, the console and the command line all follow from Judge, so that
// they can never disagree.
//
// It measures nothing, holds no words for people (those are in webui/words)
// and drives no light (board/led does). It imports nothing of Gatepost.
package health

import (
	"strconv"
	"time"
)

// Level is how bad a state is.
type Level string

// Levels from good to bad. Look means that a person should look when there is
// time; Broken means that no mail passes.
const (
	Fine   Level = "fine"
	Busy   Level = "busy" // starting: nothing to do but wait
	Look   Level = "look"
	Broken Level = "broken"
)

// Conditions are the measured facts. The zero value is a box that has only
// just started.
type Conditions struct {
	Booting      bool // the roles have not all been up since the start
	ClockTrusted bool
	Link         bool // the cable carries a signal
	Address      bool // an address and a route
	DNS          bool // a resolver answered lately; see DNSKnown
	DNSKnown     bool // false: not asked yet, DNS says nothing

	Storage      Storage
	StorageText  string // technical text for Storage other than StorageOK
	DiskPercent  int    // use of the data disk, 0 to 100
	SpoolFull    bool   // new mail is refused for want of room, whatever DiskPercent says
	SpoolDamaged int    // records set aside since the start
	StoreDamaged bool   // the database was damaged and begun anew

	RelayUp bool
	WebUp   bool
	// RelayTrouble and WebTrouble are what their self-tests have found, "" when
	// all is well.
	RelayTrouble, WebTrouble string
	Restarted                string // why the box restarted itself lately, "" when it did not

	Held           int           // messages held for safety
	Waiting        int           // messages waiting for a normal retry
	OldestDeferred time.Duration // age of the oldest waiting message that was tried

	// WasDiskFull and WasBacklog tell what the state before said: a limit that
	// was passed is left only well below it, so that nothing flickers.
	WasDiskFull, WasBacklog bool

	Config      ConfigUse
	ConfigError string // first error of the file, when Config is not ConfigFile
}

// Storage says what became of the data disk.
type Storage string

// States of the data disk.
const (
	StorageOK      Storage = "ok"
	StorageMissing Storage = "missing" // no disk with our label
	StorageFailed  Storage = "failed"  // there, but cannot be mounted or written
	StorageUnknown Storage = ""        // not looked at yet
)

// ConfigUse says which settings are in force.
type ConfigUse string

// Settings in force.
const (
	ConfigFile     ConfigUse = "file"
	ConfigLastGood ConfigUse = "last-good" // config.toml has an error, the last good one is in use
	ConfigDefault  ConfigUse = "default"   // no usable settings at all: no mail passes
)

// Limits at which a condition becomes a problem.
const (
	DiskLookPercent   = 85
	DiskCalmPercent   = 80 // below this it is none any more
	DiskFullPercent   = 95
	BacklogAge        = 30 * time.Minute // half of it ends the problem
	BacklogMessages   = 100              // and half of this
	noNetworkSuppress = 60 * time.Second
)

// Problem is one thing that is not as it should be.
type Problem struct {
	ID     string            `json:"id"`
	Level  Level             `json:"level"`
	Params map[string]string `json:"params,omitempty"`
}

// Problem ids. Each has a sentence in webui/words.
const (
	StorageMissingID = "storage-missing"
	StorageFailedID  = "storage-failed"
	StorageFullID    = "storage-full"
	StorageNearlyID  = "storage-nearly-full"
	SpoolDamagedID   = "spool-damaged"
	StoreDamagedID   = "database-damaged"
	ConfigLastGoodID = "config-broken-last-good"
	ConfigDefaultID  = "config-broken-default"
	NoNetworkID      = "no-network"
	DNSBrokenID      = "dns-broken"
	ClockWrongID     = "clock-wrong"
	RestartedID      = "restarted"
	SelfTestID       = "self-test"
	RelayDownID      = "relay-down"
	WebDownID        = "web-down"
	HeldMailID       = "held-mail"
	BacklogID        = "backlog"
	BootingID        = "booting"
)

// Row names a row of the lights' table (docs/lights.md).
type Row string

// The rows that conditions can call for. RowRolledBack stands for everything
// that the box has mended or gone around by itself and that a person should
// know: old settings in use, a record set aside, the page restarting.
const (
	RowBooting    Row = "booting"
	RowDead       Row = "dead"
	RowHeld       Row = "held"
	RowDiskFull   Row = "disk-full"
	RowBacklog    Row = "backlog"
	RowRolledBack Row = "rolled-back"
	RowNoNetwork  Row = "no-network"
)

// State is the judgement: what is wrong, worst first, and what the lights say.
type State struct {
	Level    Level     `json:"level"`
	Problems []Problem `json:"problems,omitempty"`
	// Rows are the rows of the lights' table that hold now; none means
	// healthy. Their priority is the business of board/led.
	Rows []Row `json:"rows,omitempty"`
	// Link tells the network light apart: a cable without an address blinks,
	// no cable is dark.
	Link bool `json:"link"`
	// Network is true when the box has an address and a route.
	Network bool `json:"network"`
}

// Worst returns the first problem, or the zero Problem when all is well.
func (s State) Worst() Problem {
	if len(s.Problems) == 0 {
		return Problem{}
	}
	return s.Problems[0]
}

// Has reports whether a row of the lights' table holds.
func (s State) Has(r Row) bool {
	for _, have := range s.Rows {
		if have == r {
			return true
		}
	}
	return false
}

// Away reports whether the box cannot reach anybody: no cable, no address, or
// nobody who knows a name.
func (c Conditions) Away() bool { return !c.Link || !c.Address || c.DNSKnown && !c.DNS }

// Judge is the one function from conditions to state. noNetwork is for how
// long Away has been true, zero when it is false: after a minute the
// consequences (held mail, backlog) are not shown beside the cause.
func Judge(c Conditions, noNetwork time.Duration) State {
	s := State{Level: Fine, Link: c.Link, Network: !c.Away()}
	add := func(id string, l Level, row Row, params ...string) {
		p := Problem{ID: id, Level: l}
		for i := 0; i+1 < len(params); i += 2 {
			if p.Params == nil {
				p.Params = map[string]string{}
			}
			p.Params[params[i]] = params[i+1]
		}
		s.Problems = append(s.Problems, p)
		if row != "" && !s.Has(row) {
			s.Rows = append(s.Rows, row)
		}
		if rank(l) > rank(s.Level) {
			s.Level = l
		}
	}

	// Starting and waiting for the time come first: until then nothing else
	// is known well enough to be said. Real damage is said all the same.
	if c.Booting {
		add(BootingID, Busy, RowBooting)
	} else if !c.ClockTrusted {
		row := RowBooting
		if c.Away() {
			row = "" // the network is the cause; its own row says so
		}
		add(ClockWrongID, Look, row)
	}
	switch c.Storage {
	case StorageMissing:
		add(StorageMissingID, Broken, RowDead, "detail", c.StorageText)
	case StorageFailed:
		add(StorageFailedID, Broken, RowDead, "detail", c.StorageText)
	}
	if c.Config == ConfigDefault {
		add(ConfigDefaultID, Broken, RowDead, "error", c.ConfigError)
	}
	if !c.RelayUp && !c.Booting {
		add(RelayDownID, Broken, RowDead)
	}
	full := c.DiskPercent >= DiskFullPercent || c.SpoolFull
	if full {
		add(StorageFullID, Broken, RowDiskFull, "percent", strconv.Itoa(c.DiskPercent))
	}

	noNet := !c.Link || !c.Address
	if noNet && !c.Booting {
		add(NoNetworkID, Broken, RowNoNetwork)
	} else if c.DNSKnown && !c.DNS && !c.Booting {
		add(DNSBrokenID, Broken, RowNoNetwork)
	}
	consequences := noNetwork < noNetworkSuppress
	if c.Held > 0 && consequences {
		add(HeldMailID, Look, RowHeld, "count", strconv.Itoa(c.Held))
	}
	if c.nearlyFull() && !full {
		add(StorageNearlyID, Look, RowDiskFull, "percent", strconv.Itoa(c.DiskPercent))
	}
	if consequences && c.backlog() {
		add(BacklogID, Look, RowBacklog, "count", strconv.Itoa(c.Waiting))
	}
	if c.SpoolDamaged > 0 {
		add(SpoolDamagedID, Look, RowRolledBack, "count", strconv.Itoa(c.SpoolDamaged))
	}
	if c.StoreDamaged {
		add(StoreDamagedID, Look, RowRolledBack)
	}
	if c.Config == ConfigLastGood {
		add(ConfigLastGoodID, Look, RowRolledBack, "error", c.ConfigError)
	}
	if c.Restarted != "" {
		add(RestartedID, Look, RowRolledBack, "detail", c.Restarted)
	}
	for _, trouble := range []string{c.RelayTrouble, c.WebTrouble} {
		if trouble != "" && !c.Booting {
			add(SelfTestID, Look, RowRolledBack, "detail", trouble)
		}
	}
	if !c.WebUp && !c.Booting {
		add(WebDownID, Look, RowRolledBack)
	}
	sortProblems(s.Problems)
	return s
}

func (c Conditions) nearlyFull() bool {
	return c.DiskPercent >= DiskLookPercent || c.WasDiskFull && c.DiskPercent >= DiskCalmPercent
}

func (c Conditions) backlog() bool {
	if c.WasBacklog {
		return c.OldestDeferred >= BacklogAge/2 || c.Waiting >= BacklogMessages/2
	}
	return c.OldestDeferred > BacklogAge || c.Waiting > BacklogMessages
}

func rank(l Level) int {
	switch l {
	case Busy:
		return 1
	case Look:
		return 2
	case Broken:
		return 3
	}
	return 0
}

// sortProblems puts the worst first and keeps the order of equals.
func sortProblems(ps []Problem) {
	for i := 1; i < len(ps); i++ {
		for j := i; j > 0 && rank(ps[j].Level) > rank(ps[j-1].Level); j-- {
			ps[j], ps[j-1] = ps[j-1], ps[j]
		}
	}
}
