//go:build !linux && !darwin

package terminal

import "errors"

// Terminal is of no use on this system.
type Terminal struct{}

var errNone = errors.New("hadir cannot ask for a secret on this system")

// Open fails.
func Open() (*Terminal, error) { return nil, errNone }

// ReadSecret fails.
func (*Terminal) ReadSecret(string) (string, error) { return "", errNone }

// Close does nothing.
func (*Terminal) Close() error { return nil }
