// Package compat_test keeps old data readable: for each command level a log, the
// state.db that came of it, and what was decided, as they were when the level was
// new. A later version has to reach the same bytes from the same log.
//
// Golden data is never rewritten. A new level gets a new directory, written once
// by
//
//	go test ./tests/compat -update
package compat_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"hadir/attendance"
	"hadir/fsm"
	"hadir/store"
)

var update = flag.Bool("update", false, "write the golden data of the newest command level, which must not be there yet")

// scenarios has the author of each level's log.
var scenarios = map[uint32]func(*testing.T, *fsm.Machine) []fsm.Entry{1: level1}

var stateOptions = store.Options{NoSync: true, MmapSize: 1 << 24}

func levelDir(level uint32) string { return fmt.Sprint("level", level) }

// newMachine gives a machine over the state at path, and all that it tells.
func newMachine(t *testing.T, path string) (*fsm.Machine, *[][]byte) {
	t.Helper()
	state, err := store.OpenState(path, stateOptions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := state.Close(); err != nil {
			t.Error(err)
		}
	})
	m := fsm.New(state, fsm.Options{Halt: func(err error) { t.Fatalf("halted: %v", err) }})
	events := new([][]byte)
	m.Subscribe(func(c fsm.Commit) { *events = append(*events, c.Events...) })
	return m, events
}

func freshMachine(t *testing.T) (*fsm.Machine, *[][]byte) {
	t.Helper()
	return newMachine(t, filepath.Join(t.TempDir(), "state.db"))
}

// replay applies a log in batches and gives one line for each outcome.
func replay(t *testing.T, m *fsm.Machine, log []fsm.Entry, batch int) (outcomes []string) {
	t.Helper()
	for part := range slices.Chunk(log, batch) {
		out, err := m.Apply(part)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range part {
			for n, o := range out[i] {
				outcomes = append(outcomes, outcomeLine(e.Index, n, o))
			}
		}
	}
	return outcomes
}

func outcomeLine(index uint64, n int, o attendance.Outcome) string {
	line := fmt.Sprintf("outcome %d.%d %s", index, n, o.Status)
	if o.Reason != attendance.NoReason {
		line += " " + o.Reason.String()
	}
	if o.Status == attendance.SkippedStatus {
		return line
	}
	line += fmt.Sprintf(" seq=%d id=%d decided=%d at=%d delta=%d replayed=%v", o.Seq, o.ID, o.DecideAt, o.At, o.Delta, o.Replayed)
	if r := o.Record; r != nil {
		line += fmt.Sprintf(" record=%d user=%d %s %d first=%d updated=%d", r.ID, r.UserID, r.Kind, r.At, r.FirstSeenAt, r.UpdatedAt)
	}
	return line
}

