// Package backup puts what makes one Gatepost box itself into one encrypted
// file and reads it back: the settings, the keys and certificates, the owner.
//
// The file is an age file (https://age-encryption.org/v1) encrypted with a
// passphrase, so that the tool of that name opens it too. Inside is a tar with
// manifest.json first, which names every other file with its size and SHA-256.
// Waiting mail is not in it: it would be delivered a second time by whoever
// restores an older state.
//
// What comes back is judged as the work of a stranger: only the names of
// Entries, as plain files, each once, bounded in size, and whole. The package
// works on bytes: it opens and writes no file. It imports nothing of ours.
package backup

import (
	"errors"
	"time"
)

// Format is the version of the form that is written. A later one is refused.
const Format = 1

// Limits, for what is written and for what is read.
const (
	MaxSealed  = 4 << 20 // bytes of the encrypted file
	maxContent = 3 << 20 // bytes of all files together
	maxFiles   = 32
	manifest   = "manifest.json"
	// The shortest and the longest passphrase, in bytes.
	MinPassphrase = 12
	maxPassphrase = 256
)

// workFactor makes each guess of the passphrase cost 2^14 rounds of scrypt and
// 16 MiB. More would be better and is too much for a box with 128 MB, whose
// PID 1 does this while mail passes. So that a stranger's file cannot make the
// box run out of memory, a file with more than twice of it is not opened.
const (
	workFactor    = 14
	maxWorkFactor = 15
)

// Entry is a file that may be in a backup.
type Entry struct {
	Name   string // under the data folder, with slashes
	Max    int64  // bytes
	Needed bool   // a backup without it is of no use
}

// Entries lists every file that may be in a backup, in the order of the tar.
func Entries() []Entry {
	return []Entry{
		{Name: "config.toml", Max: 1 << 20, Needed: true},
		{Name: "system/lease.json", Max: 64 << 10},
		{Name: "relay/tls.pem", Max: 256 << 10},
		{Name: "web/tls.pem", Max: 256 << 10},
		{Name: "web/owner.json", Max: 64 << 10},
	}
}

// lookup finds the entry of a name.
func lookup(name string) (Entry, bool) {
	for _, e := range Entries() {
		if e.Name == name {
			return e, true
		}
	}
	return Entry{}, false
}

// Manifest says what a backup is.
type Manifest struct {
	Format  int       `json:"format"`
	Box     string    `json:"box"`     // host name
	Version string    `json:"version"` // of the Gatepost that wrote it
	Time    time.Time `json:"time"`    // by the clock of the box
	// ConfigHash is the hash of the settings as the box shows it. It is told, not
	// believed: the settings themselves are in the file.
	ConfigHash string  `json:"config_hash"`
	Files      []Proof `json:"files"` // filled by Seal
}

// Proof is what a file must be.
type Proof struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // hex
}

// File is one file of a backup.
type File struct {
	Name string // one of Entries
	Data []byte
}

// What can be wrong with a backup. Nothing was restored.
var (
	// ErrPassphrase: another passphrase is needed.
	ErrPassphrase = errors.New("this is not the passphrase of the backup")
	// ErrShort: the passphrase is shorter than MinPassphrase or too long.
	ErrShort = errors.New("a passphrase needs 12 to 256 characters")
	// ErrNotBackup: the file is something else, or was made by another tool.
	ErrNotBackup = errors.New("this file is not a backup of a Gatepost")
	// ErrDamaged: the file was cut short or changed; another copy is needed.
	ErrDamaged = errors.New("the backup is damaged")
	// ErrNewer: a newer Gatepost wrote it; the box must be updated first.
	ErrNewer = errors.New("the backup was made by a newer Gatepost")
)
