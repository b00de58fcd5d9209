package attendance

// Claim is when a tap says that it was received: the leader's stamp less the
// monotonic age or, after a reboot of the receiving node, that node's wall clock
// of then.
func (c CheckIn) Claim(proposedAt Millis) Millis {
	if c.WallClock {
		return c.ReceivedAt
	}
	return proposedAt - c.Age
}

// Place finds the decision time of a claim, or the reason why a person has to
// decide: ClockSuspect for a claim from the future, TooOld for one that was
// deferred past D or lies so near the floor that a trimmed neighbour could
// matter. The time is given in every case; it is never after the clock.
func (p Params) Place(claim, clock, floor Millis) (t Millis, why Reason) {
	t = min(claim, clock)
	switch {
	case claim > clock+p.Skew:
		return t, ClockSuspect
	case t < clock-p.Deferral || !p.Reachable(t, floor):
		return t, TooOld
	}
	return t, NoReason
}

// Reachable reports whether every accepted time that could conflict with t is
// still kept.
func (p Params) Reachable(t, floor Millis) bool { return t >= floor+p.Window }

// Conflict gives the accepted check-in that t is too near to, or nil. prev is
// the greatest accepted time ≤ t and next the least > t, of the same (user,
// type); nil where there is none nearer than W. Looking at one side only would
// accept a tap from an outbox three minutes before one that is there already.
func (p Params) Conflict(t Millis, prev, next *Accepted) *Accepted {
	if prev != nil && t-prev.At < p.Window {
		return prev
	}
	if next != nil && next.At-t < p.Window {
		return next
	}
	return nil
}

// CheckPrune gives the reason why history may not be trimmed below floor: a
// floor above clock − D − W would turn honest late taps into reviews, and one
// that falls would let trimmed neighbours be forgotten. Events go with it
// (throughSeq > 0) only when, on top of that, no key that still answers can
// need them.
func (p Params) CheckPrune(floor, clock, current Millis, throughSeq uint64) Reason {
	limit := clock - p.Deferral - p.Window
	if throughSeq > 0 {
		limit -= p.KeyRetention
	}
	switch {
	case floor < current:
		return FloorFalls
	case floor > limit:
		return TooRecent
	}
	return NoReason
}
