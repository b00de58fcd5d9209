package serve

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// isLoopback reports whether only this machine can reach the address.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().WithZone("").IsLoopback()
}

// anyHost reports whether the address names no host: all interfaces.
func anyHost(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsUnspecified()
}

// advertised gives what others are told: what was given, else the bound address
// with this machine's name where it names no host.
func advertised(given, bound, hostname string) string {
	if given != "" || !anyHost(bound) {
		return given
	}
	_, port, _ := net.SplitHostPort(bound) //nolint:errcheck // anyHost has split it
	return net.JoinHostPort(hostname, port)
}

// httpURL gives the URL at which people reach this node.
func httpURL(given, bound, hostname string, tls bool) string {
	if given != "" {
		return strings.TrimRight(given, "/")
	}
	if a := advertised("", bound, hostname); a != "" {
		bound = a
	}
	scheme := "http"
	if tls {
		scheme = "https"
	}
	return scheme + "://" + bound
}

func checkURL(flag, s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return &UsageError{fmt.Sprintf("%s %q is no URL: give it as http://host:port", flag, s)}
	}
	return nil
}

func checkAddr(flag, addr string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return &UsageError{fmt.Sprintf("%s %q is no address: give it as host:port, or :port for all interfaces", flag, addr)}
	}
	return nil
}
