package api

import (
	"context"
	"net/http"
)

// OutboxImport is what became of check-ins from the disk of another node.
type OutboxImport struct {
	Taken  int `json:"taken"`
	Known  int `json:"known"`
	Errors []struct {
		Row    int    `json:"row"`
		Reason string `json:"reason"`
	} `json:"errors"`
}

// ImportOutbox hands over sealed check-ins, as hadir outbox export writes them.
func (c *Client) ImportOutbox(ctx context.Context, entries []string) (out OutboxImport, err error) {
	return out, c.call(ctx, http.MethodPost, "/api/v1/queue/import", map[string]any{"entries": entries}, &out)
}
