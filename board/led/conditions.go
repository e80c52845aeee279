package led

// Conditions are the facts that the lights can tell. The zero value is a
// healthy box without a network cable.
type Conditions struct {
	// Button is how long the reset button has been held.
	Button Button
	// Updating is true while an update is written: do not unplug.
	Updating bool
	// Booting is true until the relay is ready and the time is trusted. It
	// outranks Dead: whoever finds the storage dead while booting clears it.
	Booting bool
	// Dead is true when the program has failed for good or the storage has.
	Dead bool
	// Held is true while a message is held because its safe delivery failed.
	Held bool
	// DiskFull is true while the disk is nearly full.
	DiskFull bool
	// Backlog is true while the queue backs up.
	Backlog bool
	// RolledBack is true when an update failed and was undone, until an
	// admin has taken note.
	RolledBack bool
	// NoNetwork is true without a route or without DNS answers.
	NoNetwork bool
	// UpdateReady is true when an update is there or awaits the reboot.
	UpdateReady bool

	// Find is true while somebody looks for this box among others.
	Find bool
	// Mode is how brightly a box shines on which nothing is wrong.
	Mode Mode

	// Link is true when the network cable carries a signal, Lease when the
	// box has an address. They choose between the patterns of one row.
	Link, Lease bool
}

// A Mode is how brightly the lights shine while nothing is wrong. Alarms, the
// button and everything else that a person has to see are always shown in
// full.
type Mode int

// The modes.
const (
	Full  Mode = iota
	Dim        // with little light, where a light can be dimmed
	Night      // dark
)

// Button is what a release of the reset button would do now.
type Button int

// The stages of holding the button.
const (
	ButtonFree     Button = iota
	ButtonNothing         // up to 5 s: no settings are changed
	ButtonPassword        // 5 to 15 s: new password and DHCP, mail is kept
	ButtonReset           // from 15 s: factory reset
)

// A Row names one row of the table, for pages, logs and tests.
type Row string

// The rows, highest priority first.
const (
	RowButtonNothing  Row = "button-nothing"
	RowButtonPassword Row = "button-password"
	RowButtonReset    Row = "button-reset"
	RowUpdating       Row = "updating"
	RowFind           Row = "find"
	RowBooting        Row = "booting"
	RowDead           Row = "dead"
	RowHeld           Row = "held"
	RowDiskFull       Row = "disk-full"
	RowBacklog        Row = "backlog"
	RowRolledBack     Row = "rolled-back"
	RowNoNetwork      Row = "no-network"
	RowUpdateReady    Row = "update-ready"
	RowMail           Row = "mail" // healthy, and a message passes
	RowHealthy        Row = "healthy"
)

// RowNight is shown in place of a row that Night darkens. It is no row of the
// table.
const RowNight Row = "night"

// holds tells whether the row's condition is met. The last rule of the table
// stands for RowMail and RowHealthy, which differ only while a message passes.
func (c Conditions) holds(r Row) bool {
	switch r {
	case RowButtonNothing:
		return c.Button == ButtonNothing
	case RowButtonPassword:
		return c.Button == ButtonPassword
	case RowButtonReset:
		return c.Button == ButtonReset
	case RowUpdating:
		return c.Updating
	case RowFind:
		return c.Find
	case RowBooting:
		return c.Booting
	case RowDead:
		return c.Dead
	case RowHeld:
		return c.Held
	case RowDiskFull:
		return c.DiskFull
	case RowBacklog:
		return c.Backlog
	case RowRolledBack:
		return c.RolledBack
	case RowNoNetwork:
		return c.NoNetwork
	case RowUpdateReady:
		return c.UpdateReady
	}
	return r == RowHealthy
}

// calm tells whether a row has nothing that a person must see at once.
func calm(r Row) bool { return r == RowUpdateReady || r == RowMail || r == RowHealthy }

// Rows lists the rows that hold, highest priority first; RowHealthy is always
// the last.
func (c Conditions) Rows() []Row {
	var rows []Row
	for _, r := range active(c) {
		rows = append(rows, r.row)
	}
	return rows
}

// Top is the row by which a person would name what the lights show: the
// highest one that holds, or RowNight when that one is not shown.
func (c Conditions) Top() Row {
	top := active(c)[0].row
	if c.Mode == Night && calm(top) {
		return RowNight
	}
	return top
}
