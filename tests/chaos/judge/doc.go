// Package judge compares what clients were told with what the nodes have, once the
// cluster is healthy again. Nodes and the other collectors ask; what concludes is
// pure: the same evidence gives the same verdict.
//
// It trusts nothing but the contract. A question that could not be asked is an
// error, never a silent pass.
package judge
