package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"hadir/attendance"
	"hadir/store"
)

// headerBy says who asks for a restore, for the audit trail.
const headerBy = "Hadir-By"

// restoreErrors are the errors of Restore as numbers, which are append only; what
// is not among them is unknown. A number with two errors comes back as the first.
var restoreErrors = []struct {
	number uint64
	err    error
}{
	{1, ErrNotEmpty}, {2, ErrIncomplete}, {3, ErrRestoring}, {4, ErrNoSpace}, {5, ErrNoLeader},
	{6, store.ErrBackup}, {7, store.ErrFutureSchema}, {5, ErrNotLeader},
}

const unknownRestore = 100

// toldError is an error that another node has told: its words, and what it is.
type toldError struct {
	text string
	is   error
}

func (e *toldError) Error() string { return e.text }
func (e *toldError) Unwrap() error { return e.is }

// restoreAtLeader streams a backup to the leader, one hop.
func (n *Node) restoreAtLeader(ctx context.Context, backup io.Reader, by string) (Restored, error) {
	to, ok := n.leaderTarget()
	if !ok {
		return Restored{}, ErrNoLeader
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.URL(pathRestore), io.NopCloser(backup))
	if err != nil {
		return Restored{}, err
	}
	req.Header.Set(headerBy, by)
	resp, err := n.listener.RPCTransport(to).RoundTrip(req)
	if err != nil {
		n.noteRefusal(err)
		return Restored{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return Restored{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	if resp.StatusCode != http.StatusOK {
		return Restored{}, fmt.Errorf("%w: node answers %d: %.200s", ErrUnknown, resp.StatusCode, raw)
	}
	done, told, err := decodeRestored(raw)
	if err != nil {
		return Restored{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return done, told
}

func (n *Node) serveRestore(w http.ResponseWriter, r *http.Request) {
	done, err := Restored{}, ErrNotLeader // one hop: never passed on again
	if n.isLeader() {
		done, err = n.restoreHere(r.Context(), r.Body, r.Header.Get(headerBy))
	}
	reply(w, encodeRestored(done, err))
}

func encodeRestored(done Restored, err error) []byte {
	number, text := uint64(0), ""
	if err != nil {
		number, text = unknownRestore, err.Error()
		for _, e := range restoreErrors {
			if errors.Is(err, e.err) {
				number = e.number
				break
			}
		}
	}
	w := attendance.NewWriter(nil)
	w.Uint(1)
	w.Uint(number)
	w.String(text)
	w.Bytes(done.Backup.Encode())
	w.Uint(done.Epoch)
	w.Uint(done.Seq)
	w.Uint(uint64(len(done.Waiting)))
	for _, name := range done.Waiting {
		w.String(name)
	}
	return w.Data()
}

// decodeRestored gives what the leader told, and err for an answer that is none.
func decodeRestored(b []byte) (done Restored, told, err error) {
	r := attendance.NewReader(b)
	r.Version(1)
	number, text := r.Uint(), r.String()
	header := r.Bytes()
	done.Epoch, done.Seq = r.Uint(), r.Uint()
	count := r.Uint()
	for range min(count, uint64(len(b))) {
		done.Waiting = append(done.Waiting, r.String())
	}
	if err := r.Err(); err != nil {
		return Restored{}, nil, fmt.Errorf("%w: %w", errWire, err)
	}
	if number != 0 {
		is := ErrUnknown
		for _, e := range restoreErrors {
			if e.number == number {
				is = e.err
				break
			}
		}
		return Restored{}, &toldError{text, is}, nil
	}
	done.Backup, err = store.DecodeHeader(header)
	if err != nil {
		return Restored{}, nil, fmt.Errorf("%w: %w", errWire, err)
	}
	return done, nil, nil
}
