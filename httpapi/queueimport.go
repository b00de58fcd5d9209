package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"hadir/attendance"
	"hadir/store"
)

// maxQueueImport is how many check-ins one request may hand over.
const maxQueueImport = 200

// ErrForeign is what a QueueDesk gives for a check-in that was not written by this
// cluster, or was changed.
var ErrForeign = errors.New("it was not written by a node of this cluster, or was changed since")

type queueImportRequest struct {
	Entries []string `json:"entries"`
}

type queueImportJSON struct {
	Taken  int              `json:"taken"`
	Known  int              `json:"known"`
	Errors []queueRowErrors `json:"errors"`
}

type queueRowErrors struct {
	Row    int    `json:"row"`
	Reason string `json:"reason"`
}

// postQueueImport takes check-ins from the disk of a node that will not run again
// into this node's outbox, and so into the drain.
func postQueueImport(c *call) error {
	in, err := c.object()
	if err != nil {
		return err
	}
	raw, _ := in.take("entries")
	var entries []string
	if json.Unmarshal(raw, &entries) != nil || len(entries) == 0 || len(entries) > maxQueueImport {
		in.wrong("entries", fmt.Sprintf("is no list of 1 … %d lines of hadir outbox export", maxQueueImport))
	}
	if err := in.done(); err != nil {
		return err
	}
	if c.api.Desk == nil {
		return notFound("This node has no queue.")
	}
	key, err := c.idempotencyKey()
	if err != nil {
		return err
	}
	note := attendance.Audit{Action: "outbox.imported", Subject: fmt.Sprintf("%d check-ins", len(entries))}
	if _, err := c.propose(c.who, key, note); err != nil {
		return err
	}
	answer := queueImportJSON{Errors: []queueRowErrors{}}
	for i, text := range entries {
		known := false
		sealed, err := base64.StdEncoding.DecodeString(text)
		if err == nil {
			known, err = c.api.Desk.Import(sealed)
		}
		switch {
		case err == nil && known:
			answer.Known++
		case err == nil:
			answer.Taken++
		case errors.Is(err, store.ErrOutboxFull), errors.Is(err, store.ErrOutboxBroken), errors.Is(err, store.ErrClosed):
			return err // nothing after it would be taken either; what was taken is known the next time
		default:
			answer.Errors = append(answer.Errors, queueRowErrors{Row: i + 1, Reason: err.Error()})
		}
	}
	return c.json(http.StatusOK, answer)
}
