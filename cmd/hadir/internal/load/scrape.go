package load

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"hadir/cmd/hadir/internal/api"
)

// scraped is what a node's /metrics said.
type scraped map[string]float64

// scrape reads a node's measurements.
func scrape(ctx context.Context, as *api.Client) (scraped, error) {
	a, err := as.Do(ctx, http.MethodGet, "/metrics", "", nil)
	if err != nil {
		return nil, err
	}
	if a.Status != http.StatusOK {
		return nil, fmt.Errorf("metrics of %s: %w", as.Base, a.Problem())
	}
	return parseMetrics(a.Body), nil
}

// parseMetrics reads the text format as far as it is needed: names with their
// labels as they stand there, and values.
func parseMetrics(text []byte) scraped {
	out := make(scraped)
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		i := strings.LastIndexByte(line, ' ')
		if i < 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if v, err := strconv.ParseFloat(line[i+1:], 64); err == nil {
			out[line[:i]] = v
		}
	}
	return out
}

// since gives what was counted after an earlier look.
func (s scraped) since(before scraped) scraped {
	out := make(scraped, len(s))
	for name, v := range s {
		out[name] = v - before[name]
	}
	return out
}

// quantile estimates a quantile of a histogram, within its bucket as Prometheus
// does; 0 when nothing was counted. labels are "" or end with a comma.
func (s scraped) quantile(name, labels string, q float64) float64 {
	type bucket struct{ le, count float64 }
	var buckets []bucket
	for line, count := range s {
		rest, ok := strings.CutPrefix(line, name+`_bucket{`+labels+`le="`)
		if !ok {
			continue
		}
		le, err := strconv.ParseFloat(strings.TrimSuffix(rest, `"}`), 64)
		if err == nil {
			buckets = append(buckets, bucket{le, count})
		}
	}
	slices.SortFunc(buckets, func(a, b bucket) int { return int(math.Copysign(1, a.le-b.le)) })
	if len(buckets) == 0 || buckets[len(buckets)-1].count == 0 {
		return 0
	}
	want := q * buckets[len(buckets)-1].count
	low := bucket{}
	for _, b := range buckets {
		if b.count < want {
			low = b
			continue
		}
		if math.IsInf(b.le, 1) {
			return low.le
		}
		return low.le + (b.le-low.le)*(want-low.count)/(b.count-low.count)
	}
	return low.le
}
