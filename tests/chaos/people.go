package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"hadir/tests/chaos/client"
)

const (
	mostPeople   = 2000
	peopleAtOnce = 500
)

// wanted gives how many people a load needs, so that most of its taps are accepted:
// seven of ten taps are new ones, and a person has two of them.
func wanted(rate int, duration time.Duration) int {
	taps := float64(rate) * (duration + mostOverrun).Seconds()
	return min(mostPeople, int(taps*0.7/2)+1)
}

// makePeople makes people who have never tapped, and gives their ids. They have no
// password: the administrator taps for them.
func makePeople(ctx context.Context, admin client.Client, n int, now time.Time) ([]uint64, error) {
	var ids []uint64
	for len(ids) < n {
		part := min(peopleAtOnce, n-len(ids))
		var file bytes.Buffer
		file.WriteString("name,email,role\n")
		for i := range part {
			fmt.Fprintf(&file, "Chaos %d,chaos-%d-%d@chaos.example,student\n", len(ids)+i+1, now.UnixMilli(), len(ids)+i+1)
		}
		made, err := importPeople(ctx, admin, file.Bytes(), part)
		if err != nil {
			return nil, fmt.Errorf("people for the load: %w", err)
		}
		ids = append(ids, made...)
	}
	return ids, nil
}

func importPeople(ctx context.Context, admin client.Client, file []byte, n int) ([]uint64, error) {
	var ids []uint64
	err := client.Await(ctx, func() error {
		a, err := admin.Do(ctx, http.MethodPost, "/api/v1/users/import", "", client.CSV(file))
		if err != nil {
			return err
		}
		var report struct {
			Items []struct {
				ID uint64 `json:"id"`
			} `json:"items"`
		}
		if a.Status != http.StatusOK {
			return fmt.Errorf("import: %s", a)
		}
		if err := json.Unmarshal(a.Body, &report); err != nil {
			return fmt.Errorf("import: %s: %w", a, err)
		}
		ids = nil
		for _, item := range report.Items {
			if item.ID != 0 {
				ids = append(ids, item.ID)
			}
		}
		if len(ids) != n {
			return fmt.Errorf("import: %d of %d people were made: %s", len(ids), n, a)
		}
		return nil
	})
	return ids, err
}
