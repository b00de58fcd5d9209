package serve

import (
	"context"
	"errors"
	"time"

	"hadir/httpapi"
	"hadir/queue/shared"
)

// share gives the door what nodes share through Redis, where there is one.
func (n *running) share(to *httpapi.Config) error {
	if n.redis == nil {
		return nil
	}
	keys, err := n.keys.MirrorKeys()
	if err != nil {
		return err
	}
	n.shared = shared.New(shared.Config{Redis: n.redis, Node: n.node, Clock: Clock{}, Rand: n.proc.Rand, Log: n.log, Keys: keys})
	to.Cache, to.Tally = n.shared, tally{n.shared}
	return nil
}

// tally is what is shared about limits as the door sees it.
type tally struct{ *shared.Shared }

// Add implements httpapi.Tally.
func (t tally) Add(ctx context.Context, names []string, by []time.Duration) ([]time.Duration, error) {
	levels, err := t.Shared.Add(ctx, names, by)
	if errors.Is(err, shared.ErrAway) {
		err = errors.Join(httpapi.ErrNoTally, err)
	}
	return levels, err
}
