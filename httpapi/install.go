package httpapi

import (
	"bytes"
	"net/http"
)

// offlinePage is what a phone keeps for a time without a connection; it is the
// same for everybody.
func offlinePage(c *call) error {
	return c.page(http.StatusOK, func(b *bytes.Buffer) error { return c.api.pages.Offline(b, c.lang()) })
}

// getWorker gives the service worker. It stands at the root because a worker
// serves what lies below its own address.
func getWorker(c *call) error {
	script := c.api.pages.Worker()
	if script == nil {
		return notFound("The scripts of the pages were not built.")
	}
	c.w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	return c.bytes(http.StatusOK, script)
}

type iconJSON struct {
	Source string `json:"src"`
	Sizes  string `json:"sizes"`
	Type   string `json:"type"`
}

// getManifest lets a phone install the site. The colours are the style sheet's.
func getManifest(c *call) error {
	return c.send(http.StatusOK, "application/manifest+json", struct {
		Name       string     `json:"name"`
		Short      string     `json:"short_name"`
		Language   string     `json:"lang"`
		Start      string     `json:"start_url"`
		Scope      string     `json:"scope"`
		Display    string     `json:"display"`
		Background string     `json:"background_color"`
		Theme      string     `json:"theme_color"`
		Icons      []iconJSON `json:"icons"`
	}{
		Name: "hadir", Short: "hadir", Language: string(c.lang()), Start: "/", Scope: "/", Display: "standalone",
		Background: "#fbfaf7", Theme: "#16243b",
		Icons: []iconJSON{{Source: c.api.pages.Link("icon.svg"), Sizes: "any", Type: "image/svg+xml"}},
	})
}
