package httpapi_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/httpapi"
	"hadir/store"
)

// fakeArchive backs up a fake node and takes what is to be restored.
type fakeArchive struct {
	node     *fakeNode
	minIndex uint64
	got      []byte
	by       string
	err      error
	begun    chan struct{} // closed when a restore has begun, which then waits for release
	release  chan struct{}
}

func (a *fakeArchive) Backup(_ context.Context, minIndex uint64) (*store.Snapshot, error) {
	a.minIndex = minIndex
	return a.node.machine.State().Snapshot()
}

func (a *fakeArchive) Restore(_ context.Context, backup io.Reader, by string) (cluster.Restored, error) {
	if a.begun != nil {
		close(a.begun)
		<-a.release
	}
	var err error
	a.by = by
	if a.got, err = io.ReadAll(backup); err != nil {
		return cluster.Restored{}, err
	}
	return cluster.Restored{Backup: store.Header{Seq: 7, Epoch: 3}, Epoch: 4, Seq: 10, Waiting: []string{"n3"}}, a.err
}

func withArchive(t *testing.T) (*world, *fakeArchive) {
	t.Helper()
	a := &fakeArchive{}
	w := newWorld(t, func(c *httpapi.Config) { c.Archive = a })
	a.node = w.node
	return w, a
}

func TestBackupIsStreamed(t *testing.T) {
	w, archive := withArchive(t)
	r := w.get(adminID, "/api/v1/backup")
	w.want(r, http.StatusOK, "")
	h, _, err := store.Verify(t.Context(), bytes.NewReader(r.body), nil)
	if err != nil || h.Cluster != (attendance.ClusterID{1, 2, 3}) {
		t.Fatalf("%+v, %v", h, err)
	}
	if r.Header.Get("Content-Type") != "application/octet-stream" || !strings.Contains(r.Header.Get("Content-Disposition"), "attachment") {
		t.Errorf("header: %v", r.Header)
	}
	// The act is in the trail, and in the backup.
	if archive.minIndex != w.node.Applied() || h.Index != archive.minIndex {
		t.Errorf("backup of index %d, at least %d was asked for, the act is %d", h.Index, archive.minIndex, w.node.Applied())
	}
	if err := w.node.machine.State().View(func(tx *store.ReadTx) error {
		e, err := tx.Event(h.Seq)
		if note, ok := e.Detail.(attendance.AuditNote); !ok || note.Action != "backup.taken" || e.Principal.ID != adminID {
			t.Errorf("the last event: %+v, %v", e, err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	w.want(w.get(adminID, "/api/v1/backup?x=1"), http.StatusBadRequest, "invalid_query")
	if r := w.do(adminID, "HEAD", "/api/v1/backup", ""); r.StatusCode != http.StatusOK || len(r.body) != 0 {
		t.Errorf("HEAD: %d", r.StatusCode)
	}
}

// Without a leader a backup is needed most.
func TestBackupWithoutALeader(t *testing.T) {
	for _, refusal := range []error{cluster.ErrNoLeader, cluster.ErrUnknown} {
		w, _ := withArchive(t)
		w.tokenOf(adminID)
		w.node.set(func(n *fakeNode) { n.refuse = refusal })
		r := w.get(adminID, "/api/v1/backup")
		w.want(r, http.StatusOK, "")
		if _, _, err := store.Verify(t.Context(), bytes.NewReader(r.body), nil); err != nil {
			t.Error(err)
		}
	}
	w, _ := withArchive(t)
	w.tokenOf(adminID)
	w.node.set(func(n *fakeNode) { n.refuse = cluster.ErrOverloaded })
	w.want(w.get(adminID, "/api/v1/backup"), http.StatusServiceUnavailable, "overloaded")
}

func TestRestoreTakesTheWholeBody(t *testing.T) {
	w, archive := withArchive(t)
	large := strings.Repeat("backup ", 100_000) // far over the limit of other bodies
	octets := []string{"Content-Type", "application/octet-stream"}
	r := w.do(adminID, "POST", "/api/v1/restore", large, octets...)
	w.want(r, http.StatusOK, "")
	if string(archive.got) != large || archive.by != emails[adminID] {
		t.Errorf("%d bytes of %d, by %q", len(archive.got), len(large), archive.by)
	}
	if r.at("epoch") != "0102-4" || fmt.Sprint(r.at("seq")) != "10" || fmt.Sprint(r.at("waiting")) != "[n3]" || r.at("backup.epoch") != "0000-3" {
		t.Errorf("answer: %s", r.body)
	}
	w.want(w.do(adminID, "POST", "/api/v1/restore", large), http.StatusUnsupportedMediaType, "unsupported_type")
	for _, tc := range []struct {
		err    error
		status int
		code   string
	}{
		{store.ErrBackup, 422, "invalid_backup"}, {store.ErrFutureSchema, 422, "invalid_backup"}, {cluster.ErrNotEmpty, 409, "not_empty"},
		{cluster.ErrIncomplete, 409, "incomplete_cluster"}, {cluster.ErrRestoring, 409, "busy"}, {cluster.ErrNoSpace, 507, "no_space"},
		{cluster.ErrNoLeader, 503, "no_leader"}, {cluster.ErrNotLeader, 503, "no_leader"}, {cluster.ErrUnknown, 503, "unknown_outcome"},
		{cluster.ErrNotMember, 503, "not_ready"},
	} {
		archive.err = fmt.Errorf("%w: because", tc.err)
		w.want(w.do(adminID, "POST", "/api/v1/restore", "x", octets...), tc.status, tc.code)
	}
}

func TestBackupsAreForAdmins(t *testing.T) {
	w, archive := withArchive(t)
	for _, who := range []int{0, aniID, teacherID} {
		for _, route := range [][2]string{{"GET", "backup"}, {"POST", "restore"}} {
			r := w.do(who, route[0], "/api/v1/"+route[1], "", "Content-Type", "application/octet-stream")
			if r.StatusCode != http.StatusUnauthorized && r.StatusCode != http.StatusForbidden {
				t.Errorf("%v as %d: %d", route, who, r.StatusCode)
			}
		}
	}
	if archive.by != "" || archive.minIndex != 0 {
		t.Error("something was done")
	}
	for _, route := range newWorld(t).api.RouteTable() {
		if strings.HasSuffix(route.Path, "/backup") || strings.HasSuffix(route.Path, "/restore") {
			t.Errorf("%s without an archive", route.Path)
		}
	}
}

func TestOneBackupOrRestoreAtATime(t *testing.T) {
	w, archive := withArchive(t)
	w.tokenOf(adminID)
	archive.begun, archive.release = make(chan struct{}), make(chan struct{})
	done := make(chan reply)
	go func() {
		done <- w.do(adminID, "POST", "/api/v1/restore", "x", "Content-Type", "application/octet-stream")
	}()
	<-archive.begun
	w.want(w.get(adminID, "/api/v1/backup"), http.StatusConflict, "busy")
	w.want(w.do(adminID, "POST", "/api/v1/restore", "x", "Content-Type", "application/octet-stream"), http.StatusConflict, "busy")
	close(archive.release)
	w.want(<-done, http.StatusOK, "")
	archive.begun = nil
	w.want(w.get(adminID, "/api/v1/backup"), http.StatusOK, "")
}
