// Command bench measures hadir's state machine. Each run builds its data, then
// measures all sizes in turn, several rounds, so that the ratios between them
// hold even where the machine's speed drifts.
//
//	go run ./tests/bench -records 10000,1000000,10000000 -dir DIR
//
// Files that are in DIR already are used again.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"hadir/attendance"
	"hadir/fsm"
	"hadir/store"
)

func main() {
	records := flag.String("records", "10000,1000000", "sizes to measure, in attendance records")
	dir := flag.String("dir", "", "where the data is kept (default: a temporary directory)")
	rounds := flag.Int("rounds", 5, "rounds, one school day each")
	people := flag.Int("people", 10_000, "people, each of whom checks in and out once a day")
	profile := flag.String("cpuprofile", "", "write a CPU profile of the measured rounds to this file")
	flag.Parse()
	if err := run(*records, *dir, *rounds, *people, *profile); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(sizes, dir string, rounds, people int, profile string) error {
	if dir == "" {
		tmp, err := os.MkdirTemp("", "hadir-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		dir = tmp
	}
	var all []*site
	for _, s := range strings.Split(sizes, ",") {
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("size %q is no number", s)
		}
		st, err := build(filepath.Join(dir, fmt.Sprintf("state-%d.db", n)), n, people)
		if err != nil {
			return err
		}
		defer st.close()
		all = append(all, st)
	}
	if err := profiled(profile, func() error {
		for round := range rounds {
			for _, s := range all {
				if err := s.day(round); err != nil {
					return err
				}
			}
		}
		return nil
	}); err != nil {
		return err
	}
	for _, s := range all {
		if err := s.queries(); err != nil {
			return err
		}
	}
	return report(all)
}

// profiled runs f, under the CPU profiler if a file is named.
func profiled(file string, f func() error) error {
	if file == "" {
		return f()
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		return errors.Join(err, out.Close())
	}
	err = f()
	pprof.StopCPUProfile()
	return errors.Join(err, out.Close())
}

const batch = attendance.MaxCommands

// site is one state under measurement.
type site struct {
	path    string
	records int
	people  int
	state   *store.State
	machine *fsm.Machine
	index   uint64
	now     attendance.Millis
	keys    uint64

	opened    time.Duration
	rates     []float64 // check-ins/s, a round each
	cpu       []float64 // µs per check-in
	written   []float64 // bytes per check-in
	pages     []float64 // per check-in
	heapMiB   float64
	sizeMiB   float64
	dayPage   []time.Duration
	userMonth []time.Duration
}

const morning = 7 * 3_600_000 // past midnight, local

// build makes a state with n records, or opens the one that is there.
func build(path string, n, people int) (*site, error) {
	s := &site{path: path, records: n, people: people}
	_, err := os.Stat(path)
	fresh := os.IsNotExist(err)
	if fresh {
		if err := s.open(store.Options{NoSync: true}); err != nil {
			return nil, err
		}
		start := time.Now()
		if err := s.fill(); err != nil {
			return nil, err
		}
		fmt.Fprintf(os.Stderr, "built %d records in %s\n", n, time.Since(start).Round(time.Second))
		if err := s.close(); err != nil {
			return nil, err
		}
	}
	start := time.Now()
	if err := s.open(store.Options{}); err != nil {
		return nil, err
	}
	s.opened = time.Since(start)
	return s, nil
}

func (s *site) open(opts store.Options) error {
	state, err := store.OpenState(s.path, opts)
	if err != nil {
		return err
	}
	s.state = state
	s.machine = fsm.New(state, fsm.Options{Halt: func(err error) {
		fmt.Fprintln(os.Stderr, "bench: halted:", err)
		os.Exit(1)
	}})
	return state.View(func(tx *store.ReadTx) error {
		m := tx.Meta()
		s.index, s.keys = m.Applied, m.Seq
		s.now = max(m.Clock, attendance.MillisOf(time.Date(2025, 1, 6, 0, 0, 0, 0, time.UTC)))
		return nil
	})
}

func (s *site) close() error { return s.state.Close() }

// fill creates the people and their school days. Many entries share a
// transaction, which is how a node catches up.
func (s *site) fill() error {
	var entries []fsm.Entry
	flush := func(most int) error {
		if len(entries) < most {
			return nil
		}
		_, err := s.machine.Apply(entries)
		entries = entries[:0]
		return err
	}
	add := func(commands []attendance.Command) error {
		e, err := s.entry(commands)
		if err != nil {
			return err
		}
		entries = append(entries, e)
		return flush(64)
	}
	for i := 0; i < s.people; i += batch {
		var commands []attendance.Command
		for j := i; j < min(i+batch, s.people); j++ {
			commands = append(commands, attendance.Command{
				Principal: attendance.Principal{Kind: attendance.SystemPrincipal}, Node: "n1",
				Body: attendance.PutUser{
					Name: fmt.Sprintf("Person %d", j+1), Email: fmt.Sprintf("p%d@example.test", j+1),
					Role: attendance.Student, Active: true,
				},
			})
		}
		if err := add(commands); err != nil {
			return err
		}
	}
	for left := s.records; left > 0; {
		for _, kind := range []attendance.Kind{attendance.In, attendance.Out} {
			n := min(left, s.people)
			if err := s.half(kind, n, add); err != nil {
				return err
			}
			left -= n
		}
		s.nextDay()
	}
	return flush(1)
}

// half is one half of a school day: n people check in or out, in random order.
func (s *site) half(kind attendance.Kind, n int, add func([]attendance.Command) error) error {
	order := shuffled(s.people, s.index)
	for i := 0; i < n; i += batch {
		var commands []attendance.Command
		for _, person := range order[i:min(i+batch, n)] {
			commands = append(commands, s.checkIn(person, kind))
		}
		s.now += 2_000
		if err := add(commands); err != nil {
			return err
		}
	}
	s.now += 8 * 3_600_000
	return nil
}

func (s *site) nextDay() {
	day := attendance.UTCDay(s.now)
	s.now = attendance.Millis(day+1)*attendance.DayMillis + morning - 7*3_600_000
}

func (s *site) checkIn(person int, kind attendance.Kind) attendance.Command {
	s.keys++
	user := uint64(person + 1)
	return attendance.Command{
		Principal: attendance.Principal{Kind: attendance.UserPrincipal, ID: user}, Key: uuid(s.keys), Node: "n" + strconv.Itoa(person%3+1),
		Body: attendance.CheckIn{
			UserID: user, Kind: kind, Age: attendance.Millis(person % 40), ClientTime: s.now,
			Location: attendance.Location{Known: true, LatE7: -62_009_000 + int32(person), LonE7: 1_068_451_000, AccuracyCM: 1_800},
		},
	}
}

// uuid gives random-looking keys without drawing random numbers: phones do not
// send keys in order, and order is what a tree likes.
func uuid(n uint64) string {
	a, b := mix(n), mix(n^0x9e3779b97f4a7c15)
	return fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", uint32(a), uint16(a>>32), uint16(a>>48)&0xfff, uint16(b)&0xfff, b>>16)
}

func mix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func shuffled(n int, seed uint64) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	for i := n - 1; i > 0; i-- {
		j := int(mix(seed+uint64(i)) % uint64(i+1))
		order[i], order[j] = order[j], order[i]
	}
	return order
}

