package httpapi_test

import (
	"hadir/cluster"
	"hadir/httpapi"
)

// What the door asks for is what a node has.
var (
	_ httpapi.Node     = (*cluster.Node)(nil)
	_ cluster.Observer = (*httpapi.Metrics)(nil)
)
