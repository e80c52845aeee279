package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
)

// Open reads a backup that Seal, or the age tool, has made. The error is, or
// wraps, one of ErrPassphrase, ErrNotBackup, ErrDamaged and ErrNewer. The
// content of the files is not judged.
func Open(sealed []byte, passphrase string) (Manifest, []File, error) {
	if len(sealed) > MaxSealed {
		return Manifest{}, nil, fmt.Errorf("%w: it has more than %d MB", ErrNotBackup, MaxSealed>>20)
	}
	if passphrase == "" {
		return Manifest{}, nil, ErrPassphrase
	}
	id, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return Manifest{}, nil, ErrPassphrase
	}
	id.SetMaxWorkFactor(maxWorkFactor)
	r, err := age.Decrypt(bytes.NewReader(sealed), id)
	var none *age.NoIdentityMatchError
	switch {
	case errors.As(err, &none) && len(none.StanzaTypes) == 1 && none.StanzaTypes[0] == "scrypt":
		return Manifest{}, nil, ErrPassphrase
	case err != nil:
		return Manifest{}, nil, fmt.Errorf("%w: %v", ErrNotBackup, err)
	}
	// All of it first: a damaged end must not leave a restored beginning.
	plain, err := io.ReadAll(io.LimitReader(r, MaxSealed))
	if err != nil {
		return Manifest{}, nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	return unpack(bytes.NewReader(plain))
}

// unpack reads the tar. Nothing of it is believed before all of it is seen.
func unpack(r io.Reader) (Manifest, []File, error) {
	fail := func(err error, format string, args ...any) (Manifest, []File, error) {
		return Manifest{}, nil, fmt.Errorf("%w: %s", err, fmt.Sprintf(format, args...))
	}
	t := tar.NewReader(r)
	h, err := t.Next()
	if err != nil || h.Name != manifest || h.Typeflag != tar.TypeReg || h.Size > 64<<10 {
		return fail(ErrNotBackup, "it does not begin with %s", manifest)
	}
	text, err := io.ReadAll(io.LimitReader(t, 64<<10))
	if err != nil {
		return fail(ErrDamaged, "%v", err)
	}
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil || m.Format < 1 {
		return fail(ErrNotBackup, "its %s cannot be read", manifest)
	}
	if m.Format > Format {
		return fail(ErrNewer, "it has form %d, and this box knows form %d", m.Format, Format)
	}
	files, err := unpackFiles(t)
	if err != nil {
		return Manifest{}, nil, err
	}
	if err := m.check(files); err != nil {
		return Manifest{}, nil, err
	}
	return m, files, nil
}

func unpackFiles(t *tar.Reader) ([]File, error) {
	var files []File
	seen := map[string]bool{}
	total := int64(0)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
		}
		e, ok := lookup(h.Name)
		switch total += h.Size; {
		case h.Typeflag != tar.TypeReg:
			return nil, fmt.Errorf("%w: %.80q is not a plain file", ErrNotBackup, h.Name)
		case !ok:
			return nil, fmt.Errorf("%w: %.80q does not belong in a backup", ErrNotBackup, h.Name)
		case seen[h.Name]:
			return nil, fmt.Errorf("%w: %s is there twice", ErrNotBackup, h.Name)
		case h.Size < 0 || h.Size > e.Max || total > maxContent || len(files) >= maxFiles:
			return nil, fmt.Errorf("%w: %s is too large", ErrNotBackup, h.Name)
		}
		seen[h.Name] = true
		data, err := io.ReadAll(io.LimitReader(t, e.Max))
		if err != nil || int64(len(data)) != h.Size {
			return nil, fmt.Errorf("%w: %s is cut short", ErrDamaged, h.Name)
		}
		files = append(files, File{Name: h.Name, Data: data})
	}
}

// check compares the files with what the manifest says of them.
func (m Manifest) check(files []File) error {
	if len(files) != len(m.Files) {
		return fmt.Errorf("%w: %d files where %d are named", ErrDamaged, len(files), len(m.Files))
	}
	for i, f := range files {
		sum := sha256.Sum256(f.Data)
		if p := m.Files[i]; p.Name != f.Name || p.Size != int64(len(f.Data)) || p.SHA256 != hex.EncodeToString(sum[:]) {
			return fmt.Errorf("%w: %s is not what was saved", ErrDamaged, f.Name)
		}
	}
	for _, e := range Entries() {
		if e.Needed && !m.has(e.Name) {
			return fmt.Errorf("%w: it has no %s", ErrNotBackup, e.Name)
		}
	}
	return nil
}

func (m Manifest) has(name string) bool {
	for _, p := range m.Files {
		if p.Name == name {
			return true
		}
	}
	return false
}
