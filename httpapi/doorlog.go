package httpapi

import (
	"net/http"

	"hadir/store"
)

// journalRowJSON is a line of the door journal: one refused attempt, or a summary
// of many when count is over 1.
type journalRowJSON struct {
	No        uint64 `json:"no"`
	First     stamp  `json:"first"`
	Last      stamp  `json:"last"`
	Count     uint64 `json:"count"`
	Why       string `json:"why"`
	Status    uint64 `json:"status"`
	From      string `json:"from"`
	Principal string `json:"principal,omitempty"`
	Tried     string `json:"tried,omitempty"`
	Action    string `json:"action,omitempty"`
	Key       string `json:"key,omitempty"`
	RequestID string `json:"request_id,omitempty"`
}

func jsonJournalRow(r store.JournalRow) journalRowJSON {
	return journalRowJSON{
		No: r.No, First: stamp(r.First), Last: stamp(r.Last), Count: r.Count, Why: r.Why, Status: r.Status, From: r.From, Principal: r.Who,
		Tried: r.Tried, Action: r.Action, Key: r.Key, RequestID: r.Request,
	}
}

// journalJSON is a page of one node's journal.
type journalJSON struct {
	NodeID     string           `json:"node_id"`
	Items      []journalRowJSON `json:"items"`
	NextCursor *string          `json:"next_cursor"`
}

// getJournal gives what this node refused at its door, newest first. Another node
// has its own.
func getJournal(c *call) error {
	q, err := c.query("limit", "cursor")
	if err != nil {
		return err
	}
	limit, below := q.limit(), q.number("cursor", 1, maxID, 0)
	if err := q.done(); err != nil {
		return err
	}
	rows, err := c.api.Journal.page(below, limit)
	if err != nil {
		return err
	}
	out := journalJSON{NodeID: c.api.Node.Name(), Items: make([]journalRowJSON, len(rows))}
	for i, r := range rows {
		out.Items[i] = jsonJournalRow(r)
	}
	if next := cursorOf(olderThan(rows, limit)); next != "" {
		out.NextCursor = &next
	}
	return c.json(http.StatusOK, out)
}

// olderThan gives the number below which the next page of rows begins; 0 for none.
func olderThan(rows []store.JournalRow, limit int) uint64 {
	if len(rows) == limit && rows[limit-1].No > 1 {
		return rows[limit-1].No
	}
	return 0
}
