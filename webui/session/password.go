package session

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// Cost of one hash: 19 MiB of memory, two passes, one thread (the second
// choice of RFC 9106, Section 4, made smaller for a box with 128 MB).
const (
	argonMemory  = 19 * 1024 // KiB
	argonPasses  = 2
	argonThreads = 1
	argonSalt    = 16
	argonKey     = 32
)

// Lengths of a password, in characters.
const (
	MinPassword = 12
	MaxPassword = 256
)

// Errors of CheckStrength: tell the person which, and let them try again.
var (
	ErrTooShort = errors.New("session: password too short")
	ErrTooLong  = errors.New("session: password too long")
	ErrCommon   = errors.New("session: password too common")
)

// ErrBusy means that too many passwords wait to be checked. Ask the person to
// try again in a moment.
var ErrBusy = errors.New("session: too many logins at once")

// ErrBadHash means that a stored hash cannot be read. The record is damaged:
// nobody can log in with it.
var ErrBadHash = errors.New("session: password hash cannot be read")

// Hasher makes and checks argon2id hashes, one at a time and with a short
// queue, so that logins cannot starve the mail of memory. It is safe for
// concurrent use.
type Hasher struct {
	turn  chan struct{} // holds the one that works
	queue chan struct{} // holds those that wait or work
}

// NewHasher returns a Hasher whose queue holds 8 people.
func NewHasher() *Hasher {
	return &Hasher{turn: make(chan struct{}, 1), queue: make(chan struct{}, 8)}
}

func (h *Hasher) derive(ctx context.Context, password string, salt []byte, memory, passes uint32, threads uint8, size int) ([]byte, error) {
	select {
	case h.queue <- struct{}{}:
	default:
		return nil, ErrBusy
	}
	defer func() { <-h.queue }()
	select {
	case h.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-h.turn }()
	return argon2.IDKey([]byte(password), salt, passes, memory, threads, uint32(size)), nil
}

// Hash returns the hash of a password in the PHC string form,
// "$argon2id$v=19$m=19456,t=2,p=1$salt$key". The error is ErrBusy or that of
// the context.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, argonSalt)
	rand.Read(salt)
	sum, err := h.derive(ctx, password, salt, argonMemory, argonPasses, argonThreads, argonKey)
	if err != nil {
		return "", err
	}
	enc := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		argon2.Version, argonMemory, argonPasses, argonThreads, enc(salt), enc(sum)), nil
}

// Verify reports whether password belongs to hash, in constant time. The error
// is ErrBusy, ErrBadHash or that of the context.
func (h *Hasher) Verify(ctx context.Context, password, hash string) (bool, error) {
	memory, passes, threads, salt, want, err := parseHash(hash)
	if err != nil {
		return false, err
	}
	if utf8.RuneCountInString(password) > MaxPassword {
		password = "" // never right, but takes the same time
	}
	got, err := h.derive(ctx, password, salt, memory, passes, threads, len(want))
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1 && password != "", nil
}

// VerifyNobody takes the time of Verify for a name that does not exist.
func (h *Hasher) VerifyNobody(ctx context.Context, password string) error {
	_, err := h.derive(ctx, password, make([]byte, argonSalt), argonMemory, argonPasses, argonThreads, argonKey)
	return err
}

func parseHash(hash string) (memory, passes uint32, threads uint8, salt, sum []byte, err error) {
	parts := strings.Split(hash, "$")
	bad := func() (uint32, uint32, uint8, []byte, []byte, error) { return 0, 0, 0, nil, nil, ErrBadHash }
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return bad()
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &threads); err != nil || n != 3 {
		return bad()
	}
	// A damaged record must not ask for all memory or a day's work.
	if memory < 8 || memory > 64*1024 || passes < 1 || passes > 10 || threads < 1 || threads > 4 {
		return bad()
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	sum, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(salt) < 8 || len(salt) > 64 || len(sum) < 16 || len(sum) > 64 {
		return bad()
	}
	return memory, passes, threads, salt, sum, nil
}

// CheckStrength says what is wrong with a new password for a person of that
// name: ErrTooShort, ErrTooLong, ErrCommon or nil. There are no rules about
// kinds of characters.
func CheckStrength(password, name string) error {
	n := utf8.RuneCountInString(password)
	switch {
	case n < MinPassword:
		return ErrTooShort
	case n > MaxPassword:
		return ErrTooLong
	}
	plain := strings.ToLower(password)
	seen := map[rune]bool{}
	for _, r := range plain {
		seen[r] = true
	}
	if len(seen) < 5 || series(plain) {
		return ErrCommon
	}
	letters := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -_.!?0123456789", r) {
			return -1
		}
		return r
	}, plain)
	// What is left once the words that everyone tries are taken out must be
	// enough to be a secret.
	rest := plain
	for _, w := range append(commonWords(), strings.ToLower(strings.TrimSpace(name))) {
		if len(w) >= 3 {
			rest = strings.ReplaceAll(rest, w, "")
			letters = strings.ReplaceAll(letters, w, "")
		}
	}
	if utf8.RuneCountInString(rest) < 6 || (letters == "" && utf8.RuneCountInString(rest) < 10) {
		return ErrCommon
	}
	return nil
}

// series reports whether s is one run over the alphabet, the digits or a row of
// the keyboard, or a short piece over and over.
func series(s string) bool {
	for _, row := range []string{"abcdefghijklmnopqrstuvwxyz", "01234567890123456789", "98765432109876543210", "zyxwvutsrqponmlkjihgfedcba"} {
		if strings.Contains(row, s) {
			return true
		}
	}
	for n := 1; n <= 4 && n < len(s); n++ {
		if strings.Repeat(s[:n], len(s)/n+1)[:len(s)] == s {
			return true
		}
	}
	return false
}

func commonWords() []string {
	return []string{
		"password", "passwort", "kennwort", "gatepost", "welcome", "willkommen", "administrator", "admin",
		"qwertyuiop", "qwertzuiop", "qwerty", "qwertz", "asdfghjkl", "asdfgh", "yxcvbnm", "zxcvbnm", "iloveyou",
		"letmein", "changeme", "secret", "geheim", "master", "dragon", "monkey", "sunshine", "princess",
		"football", "baseball", "summer", "winter", "spring", "autumn", "sommer", "office", "company",
		"1234567890", "123456789", "12345678", "1234567", "123456", "12345", "1q2w3e4r", "1qaz2wsx", "abc123", "abcdef",
	}
}