// stateLines says where the state has come to.
func stateLines(t *testing.T, m *fsm.Machine) []string {
	t.Helper()
	var lines []string
	err := m.State().View(func(tx *store.ReadTx) error {
		hash, err := tx.StateHash()
		meta := tx.Meta()
		lines = []string{
			fmt.Sprint("seq ", meta.Seq), fmt.Sprint("chain ", meta.Chain), fmt.Sprint("state ", hash),
			fmt.Sprintf("applied %d of term %d", meta.Applied, meta.Term),
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// expectation is the content of expect.golden: the state, then each event with
// its bytes, then each outcome.
func expectation(t *testing.T, m *fsm.Machine, events [][]byte, outcomes []string) []string {
	t.Helper()
	lines := stateLines(t, m)
	for _, b := range events {
		e, err := attendance.DecodeEvent(b)
		if err != nil {
			t.Fatalf("event %x: %v", b, err)
		}
		lines = append(lines, fmt.Sprintf("event %d %s %x", e.Seq, e.Type, b))
	}
	return append(lines, outcomes...)
}

func equalLines(t *testing.T, got, want []string) {
	t.Helper()
	bad := 0
	for i := range max(len(got), len(want)) {
		g, w := "(nothing)", "(nothing)"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("line %d:\n got %s\nwant %s", i+1, g, w)
			if bad++; bad == 5 {
				t.Fatal("and so on")
			}
		}
	}
}

// golden is the data of one level.
type golden struct {
	level  uint32
	log    []fsm.Entry
	expect []string
	state  []byte
}

func (g golden) outcomes() []string {
	return slices.DeleteFunc(slices.Clone(g.expect), func(s string) bool { return !strings.HasPrefix(s, "outcome ") })
}

// events gives the stored form of each event.
func (g golden) events(t *testing.T) (events [][]byte) {
	t.Helper()
	for _, line := range g.expect {
		if f := strings.Fields(line); f[0] == "event" {
			b, err := hex.DecodeString(f[3])
			if err != nil {
				t.Fatal(err)
			}
			events = append(events, b)
		}
	}
	return events
}

func readGolden(t *testing.T, level uint32) golden {
	t.Helper()
	g := golden{level: level}
	for name, to := range map[string]func([]byte) error{
		"log.golden": func(b []byte) error {
			for line := range strings.Lines(string(b)) {
				var e fsm.Entry
				if _, err := fmt.Sscanf(line, "%d %d %x\n", &e.Index, &e.Term, &e.Data); err != nil {
					return fmt.Errorf("%q: %w", line, err)
				}
				g.log = append(g.log, e)
			}
			return nil
		},
		"expect.golden": func(b []byte) error {
			g.expect = strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
			return nil
		},
		"state.db.zst": func(b []byte) error {
			z, err := zstd.NewReader(nil)
			if err != nil {
				return err
			}
			defer z.Close()
			g.state, err = z.DecodeAll(b, nil)
			return err
		},
	} {
		b, err := os.ReadFile(filepath.Join(levelDir(level), name))
		if err == nil {
			err = to(b)
		}
		if err != nil {
			t.Fatalf("golden data of level %d: %v: it is written by go test ./tests/compat -update", level, err)
		}
	}
	return g
}

// writeGolden writes the golden data of a level below root. What is there stays.
func writeGolden(t *testing.T, root string, level uint32) error {
	t.Helper()
	dir := filepath.Join(root, levelDir(level))
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("golden data of level %d is there and is never rewritten: other versions have to read it. "+
			"Only while no release proposes level %d: rm -r tests/compat/%s && go test ./tests/compat -update", level, level, levelDir(level)))
	}
	path := filepath.Join(t.TempDir(), "state.db")
	m, events := newMachine(t, path)
	author, ok := scenarios[level]
	if !ok {
		return fmt.Errorf("there is no scenario for level %d: write one", level)
	}
	log := author(t, m)
	// The scenario ran entry by entry; its outcomes are those of a replay.
	second, _ := freshMachine(t)
	expect := expectation(t, m, *events, replay(t, second, log, 1))
	if err := m.State().Close(); err != nil {
		return err
	}
	state, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	var lines strings.Builder
	for _, e := range log {
		fmt.Fprintf(&lines, "%d %d %x\n", e.Index, e.Term, e.Data)
	}
	temp, err := os.MkdirTemp(root, "incoming-") // all or nothing
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp) // what an error leaves; otherwise it has its name by then
	return errors.Join(
		os.WriteFile(filepath.Join(temp, "log.golden"), []byte(lines.String()), 0o644),
		os.WriteFile(filepath.Join(temp, "expect.golden"), []byte(strings.Join(expect, "\n")+"\n"), 0o644),
		os.WriteFile(filepath.Join(temp, "state.db.zst"), z.EncodeAll(state, nil), 0o644),
		os.Chmod(temp, 0o755),
		os.Rename(temp, dir),
	)
}

// TestUpdate writes what -update asks for, before everything else reads it.
func TestUpdate(t *testing.T) {
	if !*update {
		return
	}
	if err := writeGolden(t, ".", attendance.Level); err != nil {
		t.Fatal(err)
	}
}

