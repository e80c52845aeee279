package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// CA is the world's certificate authority. Whoever is to trust the world's
// servers must be given its root. It is safe for concurrent use.
type CA struct {
	root *x509.Certificate
	key  *ecdsa.PrivateKey
	// stranger signs what is "not trusted"; its root is given to nobody.
	stranger    *x509.Certificate
	strangerKey *ecdsa.PrivateKey
}

const (
	day     = 24 * time.Hour
	caLife  = 10 * 365 * day
	caSlack = 365 * day // how long before now a root has been valid
)

// NewCA makes a CA whose root is valid from a year before now for ten years.
func NewCA(now time.Time) (*CA, error) {
	root, key, err := newRoot("Gatepost Lab Root", now)
	if err != nil {
		return nil, err
	}
	return withStranger(root, key, now)
}

// ParseCA reads what [CA.Marshal] wrote, so that a guest that trusts the root
// goes on doing so when the lab is started again.
func ParseCA(text []byte, now time.Time) (*CA, error) {
	certBlock, rest := pem.Decode(text)
	if certBlock == nil || certBlock.Type != "CERTIFICATE" {
		return nil, errors.New("lab: CA file: no certificate")
	}
	keyBlock, _ := pem.Decode(rest)
	if keyBlock == nil || keyBlock.Type != "EC PRIVATE KEY" {
		return nil, errors.New("lab: CA file: no key")
	}
	root, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("lab: CA file: %w", err)
	}
	key, err := x509.ParseECPrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("lab: CA file: %w", err)
	}
	if !key.PublicKey.Equal(root.PublicKey) {
		return nil, errors.New("lab: CA file: the key is not that of the certificate")
	}
	return withStranger(root, key, now)
}

func withStranger(root *x509.Certificate, key *ecdsa.PrivateKey, now time.Time) (*CA, error) {
	stranger, strangerKey, err := newRoot("Nobody Knows This Root", now)
	if err != nil {
		return nil, err
	}
	return &CA{root: root, key: key, stranger: stranger, strangerKey: strangerKey}, nil
}

// Marshal returns root and private key as PEM.
func (c *CA) Marshal() ([]byte, error) {
	key, err := x509.MarshalECPrivateKey(c.key)
	if err != nil {
		return nil, fmt.Errorf("lab: CA: %w", err)
	}
	return append(c.PEM(), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key})...), nil
}

// PEM returns the root certificate.
func (c *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.root.Raw})
}

// Pool returns a new pool with the root alone.
func (c *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c.root)
	return p
}

// Issue makes a server certificate for host with the faults of want.
func (c *CA) Issue(host string, want Cert, now time.Time) (*tls.Certificate, error) {
	names := want.Names
	if len(names) == 0 {
		names = []string{host}
		if want.Fault == WrongName {
			names = []string{"mail.hosting.example"}
		}
	}
	from, to := now.Add(-time.Hour), now.Add(90*day)
	if want.Fault == Expired {
		from, to = now.Add(-91*day), now.Add(-day)
	}
	issuer, issuerKey := c.root, c.key
	if want.Fault == NotTrusted {
		issuer, issuerKey = c.stranger, c.strangerKey
	}
	key, serial, err := newKey()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: names[0]},
		DNSNames:     names,
		NotBefore:    from,
		NotAfter:     to,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, issuerKey)
	if err != nil {
		return nil, fmt.Errorf("lab: certificate for %s: %w", host, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("lab: certificate for %s: %w", host, err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

func newRoot(name string, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, serial, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-caSlack),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, fmt.Errorf("lab: CA: %w", err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("lab: CA: %w", err)
	}
	return root, key, nil
}

func newKey() (*ecdsa.PrivateKey, *big.Int, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("lab: key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, fmt.Errorf("lab: serial number: %w", err)
	}
	return key, serial.Add(serial, big.NewInt(1)), nil
}
