package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// stallTimeout is how long a backup may bring nothing before it is given up.
const stallTimeout = time.Minute

// errStalled is why.
var errStalled = errors.New("nothing more came for a minute")

// Backup gives a backup as it comes. It ends with an error when nothing more
// comes for a minute. Close it.
func (c *Client) Backup(ctx context.Context) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	b := &download{ctx: ctx, cancel: cancel, base: c.Base}
	b.patience = time.AfterFunc(stallTimeout, func() { cancel(errStalled) })
	resp, err := c.stream(ctx, http.MethodGet, "/api/v1/backup", "", nil, 0) //nolint:bodyclose // Close does
	if err != nil {
		b.patience.Stop()
		cancel(nil)
		return nil, err
	}
	b.body = resp.Body
	return b, nil
}

// download is the body of an answer that must go on coming.
type download struct {
	ctx      context.Context
	cancel   context.CancelCauseFunc
	patience *time.Timer
	body     io.ReadCloser
	base     string
}

func (d *download) Read(p []byte) (int, error) {
	n, err := d.body.Read(p)
	d.patience.Reset(stallTimeout)
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(d.ctx); cause != nil {
			err = cause
		}
		err = fmt.Errorf("%s broke off: %w", d.base, err)
	}
	return n, err
}

// Close implements io.Closer.
func (d *download) Close() error {
	d.patience.Stop()
	d.cancel(nil)
	return d.body.Close()
}

// Restored is what a restore has done.
type Restored struct {
	Epoch   string   `json:"epoch"`
	Seq     uint64   `json:"seq"`
	Waiting []string `json:"waiting"`
}

// Restore sends a backup of so many bytes to an empty cluster, and returns when it
// is restored.
func (c *Client) Restore(ctx context.Context, backup io.Reader, size int64) (Restored, error) {
	resp, err := c.stream(ctx, http.MethodPost, "/api/v1/restore", "application/octet-stream", backup, size)
	if err != nil {
		return Restored{}, err
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return Restored{}, unreachable(c.Base, err)
	}
	var out Restored
	if err := json.Unmarshal(raw, &out); err != nil {
		return Restored{}, fmt.Errorf("%s does not answer as hadir does: %w", c.Base, err)
	}
	return out, nil
}

// stream sends a request that may take as long as it likes, and gives an answer
// that is a success; the caller closes its body.
func (c *Client) stream(ctx context.Context, method, path, mediaType string, body io.Reader, size int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.Base+path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.ContentLength = size
		req.Header.Set("Content-Type", mediaType)
		req.Header.Set("Expect", "100-continue") // who refuses says so before it is all sent
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	patient := *c.HTTP
	patient.Timeout = 0
	resp, err := patient.Do(req)
	if err != nil {
		return nil, unreachable(c.Base, err)
	}
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		return resp, nil
	}
	a := &Answer{Status: resp.StatusCode, Header: resp.Header}
	a.Body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, unreachable(c.Base, err)
	}
	return nil, a.Problem()
}