func TestGoldenDataIsNeverRewritten(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, levelDir(attendance.Level))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	err := writeGolden(t, root, attendance.Level)
	if err == nil || !strings.Contains(err.Error(), "rm -r tests/compat/level") {
		t.Errorf("over an existing level: %v", err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("files written: %v, %v", names, err)
	}
}

func eachLevel(t *testing.T, f func(*testing.T, golden)) {
	t.Helper()
	for level := uint32(1); level <= attendance.Level; level++ {
		t.Run(levelDir(level), func(t *testing.T) { f(t, readGolden(t, level)) })
	}
}

// However raft cuts the log into batches, the same comes of it.
func TestTheLogLeadsToTheSameState(t *testing.T) {
	eachLevel(t, func(t *testing.T, g golden) {
		for _, batch := range []int{1, 7, 64, len(g.log)} {
			t.Run(fmt.Sprint("batches of ", batch), func(t *testing.T) {
				m, events := freshMachine(t)
				outcomes := replay(t, m, g.log, batch)
				equalLines(t, expectation(t, m, *events, outcomes), g.expect)

				// Once more, all of it: nothing is decided twice.
				before := stateLines(t, m)
				for _, line := range replay(t, m, g.log, batch) {
					if !strings.HasSuffix(line, " "+attendance.SkippedStatus.String()) {
						t.Fatalf("replayed log: %s", line)
					}
				}
				equalLines(t, stateLines(t, m), before)
			})
		}
	})
}

// The golden log is what the scenario writes: whoever changes the one without
// the other tests something else than what he reads.
func TestTheScenarioWritesTheGoldenLog(t *testing.T) {
	eachLevel(t, func(t *testing.T, g golden) {
		m, events := freshMachine(t)
		log := scenarios[g.level](t, m)
		equalLines(t, expectation(t, m, *events, g.outcomes()), g.expect)
		if len(log) != len(g.log) {
			t.Fatalf("%d entries, golden %d", len(log), len(g.log))
		}
		for i, e := range log {
			// Content is compared: protobuf promises no stable bytes.
			got, err := attendance.DecodeEntry(e.Data)
			if err != nil {
				t.Fatal(err)
			}
			want, err := attendance.DecodeEntry(g.log[i].Data)
			if err != nil {
				t.Fatal(err)
			}
			if e.Index != g.log[i].Index || e.Term != g.log[i].Term || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
				t.Fatalf("entry %d:\n got %+v\nwant %+v", e.Index, got, want)
			}
		}
	})
}

