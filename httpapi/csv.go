package httpapi

import (
	"bytes"
	"encoding/csv"
	"errors"
	"mime"
	"net/http"
	"slices"
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
	var whole csvKept
	var b bytes.Buffer
	for first := true; ; first = false {
		b.Reset()
		if first {
			b.WriteString(strings.Join(csvColumns, ",") + "\r\n")
		}
		next, now, fresh, err := csvPage(&b, l, how, c.who, c.read)
		switch {
		case err != nil && first:
			return err
		case err != nil:
			c.api.Log.Warn("a CSV download ended early", "request", c.id, "error", err)
			panic(http.ErrAbortHandler)
		case first:
			c.csvHeader(l, fresh)
			if !next.IsZero() { // else this is all of it
				if file, hit := c.api.results.get(c.r.Context(), now); hit {
					c.sendKept(file)
					return nil
				}
			}
			whole.key = now
			c.w.WriteHeader(http.StatusOK)
			if c.r.Method == http.MethodHead {
				return nil
			}
		}
		c.writePart(b.Bytes())
		whole.add(now, b.Bytes())
		if next.IsZero() {
			whole.put(c.api.results)
			return nil
		}
		_ = http.NewResponseController(c.w).Flush()
		l.Before, how = next, cluster.Read{MinIndex: fresh.Index}
	}
}

func (c *call) csvHeader(l listing, fresh cluster.Freshness) {
	h := c.w.Header()
	h.Set("Content-Type", mediaCSV+"; charset=utf-8; header=present")
	h.Set("Content-Disposition", `attachment; filename="`+l.filename()+`"`)
	h.Set("X-Hadir-As-Of", fresh.AsOf.UTC().Format(stampLayout))
	h.Set("X-Hadir-Stale", strconv.FormatBool(fresh.Stale))
}

// writePart writes a part of a file, which the client has some time to take, or ends
// the connection.
func (c *call) writePart(b []byte) {
	// As in serve: what takes no deadline has none.
	_ = http.NewResponseController(c.w).SetWriteDeadline(c.api.Clock.Now().Add(answerTimeout))
	if _, err := c.w.Write(b); err != nil {
		panic(http.ErrAbortHandler) // the client has gone, or does not read
	}
}

// keptPart is how much of a kept file is written at a time.
const keptPart = 64 << 10

func (c *call) sendKept(file []byte) {
	c.w.Header().Set("Content-Length", strconv.Itoa(len(file)))
	c.w.WriteHeader(http.StatusOK)
	if c.r.Method == http.MethodHead {
		return
	}
	for part := range slices.Chunk(file, keptPart) {
		c.writePart(part)
	}
}

// csvKept gathers a file that is worth keeping: not too large, and all of it from one
// picture of the state.
type csvKept struct {
	key  resultKey
	file []byte
	not  bool
}

// add takes a page that was made under a key.
func (k *csvKept) add(under resultKey, page []byte) {
	if k.not = k.not || under != k.key || len(k.file)+len(page) > mostResult; k.not {
		k.file = nil
		return
	}
	k.file = append(k.file, page...)
}

func (k *csvKept) put(to *results) {
	if !k.not {
		to.put(k.key, k.file)
	}
}

// reader runs f on the state, as fresh as asked.
type reader func(how cluster.Read, f func(*store.ReadTx) error) (cluster.Freshness, error)

// csvPage writes the rows of one page, and gives where the next one begins and under
// which key the whole file is kept that has this page.
func csvPage(to *bytes.Buffer, l listing, how cluster.Read, who *visitor, read reader) (
	next store.Cursor, under resultKey, fresh cluster.Freshness, err error,
) {
	out := csv.NewWriter(to)
	out.UseCRLF = true
	fresh, err = read(how, func(tx *store.ReadTx) error {
		s, err := scopeOf(tx, who)
		if err != nil {
			return err
		}
		question := l
		question.Before = store.Cursor{} // of the whole file
		under = question.keyOf("csv", tx, s)
		next, _, err = l.writePage(out, tx, s, make(map[uint64]attendance.User))
		return err
	})
	out.Flush()
	return next, under, fresh, errors.Join(err, out.Error())
}

// writePage writes the rows of one page, says how many they are, and gives where the
// next one begins. people are those that were looked up before.
func (l listing) writePage(out *csv.Writer, tx *store.ReadTx, s *scope, people map[uint64]attendance.User) (next store.Cursor, rows int, err error) {
	page, next, err := l.run(tx, s)
	if err != nil {
		return next, 0, err
	}
	zone := tx.Params().Zone
	for _, r := range page {
		u, known := people[r.UserID]
		if !known {
			if u, err = tx.User(r.UserID); err != nil && !errors.Is(err, store.ErrNotFound) {
				return next, rows, err
			}
			people[r.UserID] = u
		}
		if err := out.Write(csvRow(r, u, zone)); err != nil {
			return next, rows, err
		}
		rows++
	}
	return next, rows, nil
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
