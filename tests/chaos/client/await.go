package client

import (
	"context"
	"fmt"
	"time"
)

// Await asks until the answer is nil or ctx ends; then it gives the last answer.
func Await(ctx context.Context, ask func() error) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("awaited in vain: %w", err)
		}
	}
}
