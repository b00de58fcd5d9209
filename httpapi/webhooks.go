package httpapi

import (
	"context"
	"net/http"
	"time"
)

// Webhooks tells how the webhooks do.
type Webhooks interface {
	// Status gives all of them, as the leader sees them, or, where it cannot be asked,
	// as this node does.
	Status(ctx context.Context) ([]WebhookStatus, error)
}

// WebhookStatus is how one does.
type WebhookStatus struct {
	Name     string
	Place    string   // scheme and host; the rest of a URL may be a secret
	Kinds    []string // of events; none for all
	Node     string   // that tells
	State    string   // one of webhookStates
	Seq      uint64   // everything up to it was delivered or handed over to a job
	Lag      uint64   // events that come after
	Reason   string   // of the last failure
	FailedAt time.Time
}

var webhookStates = []string{"standby", "delivering", "waiting"}

var webhookRoutes = []route{
	{http.MethodGet, apiPrefix + "/webhooks", admins, false, getWebhooks},
}

type webhooksJSON struct {
	Items []webhookJSON `json:"items"`
}

type webhookJSON struct {
	Name      string   `json:"name"`
	Place     string   `json:"place"`
	Kinds     []string `json:"kinds"`
	Node      string   `json:"node_id"`
	State     string   `json:"state"`
	Seq       uint64   `json:"seq"`
	LagEvents uint64   `json:"lag_events"`
	Reason    string   `json:"reason,omitempty"`
	FailedAt  *stamp   `json:"failed_at,omitempty"`
}

func getWebhooks(c *call) error {
	if c.api.Webhooks == nil {
		return notFound("This node has no webhooks.")
	}
	all, err := c.api.Webhooks.Status(c.r.Context())
	if err != nil {
		return err
	}
	out := webhooksJSON{Items: []webhookJSON{}}
	for _, s := range all {
		out.Items = append(out.Items, webhookJSON{
			Name: s.Name, Place: s.Place, Kinds: append([]string{}, s.Kinds...), Node: s.Node, State: s.State, Seq: s.Seq, LagEvents: s.Lag,
			Reason: s.Reason, FailedAt: knownStamp(s.FailedAt),
		})
	}
	return c.json(http.StatusOK, out)
}
