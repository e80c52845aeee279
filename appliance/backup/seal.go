package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"filippo.io/age"
)

// Seal makes a backup of the files. m.Format and m.Files are filled in here.
// Files that are not among Entries, too large or there twice are an error, as
// is a passphrase of the wrong length (ErrShort).
func Seal(m Manifest, files []File, passphrase string) ([]byte, error) {
	if n := len(passphrase); n < MinPassphrase || n > maxPassphrase {
		return nil, ErrShort
	}
	plain, err := pack(m, files)
	if err != nil {
		return nil, err
	}
	to, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	to.SetWorkFactor(workFactor)
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	return out.Bytes(), nil
}

// pack makes the tar.
func pack(m Manifest, files []File) ([]byte, error) {
	m.Format, m.Files = Format, nil
	for _, f := range files {
		sum := sha256.Sum256(f.Data)
		m.Files = append(m.Files, Proof{Name: f.Name, Size: int64(len(f.Data)), SHA256: hex.EncodeToString(sum[:])})
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range append([]File{{Name: manifest, Data: append(text, '\n')}}, files...) {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Name, Size: int64(len(f.Data)), Mode: 0o600, ModTime: m.Time}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("backup: %w", err)
		}
		if _, err := w.Write(f.Data); err != nil {
			return nil, fmt.Errorf("backup: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	// What cannot be read back must not be written.
	if _, _, err := unpack(bytes.NewReader(out.Bytes())); err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	return out.Bytes(), nil
}
