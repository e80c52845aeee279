package main

import (
	"bytes"
	"context"
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
	"net"
	"net/http"
	"os"
	"time"

	"gatepost/mtasts"
)

// serve serves one policy over HTTPS until the context ends. Without a
// certificate it makes one for the process, which -write-root lets others
// trust.
func serve(e env, args []string) int {
	flags := newFlags("serve")
	file := flags.String("policy", "", "`FILE` with the policy, - for the standard input")
	domain := flags.String("domain", "", "policy `DOMAIN`")
	listen := flags.String("listen", "127.0.0.1:8443", "`ADDR` to listen on")
	certFile := flags.String("cert", "", "PEM `FILE` with the certificate for mta-sts.DOMAIN and its chain")
	keyFile := flags.String("key", "", "PEM `FILE` with the private key")
	rootFile := flags.String("write-root", "", "write the certificate made for this run to `FILE`")
	if err := flags.Parse(args); err != nil {
		return e.badFlags(flags, err)
	}
	if *file == "" || *domain == "" || flags.NArg() > 0 || (*certFile == "") != (*keyFile == "") {
		return e.complain(errors.New("serve takes -policy FILE and -domain DOMAIN, and -cert only together with -key"))
	}
	body, err := readPolicy(e, *file)
	if err != nil {
		return e.complain(err)
	}
	publisher, _ := mtasts.NewPublisher(nil, nil) // fails for saved policies only
	pub, err := publisher.Publish(*domain, body)
	if err != nil {
		if syntax := (*mtasts.SyntaxError)(nil); errors.As(err, &syntax) {
			e.print(failure{"policy-syntax", syntax.Where()})
			return 1
		}
		return e.complain(err)
	}
	var cert tls.Certificate
	if *certFile != "" {
		cert, err = tls.LoadX509KeyPair(*certFile, *keyFile)
	} else {
		cert, err = selfSigned("mta-sts." + pub.Domain)
	}
	if err == nil {
		err = prepare(&cert, "mta-sts."+pub.Domain)
	}
	if err == nil && *rootFile != "" {
		var root bytes.Buffer
		if err = writeCertificate(&root, cert); err == nil {
			err = os.WriteFile(*rootFile, root.Bytes(), 0o644)
		}
	}
	if err != nil {
		return e.complain(err)
	}
	listener, err := new(net.ListenConfig).Listen(e.ctx, "tcp", *listen)
	if err != nil {
		return e.complain(err)
	}
	e.print(struct {
		Domain string `json:"domain"`
		Listen string `json:"listen"`
		Record string `json:"record"`
	}{pub.Domain, listener.Addr().String(), pub.Record()})
	if err := serveUntil(e.ctx, listener, cert, publisher); err != nil {
		return e.complain(err)
	}
	return 0
}

func serveUntil(ctx context.Context, l net.Listener, cert tls.Certificate, h http.Handler) error {
	server := &http.Server{
		Handler:           h,
		TLSConfig:         tlsConfig(cert),
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       time.Minute,
	}
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(l, "", "") }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := server.Shutdown(bound)
	<-done
	return err
}

// prepare parses the leaf of a certificate and sees that it is for host.
func prepare(cert *tls.Certificate, host string) (err error) {
	if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
		return err
	}
	if err := cert.Leaf.VerifyHostname(host); err != nil {
		return fmt.Errorf("the certificate is not for %s: %w", host, err)
	}
	return nil
}

// tlsConfig shows the certificate to who asks for a name that it is for, or
// for none, and ends the handshake with others (RFC 8461, Section 7.1).
func tlsConfig(cert tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if hello.ServerName != "" {
				if err := cert.Leaf.VerifyHostname(hello.ServerName); err != nil {
					return nil, err
				}
			}
			return &cert, nil
		},
	}
}

func writeCertificate(w io.Writer, cert tls.Certificate) error {
	return pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
}

// selfSigned makes a certificate that is its own root, for a day.
func selfSigned(host string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(now.UnixNano()),
		Subject:               pkix.Name{CommonName: "mtasts serve"}, // an issuer must have a name (RFC 5280, 4.1.2.4)
		DNSNames:              []string{host},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
