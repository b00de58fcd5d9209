package store

import (
	"bytes"
	"fmt"

	"go.etcd.io/bbolt"

	"hadir/attendance"
)

// JournalRow is one line of the door journal: something that this node refused
// before it was proposed, or answered without proposing it. It belongs to the
// node alone; what was decided is an event instead.
type JournalRow struct {
	No    uint64            // 1, 2, 3, … of this incarnation; given by AppendJournal
	First attendance.Millis // by this node's clock
	Last  attendance.Millis // of a summary; else First
	Count uint64            // more than 1 in a summary of what was too much to write down one by one

	Why     string // word of the problem
	Status  uint64 // of the answer
	From    string // address, or the network of a summary; "" for many
	Who     string // principal, such as user:7; "" for somebody unknown
	Tried   string // address that a failed sign-in named
	Action  string // method and route
	Key     string // idempotency key
	Request string // request id
}

// JournalKeep says what of the journal is kept.
type JournalKeep struct {
	Rows  int               // the newest so many
	Since attendance.Millis // nothing that ended before
}

var bucketJournal = []byte("journal")

// journalTrim bounds how many rows one append takes away beside as many as it
// brings.
const journalTrim = 1_000

// AppendJournal adds rows, numbers them, lets go what is not to be kept, and
// syncs. The numbers continue for the life of the file and are never used again.
// Without rows it only lets go.
func (n *Node) AppendJournal(rows []JournalRow, keep JournalKeep) error {
	return n.db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucketJournal)
		if err != nil {
			return err
		}
		b.FillPercent = appendFill
		for _, row := range rows {
			if row.No, err = b.NextSequence(); err != nil {
				return err
			}
			if err := b.Put(keySeq(row.No), row.encode()); err != nil {
				return err
			}
		}
		return trimJournal(b, keep, len(rows)+journalTrim)
	})
}

func trimJournal(b *bbolt.Bucket, keep JournalKeep, most int) error {
	var old [][]byte
	c := b.Cursor()
	for k, v := c.First(); k != nil && len(old) < most; k, v = c.Next() {
		if seqOf(k)+uint64(max(0, keep.Rows)) > b.Sequence() {
			row, err := decodeJournalRow(v)
			if err != nil {
				return err
			}
			if row.Last >= keep.Since {
				break
			}
		}
		old = append(old, bytes.Clone(k))
	}
	for _, k := range old {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// Journal gives rows below a number, newest first, at most limit of them; 0 stands
// for the end.
func (n *Node) Journal(below uint64, limit int) ([]JournalRow, error) {
	var rows []JournalRow
	err := n.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketJournal)
		if b == nil {
			return nil
		}
		if below == 0 {
			below = b.Sequence() + 1
		}
		c := b.Cursor()
		for k, v := before(c, keySeq(below)); k != nil && len(rows) < min(limit, MaxPage); k, v = c.Prev() {
			row, err := decodeJournalRow(v)
			if err != nil {
				return fmt.Errorf("%w: journal row %d: %w", ErrCorrupt, seqOf(k), err)
			}
			row.No = seqOf(k)
			rows = append(rows, row)
		}
		return nil
	})
	return rows, err
}

func (r JournalRow) encode() []byte {
	w := attendance.NewWriter(make([]byte, 0, 128))
	w.Uint(1)
	w.Millis(r.First)
	w.Millis(r.Last - r.First)
	w.Uint(r.Count)
	w.Uint(r.Status)
	for _, s := range []string{r.Why, r.From, r.Who, r.Tried, r.Action, r.Key, r.Request} {
		w.String(s)
	}
	return w.Data()
}

func decodeJournalRow(b []byte) (JournalRow, error) {
	in := attendance.NewReader(b)
	in.Version(1)
	var r JournalRow
	r.First = in.Millis()
	r.Last = r.First + in.Millis()
	r.Count, r.Status = in.Uint(), in.Uint()
	for _, s := range []*string{&r.Why, &r.From, &r.Who, &r.Tried, &r.Action, &r.Key, &r.Request} {
		*s = in.String()
	}
	return r, in.Err()
}
