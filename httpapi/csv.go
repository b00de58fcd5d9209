package httpapi

import (
	"bytes"
	"encoding/csv"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

const mediaCSV = "text/csv"

// wantsCSV reports whether the request names CSV, by its Accept header or, for a
// link on a page, by a parameter.
func (c *call) wantsCSV(q *query) bool {
	switch q.text("format") {
	case "csv":
		return true
	case "json":
		return false
	case "":
	default:
		q.wrong("format", "is neither json nor csv")
	}
	for accepted := range strings.SplitSeq(strings.Join(c.r.Header.Values("Accept"), ","), ",") {
		media, params, err := mime.ParseMediaType(accepted)
		if err != nil || media != mediaCSV {
			continue
		}
		weight, err := strconv.ParseFloat(params["q"], 64)
		return err != nil || weight > 0
	}
	return false
}

// sendCSV streams all records of a list. Memory holds one page, and each page is
// a read transaction of its own: however long the client takes, nothing is held
// back for it. Whoever stops reading is cut off by the deadline, which starts anew
// with each page. What fails on the way ends the connection, because a file that
// ends early must not look whole.
func (c *call) sendCSV(l listing, how cluster.Read) error {
	l.Limit = store.MaxPage
	var b bytes.Buffer
	for first := true; ; first = false {
		b.Reset()
		if first {
			b.WriteString(strings.Join(csvColumns, ",") + "\r\n")
		}
		next, fresh, err := c.csvPage(&b, l, how)
		switch {
		case err != nil && first:
			return err
		case err != nil:
			c.api.Log.Warn("a CSV download ended early", "request", c.id, "error", err)
			panic(http.ErrAbortHandler)
		case first:
			h := c.w.Header()
			h.Set("Content-Type", mediaCSV+"; charset=utf-8; header=present")
			h.Set("Content-Disposition", `attachment; filename="`+l.filename()+`"`)
			h.Set("X-Hadir-As-Of", fresh.AsOf.UTC().Format(stampLayout))
			h.Set("X-Hadir-Stale", strconv.FormatBool(fresh.Stale))
			c.w.WriteHeader(http.StatusOK)
			if c.r.Method == http.MethodHead {
				return nil
			}
		}
		// As in serve: what takes no deadline has none.
		_ = http.NewResponseController(c.w).SetWriteDeadline(c.api.Clock.Now().Add(answerTimeout))
		if _, err := c.w.Write(b.Bytes()); err != nil {
			panic(http.ErrAbortHandler) // the client has gone, or does not read
		}
		if next.IsZero() {
			return nil
		}
		_ = http.NewResponseController(c.w).Flush()
		l.Before, how = next, cluster.Read{MinIndex: fresh.Index}
	}
}

// csvPage writes the rows of one page and gives where the next one begins.
func (c *call) csvPage(to *bytes.Buffer, l listing, how cluster.Read) (next store.Cursor, fresh cluster.Freshness, err error) {
	out := csv.NewWriter(to)
	out.UseCRLF = true
	fresh, err = c.read(how, func(tx *store.ReadTx) error {
		s, err := scopeOf(tx, c.who)
		if err != nil {
			return err
		}
		page, after, err := l.run(tx, s)
		if err != nil {
			return err
		}
		next = after
		zone := tx.Params().Zone
		people := make(map[uint64]attendance.User)
		for _, r := range page {
			u, known := people[r.UserID]
			if !known {
				if u, err = tx.User(r.UserID); err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
				people[r.UserID] = u
			}
			if err := out.Write(csvRow(r, u, zone)); err != nil {
				return err
			}
		}
		return nil
	})
	out.Flush()
	return next, fresh, errors.Join(err, out.Error())
}

var csvColumns = []string{
	"id", "user_id", "name", "email", "type", "date", "time", "timestamp", "first_seen_at", "latitude", "longitude", "accuracy_m",
	"location_error", "offline", "claimed_at", "claim_trusted", "node_id", "created_at", "updated_at",
}

// csvRow gives a record in the order of csvColumns; date and time are the site's.
func csvRow(r attendance.Record, u attendance.User, zone attendance.Zone) []string {
	local := (r.At + zone.Offset(r.At)).Time()
	row := []string{
		strconv.FormatUint(r.ID, 10), strconv.FormatUint(r.UserID, 10), csvText(u.Name), csvText(u.Email), r.Kind.String(),
		local.Format("2006-01-02"), local.Format("15:04:05"), csvTime(r.At), csvTime(r.FirstSeenAt),
	}
	if l := r.Location; l.Known {
		row = append(row, decimal{int64(l.LatE7), degreePlaces}.String(), decimal{int64(l.LonE7), degreePlaces}.String(),
			decimal{int64(l.AccuracyCM), accuracyPlaces}.String(), "")
	} else {
		row = append(row, "", "", "", l.Error.String())
	}
	claimed, trusted := "", ""
	if r.Offline {
		claimed, trusted = csvTime(r.ClaimedAt), strconv.FormatBool(r.ClaimTrust)
	}
	return append(row, strconv.FormatBool(r.Offline), claimed, trusted, csvText(r.Node), csvTime(r.CreatedAt), csvTime(r.UpdatedAt))
}

func csvTime(m attendance.Millis) string { return m.Time().Format(stampLayout) }

// csvText keeps a spreadsheet from taking a name for a formula: =, +, - and @
// begin one, and so does what follows a tab or a return.
func csvText(s string) string {
	if s != "" && strings.IndexByte("=+-@\t\r", s[0]) >= 0 {
		return "'" + s
	}
	return s
}

// filename says which days are inside.
func (l listing) filename() string {
	name := "attendances"
	if l.From != firstDay {
		name += "-" + l.From.String()
	}
	if l.To != lastDay && l.To != l.From {
		name += "-to-" + l.To.String()
	}
	return name + ".csv"
}
