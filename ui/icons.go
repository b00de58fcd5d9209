package ui

// icons are the paths of the navigation's pictures, in a field of 24 by 24.
var icons = map[string]string{
	"home":    "M9 12l2 2 4-4M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
	"cluster": "M12 3a2 2 0 1 1 0 4 2 2 0 0 1 0-4zM5 17a2 2 0 1 1 0 4 2 2 0 0 1 0-4zM19 17a2 2 0 1 1 0 4 2 2 0 0 1 0-4zM11 7l-5 10M13 7l5 10M7 19h10",
}
