package httpapi

import (
	"net/netip"
	"strings"
)

// address is where the request comes from: the nearest address that is no proxy
// of ours. Everything farther away is hearsay.
func (c *call) address() netip.Addr {
	peer, err := netip.ParseAddrPort(c.r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	at := peer.Addr().Unmap().WithZone("")
	if !c.api.trusts(at) {
		return at
	}
	hops := strings.Split(strings.Join(c.r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		if at = hop.Unmap().WithZone(""); !c.api.trusts(at) {
			break
		}
	}
	return at
}

func (a *API) trusts(at netip.Addr) bool {
	for _, p := range a.TrustedProxies {
		if p.Contains(at) {
			return true
		}
	}
	return false
}

// secure reports whether the client's connection is encrypted.
func (c *call) secure() bool {
	if c.r.TLS != nil {
		return true
	}
	peer, err := netip.ParseAddrPort(c.r.RemoteAddr)
	return err == nil && c.api.trusts(peer.Addr().Unmap().WithZone("")) && c.r.Header.Get("X-Forwarded-Proto") == "https"
}