func (s *site) entry(commands []attendance.Command) (fsm.Entry, error) {
	b, err := attendance.EncodeEntry(attendance.Entry{
		Level: attendance.Level, Cluster: attendance.ClusterID{1}, ProposedAt: s.now, Commands: commands,
	})
	s.index++
	return fsm.Entry{Index: s.index, Term: 1, Data: b}, err
}

// day measures one morning: everybody checks in, 256 to an entry, an entry to a
// transaction, synced.
func (s *site) day(round int) error {
	s.nextDay()
	var entries []fsm.Entry
	if err := s.half(attendance.In, s.people, func(c []attendance.Command) error {
		e, err := s.entry(c)
		entries = append(entries, e)
		return err
	}); err != nil {
		return err
	}
	runtime.GC()
	before, start, cpu, wrote := s.state.Stats(), time.Now(), cpuTime(), written()
	for _, e := range entries {
		out, err := s.machine.Apply([]fsm.Entry{e})
		if err != nil {
			return err
		}
		for _, o := range out[0] {
			if o.Status != attendance.AcceptedStatus {
				return fmt.Errorf("round %d: a check-in was %s (%s)", round, o.Status, o.Reason)
			}
		}
	}
	n := float64(s.people)
	s.rates = append(s.rates, n/time.Since(start).Seconds())
	s.cpu = append(s.cpu, float64((cpuTime()-cpu).Microseconds())/n)
	s.written = append(s.written, float64(written()-wrote)/n)
	after := s.state.Stats()
	stats := after.Sub(&before)
	s.pages = append(s.pages, float64(stats.TxStats.GetPageCount())/n)
	return nil
}

