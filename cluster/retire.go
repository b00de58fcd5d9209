package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// ErrRetired is what a node is halted with, and what it does not start with, when
// its data directory may never take part again: the server was removed, or another
// node has seen a newer start of it. To start it again is in vain.
var ErrRetired = errors.New("this node is retired")

// retiredMarker says in a data directory that its server is retired. Without it the
// next start would have to be told again. For an old copy that would not even be
// safe: each start raises the generation, and whatever restarts the node would soon
// have raised it above that of the newer one.
const retiredMarker = "retired.json"

// retirement is the content of the marker.
type retirement struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// retire ends the process for good: the next start ends at once, and says why.
func (n *Node) retire(reason error) {
	err := writeMarker(n.cfg.DataDir, retiredMarker, retirement{n.clock.Now().UTC(), reason.Error()})
	if err != nil {
		n.log.Error("it could not be written down that this node is retired: do not start it again", "error", err)
	}
	n.cfg.Halt(fmt.Errorf("%w: %w", ErrRetired, reason))
}

// checkRetired refuses a data directory whose server is retired, and says why.
func checkRetired(dir string) error {
	raw, err := os.ReadFile(filepath.Join(dir, retiredMarker))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		// Not ErrRetired: a disk that cannot be read for once must not keep a good node down.
		return fmt.Errorf("whether this node is retired cannot be read: %w", err)
	}
	var r retirement
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("%w, and why cannot be read: %w", ErrRetired, err)
	}
	return fmt.Errorf("%w since %s: %s", ErrRetired, r.At.Format(time.RFC3339), r.Reason)
}
