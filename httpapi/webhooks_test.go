package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"hadir/httpapi"
)

type fakeHooks struct{}

func (fakeHooks) Status(context.Context) ([]httpapi.WebhookStatus, error) {
	return []httpapi.WebhookStatus{
		{Name: "gate", Place: "https://gate.test", Node: "n2", State: "delivering", Seq: 17},
		{
			Name: "sms", Place: "https://sms.test", Kinds: []string{"attendance.accepted"}, Node: "n2", State: "waiting", Seq: 12, Lag: 5, Reason: "no answer",
			FailedAt: time.UnixMilli(1_795_388_400_000),
		},
	}, nil
}

func withHooks(c *httpapi.Config) { c.Webhooks = fakeHooks{} }

func TestWebhooks(t *testing.T) {
	w := newWorld(t, withHooks)
	r := w.get(adminID, "/api/v1/webhooks")
	w.want(r, http.StatusOK, "")
	items, _ := r.at("items").([]any)
	if len(items) != 2 {
		t.Fatalf("webhooks: %s", r.body)
	}
	second, _ := items[1].(map[string]any)
	if got := fmt.Sprintf("%v %v %v %v", second["name"], second["state"], second["lag_events"], second["failed_at"]); got != "sms waiting 5 2026-11-22T23:00:00.000Z" {
		t.Errorf("webhook: %v", second)
	}
	for _, who := range []int{aniID, teacherID} {
		w.want(w.get(who, "/api/v1/webhooks"), http.StatusForbidden, "forbidden")
	}
	none := newWorld(t)
	none.want(none.get(adminID, "/api/v1/webhooks"), http.StatusNotFound, "not_found")
}