// queries measures what people look at: today's list and one person's month.
func (s *site) queries() error {
	var m store.Meta
	var zone attendance.Zone
	if err := s.state.View(func(tx *store.ReadTx) error {
		m, zone = tx.Meta(), tx.Params().Zone
		return nil
	}); err != nil {
		return err
	}
	today, _ := zone.Day(m.Clock)
	for i := range 2_000 {
		// A day of the past, a random place in its list.
		day := today - attendance.Day(mix(uint64(i))%uint64(max(1, s.records/(2*s.people))))
		took, err := s.page(store.Query{From: day, To: day, Limit: 50})
		if err != nil {
			return err
		}
		s.dayPage = append(s.dayPage, took)
		took, err = s.page(store.Query{From: day - 30, To: day, UserID: mix(uint64(i))%uint64(s.people) + 1, Limit: 62})
		if err != nil {
			return err
		}
		s.userMonth = append(s.userMonth, took)
	}
	var ms runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&ms)
	s.heapMiB = float64(ms.HeapAlloc) / (1 << 20)
	info, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	s.sizeMiB = float64(info.Size()) / (1 << 20)
	return nil
}

func (s *site) page(q store.Query) (time.Duration, error) {
	start := time.Now()
	err := s.state.View(func(tx *store.ReadTx) error {
		_, _, err := tx.Attendances(q)
		return err
	})
	return time.Since(start), err
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// written gives the bytes that this process handed to write calls, where the
// system counts them.
func written() uint64 {
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "wchar: "); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(v), 10, 64)
			if err == nil {
				return n
			}
		}
	}
	return 0
}

func report(all []*site) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "records\tcheck-ins/s\tratio\tCPU µs\tbytes written\tpages\tfile MiB\topen ms\theap MiB\tday page p50/p99 µs\tmonth p50/p99 µs\t")
	for _, s := range all {
		fmt.Fprintf(w, "%d\t%.0f\t%.2f\t%.1f\t%.0f\t%.2f\t%.0f\t%.1f\t%.0f\t%s\t%s\t\n",
			s.records, median(s.rates), median(s.rates)/median(all[0].rates), median(s.cpu), median(s.written), median(s.pages),
			s.sizeMiB, float64(s.opened.Microseconds())/1000, s.heapMiB, percentiles(s.dayPage), percentiles(s.userMonth))
	}
	return w.Flush()
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func percentiles(v []time.Duration) string {
	v = slices.Sorted(slices.Values(v))
	return fmt.Sprintf("%d/%d", v[len(v)/2].Microseconds(), v[len(v)*99/100].Microseconds())
}
