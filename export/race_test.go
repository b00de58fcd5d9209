//go:build race

package export

// The race detector makes SQLite ten times as slow.
const slow = true
