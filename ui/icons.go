package ui

// icons are the paths of the navigation's pictures, in a field of 24 by 24.
var icons = map[string]string{
	"home":      "M9 12l2 2 4-4M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
	"history":   "M12 7v5l3 2M3.5 9a9 9 0 1 1-.4 4.5M3 4v5h5",
	"groups":    "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM2.5 20a6.5 6.5 0 0 1 13 0M16 4.5a3.5 3.5 0 0 1 0 6.5M18 14.5a6.5 6.5 0 0 1 3.5 5.5",
	"dashboard": "M4 20V10M10 20V4M16 20v-7M22 20H2",
	"admin":     "M4 7h10M18 7h2M4 17h2M10 17h10M16 5a2 2 0 1 1 0 4 2 2 0 0 1 0-4zM8 15a2 2 0 1 1 0 4 2 2 0 0 1 0-4z",
	"records":   "M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01",
	"cluster":   "M12 3a2 2 0 1 1 0 4 2 2 0 0 1 0-4zM5 17a2 2 0 1 1 0 4 2 2 0 0 1 0-4zM19 17a2 2 0 1 1 0 4 2 2 0 0 1 0-4zM11 7l-5 10M13 7l5 10M7 19h10",
}
