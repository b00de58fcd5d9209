package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"hadir/cmd/hadir/internal/serve"
)

// healthCmd asks the node beside it how it is. It is made for a container, which
// has no shell and no other program: it reads the same variables as serve.
type healthCmd struct {
	HTTPAddr string        `name:"http-addr" help:"Address of the node, as its serve has it." default:":8080"`
	TLSCert  string        `name:"tls-cert" help:"Certificate of the node, as its serve has it; no other one is believed." placeholder:"FILE"`
	Ready    bool          `help:"Ask whether the node can take a check-in, not only whether it serves."`
	Wait     time.Duration `help:"How long the answer may take." default:"3s"`
}

// maxHealth bounds what is read of an answer.
const maxHealth = 4 << 10

// Run implements the command.
func (c *healthCmd) Run(w *world) error {
	base, config, err := c.address()
	if err != nil {
		return err
	}
	path := "/healthz"
	if c.Ready {
		path = "/readyz"
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.Wait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return err
	}
	// No proxy: the node is here.
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return fmt.Errorf("the node does not answer: %w", err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, maxHealth))
	if err != nil {
		return fmt.Errorf("the node does not answer: %w", err)
	}
	if _, err := w.stdout.Write(said); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", path, resp.Status)
	}
	return nil
}

// address gives where the node listens, and how it proves that it is the node.
func (c *healthCmd) address() (base string, config *tls.Config, err error) {
	host, port, err := net.SplitHostPort(c.HTTPAddr)
	if err != nil {
		return "", nil, &serve.UsageError{Text: fmt.Sprintf("--http-addr %q is no address: give it as host:port, or :port", c.HTTPAddr)}
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.Is6() && !ip.Is4In6() {
			host = "::1"
		}
	}
	base = "http://" + net.JoinHostPort(host, port)
	if c.TLSCert == "" {
		return base, nil, nil
	}
	config, err = trustOnly(c.TLSCert)
	return strings.Replace(base, "http:", "https:", 1), config, err
}

// trustOnly believes the first certificate of a file and nothing else.
func trustOnly(path string) (*tls.Config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("--tls-cert: %s holds no certificate: give the PEM file that serve has", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert: %s: %w", path, err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	switch {
	case len(cert.DNSNames) > 0:
		config.ServerName = strings.Replace(cert.DNSNames[0], "*", "x", 1)
	case len(cert.IPAddresses) > 0:
		config.ServerName = cert.IPAddresses[0].String()
	default:
		return nil, errors.New("--tls-cert: the certificate names nobody: it needs a subject alternative name")
	}
	return config, nil
}
