package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// page is what every address answers: a page of 2 KiB.
var page = []byte(strings.Repeat("Thank you for your order. ", 80))

// server is the process that is visited.
type server struct {
	http, https string // base addresses
	certificate string // file
	command     *exec.Cmd
	hold        io.Closer
}

func (s *server) base(scheme string) string {
	if scheme == "https" {
		return s.https
	}
	return s.http
}

func startServer(dir string) (*server, error) {
	s := &server{certificate: filepath.Join(dir, "ca.pem"), command: exec.Command(os.Args[0], "--serve", dir)}
	var err error
	if s.hold, err = s.command.StdinPipe(); err != nil {
		return nil, err
	}
	said, err := s.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.command.Stderr = os.Stderr
	if err := s.command.Start(); err != nil {
		return nil, err
	}
	_, err = fmt.Fscanln(bufio.NewReader(said), &s.http, &s.https)
	return s, err
}

func (s *server) stop() {
	s.hold.Close()
	s.command.Wait()
}

// serve is that process: it says its addresses and serves until its input ends.
func serve(ctx context.Context, dir string) error {
	certificate, err := selfSigned(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return err
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	secure, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(page) }),
		// Visitors that hang up are no news.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	go s.Serve(plain)
	go s.Serve(tls.NewListener(secure, &tls.Config{
		Certificates: []tls.Certificate{certificate}, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS13,
	}))
	fmt.Printf("http://%s https://%s\n", plain.Addr(), secure.Addr())
	io.Copy(io.Discard, os.Stdin)
	return s.Close()
}

func selfSigned(file string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, os.WriteFile(file, text, 0o644)
}
