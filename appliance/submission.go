package appliance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"gatepost/appliance/cli"
	"gatepost/appliance/config"
	"gatepost/webui/session"
)

// passwordTime bounds one check of a password, waiting for its turn included.
const passwordTime = 20 * time.Second

// submissionRights gives the two questions of submission: is this the password,
// and may this device send as that address. Without devices nobody can log in.
func submissionRights(devices []config.Device) (auth func(user, password string) (bool, error), maySend func(user, from string) bool) {
	if len(devices) == 0 {
		return nil, nil
	}
	byName := make(map[string]config.Device, len(devices))
	for _, d := range devices {
		byName[strings.ToLower(d.Name)] = d
	}
	hasher := session.NewHasher()
	auth = func(user, password string) (bool, error) {
		ctx, cancel := context.WithTimeout(context.Background(), passwordTime)
		defer cancel()
		d, ok := byName[strings.ToLower(user)]
		if !ok {
			// As much work as for a known name, so that names cannot be guessed
			// by time.
			return false, hasher.VerifyNobody(ctx, password)
		}
		return hasher.Verify(ctx, password, d.PasswordHash)
	}
	maySend = func(user, from string) bool {
		d, ok := byName[strings.ToLower(user)]
		if !ok || len(d.Senders) == 0 {
			return ok
		}
		for _, s := range d.Senders {
			if sameAddress(s, from) {
				return true
			}
		}
		return false
	}
	return auth, maySend
}

// sameAddress compares two mail addresses: the local part as it is, the domain
// without regard to case (RFC 5321, Section 2.4).
func sameAddress(a, b string) bool {
	i, j := strings.LastIndexByte(a, '@'), strings.LastIndexByte(b, '@')
	return i > 0 && j > 0 && a[:i] == b[:j] && strings.EqualFold(a[i:], b[j:])
}

// PasswordHash is the command "gatepost password": it reads one line from in
// and writes the password_hash for it to out.
func PasswordHash(in io.Reader, out io.Writer, args []string) error {
	if len(args) > 0 {
		return cli.Usagef("password takes no argument: the password is read from the keyboard or a pipe, so that it does not stay in a history")
	}
	fmt.Fprint(os.Stderr, "Password of the device: ")
	line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
	password := strings.TrimRight(line, "\r\n")
	if password == "" {
		if err == nil || errors.Is(err, io.EOF) {
			err = errors.New("no password was given")
		}
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), passwordTime)
	defer cancel()
	hash, err := HashPassword(ctx, password)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, hash)
	return err
}

// HashPassword makes the password_hash of a device for config.toml.
func HashPassword(ctx context.Context, password string) (string, error) {
	return session.NewHasher().Hash(ctx, password)
}
