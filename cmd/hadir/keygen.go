package main

import (
	"fmt"

	"hadir/cluster/transport"
)

// keygenCmd makes a cluster key.
type keygenCmd struct{}

// Run implements the command.
func (keygenCmd) Run(w *world) error {
	key, err := transport.GenerateKey(w.rand)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w.stdout, key.Encode())
	return err
}
