package cluster

import "hadir/store"

// Own gives node.db, what belongs to this node alone. It is open until Shutdown.
func (n *Node) Own() *store.Node { return n.own }