// An upgraded node opens the file of the version before and goes on, to the same
// state as one that was built from the log.
func TestTheOldStateGoesOn(t *testing.T) {
	eachLevel(t, func(t *testing.T, g golden) {
		path := filepath.Join(t.TempDir(), "state.db")
		if err := os.WriteFile(path, g.state, 0o600); err != nil {
			t.Fatal(err)
		}
		old, _ := newMachine(t, path)
		if err := old.State().Check(); err != nil {
			t.Error(err)
		}
		equalLines(t, stateLines(t, old), g.expect[:4])
		built, _ := freshMachine(t)
		replay(t, built, g.log, 16)

		var meta store.Meta
		kept := map[uint64][]byte{}
		if err := old.State().View(func(tx *store.ReadTx) error {
			meta = tx.Meta()
			tx.Events(0, 1<<20, func(seq uint64, b []byte) bool {
				kept[seq] = bytes.Clone(b)
				return true
			})
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		events := g.events(t)
		for seq := meta.FirstSeq; seq <= meta.Seq; seq++ {
			if !bytes.Equal(kept[seq], events[seq-1]) {
				t.Errorf("event %d is kept as %x, was told as %x", seq, kept[seq], events[seq-1])
			}
		}

		next := attendance.Entry{Level: 1, Cluster: meta.Cluster, ProposedAt: meta.Clock + 3_600_000}
		for _, body := range []attendance.Body{
			attendance.Verify{Seq: meta.Seq, Hash: meta.Chain},
			attendance.Verify{Seq: 1_000, Hash: chainAt(events[:1_000])},
			attendance.CheckIn{UserID: 2, Kind: attendance.In},
			attendance.CheckIn{UserID: 2, Kind: attendance.In},
			attendance.PutUser{Name: "Baru", Email: "baru@sekolah.example", Role: attendance.Student, Active: true},
			attendance.PutUser{Name: "Baru", Email: "WANG@sekolah.example", Role: attendance.Student, Active: true},
			attendance.RotateSecret{Name: "secret.a", Value: make([]byte, 32)},
		} {
			next.Commands = append(next.Commands, attendance.Command{
				Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: "n1", Body: body,
			})
		}
		data, err := attendance.EncodeEntry(next)
		if err != nil {
			t.Fatal(err)
		}
		entry := fsm.Entry{Index: meta.Applied + 1, Term: meta.Term + 1, Data: data}
		out, err := old.Apply([]fsm.Entry{entry})
		if err != nil {
			t.Fatal(err)
		}
		var got []attendance.Status
		for _, o := range out[0] {
			got = append(got, o.Status)
		}
		if want := []attendance.Status{5, 5, 1, 2, 5, 4, 5}; !slices.Equal(got, want) {
			t.Errorf("statuses %v, want %v", got, want)
		}
		replay(t, built, []fsm.Entry{entry}, 1)
		equalLines(t, stateLines(t, old), stateLines(t, built))
	})
}

func chainAt(events [][]byte) (sum attendance.Hash) {
	for _, b := range events {
		sum = attendance.Chain(sum, b)
	}
	return sum
}

func TestOldEventsStayReadable(t *testing.T) {
	eachLevel(t, func(t *testing.T, g golden) {
		events := g.events(t)
		for i, b := range events {
			e, err := attendance.DecodeEvent(b)
			if err != nil {
				t.Errorf("event %d: %v", i+1, err)
				continue
			}
			if e.Seq != uint64(i+1) {
				t.Errorf("event %d stands at %d", e.Seq, i+1)
			}
			if again := e.Encode(); !bytes.Equal(again, b) {
				t.Errorf("event %d was\n%x and is\n%x", e.Seq, b, again)
			}
		}
		if got, want := fmt.Sprint("chain ", chainAt(events)), g.expect[1]; got != want {
			t.Errorf("the events lead to %q, want %q", got, want)
		}
	})
}

// What no log of this binary can bring about, and why.
var unreachable = map[string]string{
	"reason group_not_empty":                   "it takes a group of over 200 people; fsm TestGroups has one",
	"reason " + attendance.LevelFalls.String(): "the cluster begins at level 1, and SetLevel of 0 cannot be encoded; to be covered at level 2",
}

// Every word of the vocabulary stands in some golden log. Whoever adds one has to
// add golden data for it.
func TestEverythingIsCovered(t *testing.T) {
	seen := map[string]bool{}
	eachLevel(t, func(t *testing.T, g golden) {
		keyed := 0
		for _, e := range g.log {
			entry, err := attendance.DecodeEntry(e.Data)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range entry.Commands {
				seen["operation "+c.Body.Op().String()] = true
			}
		}
		for _, b := range g.events(t) {
			e, err := attendance.DecodeEvent(b)
			if err != nil {
				t.Fatal(err)
			}
			seen["event "+e.Type.String()] = true
			if e.Key != "" {
				keyed++
			}
			if tap, ok := e.Detail.(attendance.Tap); ok {
				seen["location error "+tap.Location.Error.String()] = true
				for name, there := range map[string]bool{
					"location": tap.Location.Known, "offline": tap.Offline, "trust": tap.ClaimTrust, "recorded": tap.Recorded,
					"wall clock": tap.WallClock, "client time": tap.ClientTime != 0, "winner": tap.Winner != 0, "note": tap.Note != "",
					"claim after decision": tap.Claim > tap.At, "earlier than the winner": tap.Delta < 0,
				} {
					seen["tap with "+name] = seen["tap with "+name] || there
				}
			}
		}
		for _, line := range g.outcomes() {
			f := strings.Fields(line)
			seen["status "+f[2]] = true
			if len(f) > 3 && !strings.Contains(f[3], "=") {
				seen["reason "+f[3]] = true
			}
			if strings.Contains(line, "replayed=true") {
				seen["a key that answers again"] = true
			}
		}
		m, _ := freshMachine(t)
		replay(t, m, g.log, 32)
		if err := m.State().View(func(tx *store.ReadTx) error {
			meta := tx.Meta()
			seen["dropped events"] = meta.FirstSeq > 1
			seen["a review that holds events back"] = len(tx.Open(0, 1)) == 1 && tx.Open(0, 1)[0] == meta.FirstSeq
			seen["a permanent checkpoint"] = meta.Seq >= 1_000
			seen["a clock that was set back"] = meta.SetBack > 0
			seen["a time zone that changes"] = len(tx.Params().Zone.Changes) > 1
			// Most keys are gone by the end; what reuses one leaves an event and no key.
			seen["keys that expired"] = tx.Sizes()["keys"].KeyN < keyed/2
			for name, s := range tx.Sizes() {
				seen["rows in bucket "+name] = s.KeyN > 0
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
	if t.Failed() {
		return // what could not be read looks like what is missing
	}
	need := []string{
		"a key that answers again", "dropped events", "a review that holds events back", "a permanent checkpoint", "a clock that was set back",
		"a time zone that changes", "keys that expired",
	}
	for kind, values := range vocabulary(t) {
		for _, v := range values {
			var word string
			switch kind {
			case "Op":
				word = "operation " + attendance.Op(v).String()
			case "EventType":
				word = "event " + attendance.EventType(v).String()
			case "Status":
				word = "status " + attendance.Status(v).String()
			case "Reason":
				word = "reason " + attendance.Reason(v).String()
			case "LocationError":
				word = "location error " + attendance.LocationError(v).String()
			}
			if word != "reason " { // none is no reason
				need = append(need, word)
			}
		}
	}
	for what := range seen {
		if !slices.Contains(need, what) {
			need = append(need, what) // looked for and perhaps not found
		}
	}
	slices.Sort(need)
	for _, what := range need {
		switch why, never := unreachable[what]; {
		case never && seen[what]:
			t.Errorf("%s is said to be out of reach (%s) and is in a golden log", what, why)
		case !never && !seen[what]:
			t.Errorf("%s is in no golden log: add it to the scenario of a new level", what)
		}
	}
}

// vocabulary reads the constants of the types that stand in stored data from the
// source: one that was declared and then forgotten everywhere else shows up too.
func vocabulary(t *testing.T) map[string][]uint8 {
	t.Helper()
	values := map[string][]uint8{"Op": nil, "EventType": nil, "Status": nil, "Reason": nil, "LocationError": nil}
	files, err := filepath.Glob("../../attendance/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			typ, _ := spec.Type.(*ast.Ident)
			literal, isLiteral := spec.Values[0].(*ast.BasicLit)
			if typ == nil || !isLiteral {
				return true
			}
			if known, ok := values[typ.Name]; ok {
				v, err := strconv.ParseUint(literal.Value, 10, 8)
				if err != nil {
					t.Fatalf("%s %s: %v", typ.Name, spec.Names[0], err)
				}
				values[typ.Name] = append(known, uint8(v))
			}
			return true
		})
	}
	for kind, v := range values {
		if len(v) < 4 {
			t.Fatalf("only %d constants of type %s: are they declared in another way now?", len(v), kind)
		}
	}
	return values
}
