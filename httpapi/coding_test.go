package httpapi_test

import (
	"testing"

	"hadir/httpapi"
)

func TestAccepts(t *testing.T) {
	for header, want := range map[string]bool{
		"br": true, "gzip, br": true, "BR;q=0.5": true, "br;q=0": false, "br; q=0.000": false, "br;q=0.01": true, "": false, "gzip": false,
		"brotli": false, "*": false,
	} {
		if got := httpapi.Accepts(header, "br"); got != want {
			t.Errorf("%q: %v", header, got)
		}
	}
}
