package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"time"
)

// fileName holds the key and the certificate.
const fileName = "tls.pem"

// generate makes a key and a certificate that begins at start, and their PEM
// form.
func generate(s subjects, start time.Time) (tls.Certificate, []byte, error) {
	fail := func(err error) (tls.Certificate, []byte, error) {
		return tls.Certificate{}, nil, fmt.Errorf("certs: making a certificate: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return fail(err)
	}
	name := s.names[0]
	if len(name) > 64 { // RFC 5280, Appendix A.1: ub-common-name
		name = "gatepost.local"
	}
	template := &x509.Certificate{
		SerialNumber:          serial.Add(serial, big.NewInt(1)),
		Subject:               pkix.Name{CommonName: name, Organization: []string{"Gatepost"}},
		NotBefore:             start.UTC().Truncate(time.Second),
		NotAfter:              start.UTC().Truncate(time.Second).Add(Lifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              s.names,
		IPAddresses:           s.ips(),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fail(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fail(err)
	}
	var b bytes.Buffer
	for _, block := range []*pem.Block{{Type: "PRIVATE KEY", Bytes: keyDER}, {Type: "CERTIFICATE", Bytes: der}} {
		if err := pem.Encode(&b, block); err != nil {
			return fail(err)
		}
	}
	cert, err := parse(b.Bytes())
	if err != nil {
		return fail(err)
	}
	return cert, b.Bytes(), nil
}

// parse reads the file's form and checks that key and certificate belong
// together and are of the kind that generate makes.
func parse(data []byte) (tls.Certificate, error) {
	cert, err := tls.X509KeyPair(data, data)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certs: %s: %w", fileName, err)
	}
	if cert.Leaf == nil || len(cert.Certificate) != 1 || cert.Leaf.PublicKeyAlgorithm != x509.ECDSA {
		return tls.Certificate{}, fmt.Errorf("certs: %s: not a certificate of this box", fileName)
	}
	return cert, nil
}

// load reads the file. os.ErrNotExist means that there is none yet. Access by
// others than the owner is taken away.
func load(dir *os.Root) (tls.Certificate, error) {
	f, err := dir.Open(fileName)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certs: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Mode().Perm()&0o077 != 0 {
		if err := f.Chmod(0o600); err != nil {
			return tls.Certificate{}, fmt.Errorf("certs: the key can be read by others: %w", err)
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certs: %w", err)
	}
	return parse(data)
}

// save replaces the file such that after a power cut there is the old one or the
// new one: temporary file, fsync, rename, fsync of the directory.
func save(dir *os.Root, data []byte) (err error) {
	const tmp = fileName + ".new"
	if err := dir.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := dir.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = dir.Rename(tmp, fileName)
	}
	if err != nil {
		return errors.Join(err, dir.Remove(tmp))
	}
	d, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
