package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"hadir/cmd/hadir/internal/devcert"
	"hadir/cmd/hadir/internal/serve"
)

// devCertCmd makes certificates for a local network.
type devCertCmd struct {
	Hosts []string `arg:"" name:"host" help:"Names and addresses at which phones reach the front, such as absen.lan or 192.168.1.10."`
	Dir   string   `help:"Directory for the files." default:"certs" placeholder:"DIR"`
	Days  int      `help:"How long the server's certificate is valid, 1 … 825 days." default:"397"`
}

// maxDays is what iPhones believe at most of a private authority.
const maxDays = 825

// Validate implements kong's hook.
func (c *devCertCmd) Validate() error {
	if c.Days < 1 || c.Days > maxDays {
		return fmt.Errorf("--days %d is not within 1 … %d", c.Days, maxDays)
	}
	return nil
}

// Run implements the command.
func (c *devCertCmd) Run(w *world) error {
	hosts, err := devcert.ParseHosts(c.Hosts)
	if err != nil {
		return &serve.UsageError{Text: err.Error()}
	}
	made, err := devcert.Write(devcert.Request{
		Dir: c.Dir, Hosts: hosts, Valid: time.Duration(c.Days) * 24 * time.Hour, Now: time.Now(), Rand: w.rand,
	})
	if err != nil {
		return err
	}
	authority := "the authority of before, which phones may know already"
	if made.NewAuthority {
		authority = "a new authority, which every phone has to be told about once"
	}
	_, err = fmt.Fprintf(w.stdout, trust, made.Until.Format(time.DateOnly), strings.Join(hosts.Strings(), ", "), authority,
		filepath.Join(c.Dir, devcert.ServerCert), filepath.Join(c.Dir, devcert.ServerKey),
		filepath.Join(c.Dir, devcert.AuthorityCert), filepath.Join(c.Dir, devcert.AuthorityKey), made.Fingerprint)
	return err
}

const trust = `A certificate until %s for %s,
from %s.

  %s, %s   for nginx, or for serve --tls-cert and --tls-key
  %s                 for phones: no secret
  %s                 keep it to yourself: whoever has it can pose as this site

Bring the phones' file to each phone, by mail, cable or AirDrop, and have it trusted:

  Android   Settings, Security and privacy, More security settings, Install from
            storage (or: Encryption and credentials), CA certificate, Install anyway
  iPhone    open the file; Settings, Profile downloaded, Install; then Settings,
            General, About, Certificate trust settings, switch it on
  Chrome, Edge on a computer   Settings, Privacy and security, Security, Manage
            certificates, Authorities or Trusted root certificates, Import
  Firefox   Settings, Privacy and security, View certificates, Authorities, Import

The phone shows this fingerprint (SHA-256) before it trusts; compare it:
  %s
`
