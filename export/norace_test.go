//go:build !race

package export

const slow = false
