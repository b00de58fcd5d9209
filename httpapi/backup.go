package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"os"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

// Archive takes and restores backups; *cluster.Node is one.
type Archive interface {
	// Backup takes a picture of the state with everything up to a raft index.
	Backup(ctx context.Context, minIndex uint64) (*store.Snapshot, error)
	// Restore makes a backup the state of a cluster that was just founded.
	Restore(ctx context.Context, backup io.Reader, by string) (cluster.Restored, error)
}

const (
	backupPath  = apiPrefix + "/backup"
	restorePath = apiPrefix + "/restore"

	mediaBackup = "application/octet-stream"
	// progressTimeout is how long either side of a backup may make no progress.
	progressTimeout = 30 * time.Second
)

// backupRoutes are there where there is an archive.
func (a *API) backupRoutes() []route {
	if a.Archive == nil {
		return nil
	}
	return []route{
		{http.MethodGet, backupPath, admins, false, getBackup},
		{http.MethodPost, restorePath, admins, false, postRestore},
	}
}

// getBackup streams a backup of this node. It is written down first, so that it
// contains everything that was acknowledged before; without a leader it is taken
// all the same, because that is when it is needed most, and only the log of this
// node tells of it.
func getBackup(c *call) error {
	q, err := c.query()
	if err == nil {
		err = q.done()
	}
	if err != nil {
		return err
	}
	if c.r.Method == http.MethodHead {
		c.w.Header().Set("Content-Type", mediaBackup)
		return c.bytes(http.StatusOK, nil)
	}
	if !c.api.copying.TryLock() {
		return newProblem(codeBusy, "Another backup is being taken from this node, or a restore runs.")
	}
	defer c.api.copying.Unlock()
	index, err := c.noteBackup()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), c.api.Budget)
	defer cancel()
	picture, err := c.api.Archive.Backup(ctx, index)
	if err != nil {
		return err
	}
	defer picture.Release()
	head := picture.Header
	h := c.w.Header()
	h.Set("Content-Type", mediaBackup)
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="hadir-%s-%d-%d.backup"`, head.Cluster.String()[:4], head.Epoch, head.Seq))
	c.index(head.Index)
	c.w.WriteHeader(http.StatusOK)
	if err := picture.Write(c.r.Context(), &pushing{c}); err != nil {
		// The connection ends without an end of the body: nobody takes it for whole.
		c.api.Log.Warn("a backup ended early", "request", c.id, "error", err)
		panic(http.ErrAbortHandler)
	}
	c.api.Log.Info("a backup was taken", "request", c.id, "seq", head.Seq, "index", head.Index, "by", c.who.user.ID)
	return nil
}

// noteBackup records who takes a backup, and gives the index of that.
func (c *call) noteBackup() (uint64, error) {
	result, err := c.propose(c.who, "", attendance.Audit{Action: "backup.taken", Subject: c.api.Node.Name()})
	switch {
	case err == nil:
		return result.Index, nil
	case errors.Is(err, cluster.ErrNoLeader), errors.Is(err, cluster.ErrUnknown):
		c.api.Log.Warn("a backup is taken without a leader: the audit trail does not tell of it, and it may lack what other nodes have",
			"request", c.id, "by", c.who.user.ID)
		return 0, nil
	}
	return 0, err
}

// pushing writes an answer whose deadline starts anew with each piece.
type pushing struct{ *call }

func (p *pushing) Write(b []byte) (int, error) {
	// As in serve: what takes no deadline has none.
	_ = http.NewResponseController(p.w).SetWriteDeadline(p.api.Clock.Now().Add(progressTimeout))
	return p.w.Write(b)
}

// pulling reads a body whose deadline starts anew with each piece.
type pulling struct{ *call }

func (p *pulling) Read(b []byte) (int, error) {
	_ = http.NewResponseController(p.w).SetReadDeadline(p.api.Clock.Now().Add(progressTimeout))
	return p.r.Body.Read(b)
}

type restoredJSON struct {
	Epoch   string     `json:"epoch"`
	Seq     uint64     `json:"seq"`
	Waiting []string   `json:"waiting"`
	Backup  backupJSON `json:"backup"`
}

type backupJSON struct {
	ClusterID string `json:"cluster_id"`
	Epoch     string `json:"epoch"`
	Index     uint64 `json:"index"`
	Term      uint64 `json:"term"`
	Seq       uint64 `json:"seq"`
	Schema    uint64 `json:"schema"`
	At        stamp  `json:"at"`
}

// postRestore takes a backup in and answers when the cluster has it.
func postRestore(c *call) error {
	q, err := c.query()
	if err == nil {
		err = q.done()
	}
	if err != nil {
		return err
	}
	if media, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type")); err != nil || media != mediaBackup {
		return newProblem(codeUnsupportedType, "Send the backup as "+mediaBackup+".")
	}
	if !c.api.copying.TryLock() {
		return newProblem(codeBusy, "A backup is being taken from this node, or another restore runs.")
	}
	defer c.api.copying.Unlock()
	// What comes after the body takes as long as the disks do.
	_ = http.NewResponseController(c.w).SetWriteDeadline(time.Time{})
	done, err := c.api.Archive.Restore(c.r.Context(), &pulling{c}, c.who.user.Email)
	_ = http.NewResponseController(c.w).SetWriteDeadline(c.api.Clock.Now().Add(answerTimeout))
	if err != nil {
		return restoreProblem(err)
	}
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{}) // the connection may be used again
	h := done.Backup
	out := restoredJSON{
		Epoch: epochOf(cluster.Status{Cluster: c.api.Node.Status().Cluster, Epoch: done.Epoch}), Seq: done.Seq, Waiting: []string{},
		Backup: backupJSON{
			ClusterID: h.Cluster.String(), Epoch: epochOf(cluster.Status{Cluster: h.Cluster, Epoch: h.Epoch}), Index: h.Index, Term: h.Term, Seq: h.Seq, Schema: h.Schema, At: stamp(h.Clock),
		},
	}
	out.Waiting = append(out.Waiting, done.Waiting...)
	return c.json(http.StatusOK, out)
}

// restoreProblem says what became of a restore; all but one of them say that
// nothing has changed.
func restoreProblem(err error) error {
	for _, r := range []struct {
		is   error
		code code
	}{
		{store.ErrBackup, codeInvalidBackup},
		{store.ErrFutureSchema, codeInvalidBackup},
		{cluster.ErrNotEmpty, codeNotEmpty},
		{cluster.ErrIncomplete, codeIncomplete},
		{cluster.ErrRestoring, codeBusy},
		{cluster.ErrNoSpace, codeNoSpace},
	} {
		if errors.Is(err, r.is) {
			p := newProblem(r.code, err.Error()+". Nothing has changed.")
			p.cause = err
			return p
		}
	}
	var p *problem
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		p = newProblem(codeTimeout, "No more of the backup came for half a minute. Nothing has changed.")
	case errors.Is(err, cluster.ErrNoLeader), errors.Is(err, cluster.ErrNotLeader):
		p = newProblem(codeNoLeader, "Nothing has changed. Look at the cluster and restore again.")
	case errors.Is(err, cluster.ErrUnknown):
		p = newProblem(codeUnknownOutcome, "Look at the cluster: it has another epoch if the backup was restored.")
	default:
		return err
	}
	p.cause = err
	return p
}

// noLimit is for bodies that are streamed to a disk, which has one.
const noLimit = math.MaxInt64
