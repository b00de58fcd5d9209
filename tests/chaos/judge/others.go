package judge

import "fmt"

// Hash is what a node's state comes to.
type Hash struct {
	Node  string `json:"node_id"`
	Index uint64 `json:"index"`
	Seq   uint64 `json:"seq"`
	Chain string `json:"chain"`
	State string `json:"state"`
	Error string `json:"error,omitempty"`
}

// Hashes finds nodes that could not be compared, or that differ. of is how many
// nodes there are.
func Hashes(hashes []Hash, of int) (faults []string) {
	if len(hashes) != of {
		faults = append(faults, fmt.Sprintf("%d nodes were compared, there are %d", len(hashes), of))
	}
	for _, h := range hashes {
		first := hashes[0]
		switch {
		case h.Error != "" || h.Chain == "" || h.State == "":
			faults = append(faults, fmt.Sprintf("%s was not compared: %s", h.Node, h.Error))
		case h.Index != first.Index || h.Seq != first.Seq:
			faults = append(faults, fmt.Sprintf("%s was compared at index %d, seq %d, %s at %d, %d", h.Node, h.Index, h.Seq, first.Node, first.Index, first.Seq))
		case h.Chain != first.Chain:
			faults = append(faults, fmt.Sprintf("%s has chain hash %s, %s has %s", h.Node, h.Chain, first.Node, first.Chain))
		case h.State != first.State:
			faults = append(faults, fmt.Sprintf("%s has state hash %s, %s has %s", h.Node, h.State, first.Node, first.State))
		}
	}
	return faults
}

// Export is a comparison of a SQL copy with the events, as a node made it.
type Export struct {
	Target    string `json:"target"`
	Watermark uint64 `json:"watermark"`
	Equal     bool   `json:"equal"`
	Parked    uint64 `json:"parked"`
	Missing   uint64 `json:"missing"`
	Unchecked uint64 `json:"unchecked"`
	Different int    `json:"different"`
}

// Exports finds copies that are not what the events up to a seq say.
func Exports(exports []Export, newest uint64) (faults []string) {
	for _, x := range exports {
		if !x.Equal || x.Different > 0 {
			faults = append(faults, fmt.Sprintf("%s differs from the events in %d rows", x.Target, x.Different))
		}
		if x.Watermark < newest {
			faults = append(faults, fmt.Sprintf("%s goes up to event %d of %d", x.Target, x.Watermark, newest))
		}
		if n := x.Parked + x.Missing + x.Unchecked; n > 0 {
			faults = append(faults, fmt.Sprintf("%s has %d events that were parked, missing or not checked", x.Target, n))
		}
	}
	return faults
}

// Election says who led in a term, as somebody saw it.
type Election struct {
	Term   uint64
	Leader string
	SeenBy string
}

// Elections finds terms with two leaders.
func Elections(seen []Election) (faults []string) {
	first := map[uint64]Election{}
	for _, e := range seen {
		f, known := first[e.Term]
		if !known {
			first[e.Term] = e
		} else if f.Leader != e.Leader {
			faults = append(faults, fmt.Sprintf("term %d: %s says that %s leads, %s says %s", e.Term, f.SeenBy, f.Leader, e.SeenBy, e.Leader))
		}
	}
	return faults
}
