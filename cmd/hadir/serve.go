package main

import (
	"context"

	"hadir/cmd/hadir/internal/demo"
	"hadir/cmd/hadir/internal/serve"
)

// serveCmd runs one node.
type serveCmd struct {
	serve.Options
}

// Run implements the command.
func (c *serveCmd) Run(w *world) error {
	p := serve.Process{Version: version, Stderr: w.stderr, Rand: w.rand, Signals: w.signals, Exit: w.exit}
	// Not assigned as it is: a nil *Parent in the interface would not be nil.
	if parent := demo.FindParent(w.getenv); parent != nil {
		p.Demo = parent
	}
	return serve.Run(context.Background(), c.Options, p)
}
