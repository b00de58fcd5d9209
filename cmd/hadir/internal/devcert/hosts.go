package devcert

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Hosts are the names and addresses of a site.
type Hosts struct {
	Names []string // lower case
	Addrs []netip.Addr
}

const (
	maxName  = 253
	maxLabel = 63
)

// ParseHosts reads what somebody typed. Errors say what is wrong with which word.
func ParseHosts(words []string) (Hosts, error) {
	var h Hosts
	for _, word := range words {
		if ip, err := netip.ParseAddr(strings.Trim(word, "[]")); err == nil {
			if ip.Zone() != "" {
				return h, fmt.Errorf("%q has a zone, which no certificate can name: leave out what follows %%", word)
			}
			h.Addrs = append(h.Addrs, ip.Unmap())
			continue
		}
		name := strings.ToLower(strings.TrimSuffix(word, "."))
		if err := checkName(name); err != nil {
			return h, fmt.Errorf("%q is neither a name nor an address: %w", word, err)
		}
		h.Names = append(h.Names, name)
	}
	if len(h.Names)+len(h.Addrs) == 0 {
		return h, fmt.Errorf("give at least one name or address at which phones reach the site")
	}
	h.Names, h.Addrs = unique(h.Names), unique(h.Addrs)
	return h, nil
}

// unique drops repetitions and keeps the order.
func unique[T comparable](list []T) (out []T) {
	for _, v := range list {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

func checkName(name string) error {
	if len(name) > maxName {
		return fmt.Errorf("it is longer than %d characters", maxName)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("write only the host, such as absen.lan, without https:// and without a port")
		}
		for _, r := range label {
			if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' {
				return fmt.Errorf("write only the host, such as absen.lan, without https:// and without a port")
			}
		}
	}
	return nil
}

// Strings gives all of them as they are written.
func (h Hosts) Strings() []string {
	out := slices.Clone(h.Names)
	for _, a := range h.Addrs {
		out = append(out, a.String())
	}
	return out
}

// withThisMachine adds the names of the machine itself, for who sits at it.
func (h Hosts) withThisMachine() Hosts {
	return Hosts{
		Names: unique(append(slices.Clone(h.Names), "localhost")),
		Addrs: unique(append(slices.Clone(h.Addrs), netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback())),
	}
}

func (h Hosts) ips() []net.IP {
	out := make([]net.IP, len(h.Addrs))
	for i, a := range h.Addrs {
		out[i] = a.AsSlice()
	}
	return out
}

// networks are those an authority for these hosts may vouch for: the private ones,
// because addresses are handed out anew, and each other address by itself.
func (h Hosts) networks() []*net.IPNet {
	var out []*net.IPNet
	add := func(p netip.Prefix) {
		out = append(out, &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())})
	}
	for _, s := range []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8", "fc00::/7", "fe80::/10", "::1/128"} {
		add(netip.MustParsePrefix(s))
	}
	for _, a := range h.Addrs {
		if !a.IsPrivate() && !a.IsLoopback() && !a.IsLinkLocalUnicast() {
			add(netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return out
}
