package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"hadir/httpapi"
	"hadir/queue/jobs"
	"hadir/queue/webhook"
)

// readWebhooks reads the hooks. What is wrong is told without what the line says: it
// holds a secret.
func (p *plan) readWebhooks() error {
	if p.WebhookFile == "" {
		return nil
	}
	b, err := os.ReadFile(p.WebhookFile)
	if err != nil {
		return fmt.Errorf("--webhook-file: %w", err)
	}
	if p.hooks, err = webhook.Parse(string(b)); err != nil {
		return &UsageError{"--webhook-file " + p.WebhookFile + ": " + err.Error()}
	}
	return nil
}

// newWebhooks makes the hooks; runJobs has them delivered.
func (n *running) newWebhooks() (err error) {
	n.webhooks, err = webhook.New(webhook.Config{Cluster: n.node, Clock: Clock{}, Log: n.log, Hooks: n.hooks, HandOver: n.handOver})
	return err
}

// delivery is what a job is about that delivers an event.
type delivery struct {
	Hook  string `json:"hook"`
	Epoch string `json:"epoch"` // of the history that the event is of
	Seq   uint64 `json:"seq"`
}

// handOver makes a job of an event that an endpoint refuses.
func (n *running) handOver(ctx context.Context, hook, epoch string, seq uint64) error {
	spec, err := json.Marshal(delivery{hook, epoch, seq})
	if err != nil {
		return err
	}
	_, err = n.jobs.Start(ctx, jobs.Task{Kind: httpapi.JobWebhook, Spec: spec})
	return err
}

// deliver does such a job.
func (n *running) deliver(ctx context.Context, spec []byte) error {
	var d delivery
	if err := json.Unmarshal(spec, &d); err != nil {
		return errors.Join(jobs.ErrPermanent, err)
	}
	err := n.webhooks.Redeliver(ctx, d.Hook, d.Epoch, d.Seq)
	if errors.Is(err, webhook.ErrUnknown) {
		return errors.Join(jobs.ErrPermanent, err)
	}
	if err != nil {
		return fmt.Errorf("%s, event %d: %w", d.Hook, d.Seq, err)
	}
	return nil
}

// hooks is the webhooks as the door sees them.
type hooks struct{ *webhook.Hooks }

// Status implements httpapi.Webhooks.
func (h hooks) Status(ctx context.Context) (out []httpapi.WebhookStatus, err error) {
	all, err := h.Hooks.Status(ctx)
	for _, s := range all {
		out = append(out, httpapi.WebhookStatus{
			Name: s.Name, Place: s.Place, Kinds: s.Kinds, Node: s.Node, State: string(s.State), Seq: s.Seq, Lag: s.Lag, Reason: s.Reason, FailedAt: s.FailedAt,
		})
	}
	return out, err
}
