package store

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"hadir/attendance"
)

// drawn is a check-in as the generator made it, for the naive answers.
type drawn struct {
	id   uint64
	user uint64
	kind attendance.Kind
	at   attendance.Millis
	day  attendance.Day
	node string
}

func drawRecords(t *rapid.T, s *State) []drawn {
	var all []drawn
	used := map[string]bool{}
	err := s.Update(func(tx *Tx) error {
		for range rapid.IntRange(0, 60).Draw(t, "records") {
			r := drawn{
				user: rapid.Uint64Range(1, 4).Draw(t, "user"),
				kind: attendance.Kind(rapid.IntRange(1, 2).Draw(t, "kind")),
				node: rapid.SampledFrom([]string{"n1", "n2", "a-longer-node"}).Draw(t, "node"),
				// Around the midnights of three days, UTC and local.
				at: testClock + rapid.Custom(func(t *rapid.T) attendance.Millis {
					day := attendance.Millis(rapid.IntRange(-2, 2).Draw(t, "day")) * attendance.DayMillis
					hour := attendance.Millis(rapid.SampledFrom([]int{0, 7, 16, 17, 23}).Draw(t, "hour")) * 3_600_000
					return day + hour + attendance.Millis(rapid.IntRange(0, 3).Draw(t, "ms"))
				}).Draw(t, "at"),
			}
			// The rule never accepts one time twice.
			if key := fmt.Sprint(r.user, r.kind, r.at); used[key] {
				continue
			} else {
				used[key] = true
			}
			r.day, _ = tx.Params().Zone.Day(r.at)
			e, err := accept(tx, r.user, r.kind, r.at, r.node)
			if err != nil {
				return err
			}
			r.id = e.Seq
			all = append(all, r)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestPagesGiveEveryMatchOnceNewestFirst(t *testing.T) {
	dir := tempDir(t)
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		s, err := OpenState(fmt.Sprintf("%s/%d.db", dir, n), testOptions)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		all := drawRecords(t, s)
		today := attendance.UTCDay(testClock)
		q := Query{
			From:   today + attendance.Day(rapid.IntRange(-4, 2).Draw(t, "from")),
			To:     today + attendance.Day(rapid.IntRange(-2, 4).Draw(t, "to")),
			UserID: rapid.Uint64Range(0, 5).Draw(t, "q.user"),
			Kind:   attendance.Kind(rapid.IntRange(0, 2).Draw(t, "q.kind")),
			Node:   rapid.SampledFrom([]string{"", "n1", "nobody"}).Draw(t, "q.node"),
			Limit:  rapid.IntRange(1, 7).Draw(t, "limit"),
		}
		var want []uint64
		slices.SortFunc(all, func(a, b drawn) int {
			return cmp.Or(cmp.Compare(b.at, a.at), cmp.Compare(b.id, a.id))
		})
		for _, r := range all {
			if r.day >= q.From && r.day <= q.To && (q.UserID == 0 || r.user == q.UserID) &&
				(q.Kind == 0 || r.kind == q.Kind) && (q.Node == "" || r.node == q.Node) {
				want = append(want, r.id)
			}
		}
		var got []uint64
		for pages := 0; ; pages++ {
			if pages > 200 {
				t.Fatal("the cursor does not come to an end")
			}
			var next Cursor
			err := s.View(func(tx *ReadTx) error {
				page, n, err := tx.Attendances(q)
				next = n
				for _, r := range page {
					got = append(got, r.ID)
				}
				if len(page) > q.Limit {
					t.Fatalf("page of %d, limit %d", len(page), q.Limit)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if next.IsZero() {
				break
			}
			// A cursor travels as text.
			if q.Before, err = ParseCursor(next.String()); err != nil || q.Before != next {
				t.Fatalf("cursor %v came back as %v, %v", next, q.Before, err)
			}
		}
		if d := gocmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("%+v (-want +got):\n%s", q, d)
		}
	})
}

func TestNeighboursAreThoseOfASortedList(t *testing.T) {
	dir := tempDir(t)
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		s, err := OpenState(fmt.Sprintf("%s/%d.db", dir, n), testOptions)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		all := drawRecords(t, s)
		for range 20 {
			user, kind := rapid.Uint64Range(1, 5).Draw(t, "user"), attendance.Kind(rapid.IntRange(1, 2).Draw(t, "kind"))
			within := attendance.Millis(rapid.SampledFrom([]int{1, 2, 3, 1_000, 300_000, 12 * 3_600_000}).Draw(t, "within"))
			at := testClock + attendance.Millis(rapid.IntRange(-2, 2).Draw(t, "day"))*attendance.DayMillis +
				attendance.Millis(rapid.SampledFrom([]int{0, 7, 16, 17, 23}).Draw(t, "hour"))*3_600_000 +
				attendance.Millis(rapid.IntRange(-4, 4).Draw(t, "ms"))
			var wantPrev, wantNext *attendance.Accepted
			for _, r := range all {
				if r.user != user || r.kind != kind {
					continue
				}
				a := attendance.Accepted{At: r.at, Seq: r.id}
				if r.at <= at && at-r.at < within && (wantPrev == nil || r.at > wantPrev.At) {
					wantPrev = &a
				}
				if r.at > at && r.at-at < within && (wantNext == nil || r.at < wantNext.At) {
					wantNext = &a
				}
			}
			err := s.View(func(tx *ReadTx) error {
				prev, next := tx.Neighbours(user, kind, at, within)
				if d := gocmp.Diff([]*attendance.Accepted{wantPrev, wantNext}, []*attendance.Accepted{prev, next}); d != "" {
					t.Fatalf("user %d, %s, %d within %d (-want +got):\n%s", user, kind, at, within, d)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A rare match in a busy day is found in bounded steps.
func TestALongSearchIsCutIntoSteps(t *testing.T) {
	s := newState(t)
	update(t, s, func(tx *Tx) error {
		for i := range 2*maxExamined + 10 {
			node := "common"
			if i == 0 {
				node = "rare"
			}
			if _, err := accept(tx, uint64(i)+1, attendance.In, testClock+attendance.Millis(i), node); err != nil {
				return err
			}
		}
		return nil
	})
	view(t, s, func(tx *ReadTx) {
		day, _ := tx.Params().Zone.Day(testClock)
		q := Query{From: day, To: day, Node: "rare", Limit: 10}
		pages, found := 0, 0
		for {
			page, next, err := tx.Attendances(q)
			if err != nil {
				t.Fatal(err)
			}
			pages, found = pages+1, found+len(page)
			if next.IsZero() {
				break
			}
			q.Before = next
		}
		if found != 1 || pages != 3 {
			t.Errorf("found %d in %d pages, want 1 in 3", found, pages)
		}
	})
}

func TestAPersonsEmptyYearsAreCutIntoSteps(t *testing.T) {
	s := newState(t)
	update(t, s, func(tx *Tx) error {
		for _, days := range []attendance.Millis{0, 3_000} {
			if _, err := accept(tx, 1, attendance.In, testClock+days*attendance.DayMillis, "n1"); err != nil {
				return err
			}
		}
		return nil
	})
	view(t, s, func(tx *ReadTx) {
		day, _ := tx.Params().Zone.Day(testClock)
		q := Query{From: day, To: day + 3_000, UserID: 1, Limit: 10}
		pages, found := 0, 0
		for {
			page, next, err := tx.Attendances(q)
			if err != nil {
				t.Fatal(err)
			}
			pages, found = pages+1, found+len(page)
			if next.IsZero() {
				break
			}
			q.Before = next
		}
		if found != 2 || pages != 4 {
			t.Errorf("found %d in %d pages, want 2 in 4", found, pages)
		}
	})
}

func TestParseCursorTakesOnlyWhatItGave(t *testing.T) {
	for _, s := range []string{"1", "1.2", "1.2.3.4", "a.b.c", "+1.2.3", "01.2.3", "1.2.-3", "0.0.0", "1.-2.3", "1.2.99999999999999999999"} {
		if _, err := ParseCursor(s); !errors.Is(err, ErrCursor) {
			t.Errorf("%q: %v, want ErrCursor", s, err)
		}
	}
	if c, err := ParseCursor(""); err != nil || !c.IsZero() {
		t.Errorf("empty: %v, %v", c, err)
	}
}

func TestStatsAreTheSumOfTheRecords(t *testing.T) {
	s := newState(t)
	day, _ := attendance.DefaultParams().Zone.Day(testClock)
	midnight := attendance.Millis(day)*attendance.DayMillis - 7*3_600_000
	for _, in := range []struct {
		minute int
		kind   attendance.Kind
		node   string
	}{{418, attendance.In, "n1"}, {418, attendance.In, "n2"}, {1_439, attendance.Out, "n1"}, {0, attendance.In, "n1"}} {
		update(t, s, func(tx *Tx) error {
			e, err := accept(tx, uint64(in.minute)+1, in.kind, midnight+attendance.Millis(in.minute)*60_000, in.node)
			tx.CountTap(day, e.Type)
			tx.CountTap(day, attendance.TapDuplicate)
			return err
		})
	}
	want := DayStats{
		Minutes: map[attendance.Kind]map[int]uint64{attendance.In: {418: 2, 0: 1}, attendance.Out: {1_439: 1}},
		Nodes:   map[attendance.Kind]map[string]uint64{attendance.In: {"n1": 2, "n2": 1}, attendance.Out: {"n1": 1}},
		Types:   map[attendance.EventType]uint64{attendance.TapAccepted: 4, attendance.TapDuplicate: 4},
	}
	view(t, s, func(tx *ReadTx) {
		if d := gocmp.Diff(want, tx.Stats(day)); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		if other := tx.Stats(day + 1); len(other.Types) > 0 {
			t.Errorf("the day after has %v", other)
		}
	})
}

func TestAKeyAnswersByAgeAndGoesLater(t *testing.T) {
	s := newState(t)
	p := attendance.Principal{Kind: attendance.UserPrincipal, ID: 7}
	other := attendance.Principal{Kind: attendance.DevicePrincipal, ID: 7}
	row := KeyRow{Hash: attendance.BodyHash{1}, Elapsed: testClock, Seq: 5}
	update(t, s, func(tx *Tx) error {
		tx.SetMeta(func(m *Meta) { m.Clock = testClock; m.KeyFloor = testClock - 8*attendance.DayMillis })
		return tx.PutKey(p, "k", row)
	})
	known := func(p attendance.Principal, key string) bool {
		var ok bool
		view(t, s, func(tx *ReadTx) {
			got, found, err := tx.Key(p, key)
			if err != nil {
				t.Fatal(err)
			}
			if found && got != row {
				t.Errorf("got %+v, want %+v", got, row)
			}
			ok = found
		})
		return ok
	}
	age := func(floor attendance.Millis) (expired int) {
		update(t, s, func(tx *Tx) error {
			tx.SetMeta(func(m *Meta) { m.KeyFloor = floor; m.Clock = floor + 8*attendance.DayMillis })
			n, err := tx.ExpireKeys(10)
			expired = n
			return err
		})
		return expired
	}
	if !known(p, "k") || known(other, "k") || known(p, "kk") || known(p, "") {
		t.Error("a key is not exactly its principal's")
	}
	if age(testClock-1) != 0 || !known(p, "k") {
		t.Error("gone one millisecond too early")
	}
	if age(testClock) != 0 || known(p, "k") {
		t.Error("still answers at the floor, or was deleted while its day is live")
	}
	if n := age(testClock + attendance.DayMillis); n != 1 {
		t.Errorf("%d rows deleted after the day, want 1", n)
	}
}

// Expiry is bounded and takes the oldest first.
func TestExpiryIsBounded(t *testing.T) {
	s := newState(t)
	update(t, s, func(tx *Tx) error {
		for i := range 100 {
			p := attendance.Principal{Kind: attendance.UserPrincipal, ID: uint64(i%7) + 1}
			at := testClock + attendance.Millis(i%3)*attendance.DayMillis
			if err := tx.PutKey(p, fmt.Sprint("key-", i), KeyRow{Elapsed: at, Seq: uint64(i)}); err != nil {
				return err
			}
		}
		tx.SetMeta(func(m *Meta) {
			m.KeyFloor = testClock + 2*attendance.DayMillis
			m.Clock = testClock + 10*attendance.DayMillis
		})
		return nil
	})
	total := 0
	for _, want := range []int{30, 30, 7, 0} {
		update(t, s, func(tx *Tx) error {
			n, err := tx.ExpireKeys(30)
			if n != want {
				t.Errorf("deleted %d, want %d", n, want)
			}
			total += n
			return err
		})
	}
	if total != 67 { // of three days, two
		t.Errorf("deleted %d in all, want 67", total)
	}
}
