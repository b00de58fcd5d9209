package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hadir/attendance"
	"hadir/cluster"
	"hadir/store"
)

const importPath = apiPrefix + "/users/import"

// importers is how many people of one file are decided at a time: enough to
// share log entries, few enough to leave the queue to check-ins.
const importers = 16

const detailAgain = "Send the same file again: what was done stays, and it goes on where it stopped."

// What became of a row.
const (
	rowCreated   = "created"
	rowUpdated   = "updated"
	rowUnchanged = "unchanged"
	rowError     = "error"   // refused; reason says why
	rowUnknown   = "unknown" // may have been done
	rowSkipped   = "skipped" // not done, or not with its groups: the import stopped before
)

type importRowJSON struct {
	Row    int    `json:"row"` // line of the file, from 1
	Status string `json:"status"`
	ID     uint64 `json:"id,omitempty"` // of the person
	Field  string `json:"field,omitempty"`
	Reason string `json:"reason,omitempty"`
}

type importJSON struct {
	DryRun    bool            `json:"dry_run"`
	Rows      int             `json:"rows"`
	Created   int             `json:"created"`
	Updated   int             `json:"updated"`
	Unchanged int             `json:"unchanged"`
	Errors    int             `json:"errors"`
	Unknown   int             `json:"unknown"`
	Skipped   int             `json:"skipped"`
	Stopped   *stoppedJSON    `json:"stopped,omitempty"` // why it did not come to its end
	Items     []importRowJSON `json:"items"`
}

type stoppedJSON struct {
	Code   code   `json:"code"`
	Detail string `json:"detail"`
}

// postImport creates and changes people as a file says, and tells of each row
// what became of it: a bad one keeps no other from being applied. People are
// told apart by their address, so the same file may be sent again at any time;
// what is there already stays. Nobody is taken out of a group or deactivated,
// and a password is set only for somebody who has none.
//
// An import that cannot go on, because there is no quorum or because its time is
// up, says so, and that it is to be sent again.
func postImport(c *call) error {
	q, err := c.query("dry_run")
	if err != nil {
		return err
	}
	dry := q.flag("dry_run")
	if err := q.done(); err != nil {
		return err
	}
	body, err := c.body("text/csv")
	if err != nil {
		return err
	}
	m, err := c.importPeople(body, dry)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, m.report())
}

// importPeople does what a file says, or only finds out what that would be. An
// error says that nothing was done.
func (c *call) importPeople(file []byte, dry bool) (*importer, error) {
	m := &importer{api: c.api, who: c.who, dry: dry, until: c.began.Add(c.api.ImportTime)}
	err := m.run(c.r.Context(), c.read, file, maxImportRows)
	if m.index > 0 {
		c.index(m.index)
	}
	if err != nil {
		return nil, err
	}
	m.log("request", c.id)
	return m, nil
}

// run does what a file says, or only finds out what that would be. An error says that
// nothing was done.
func (m *importer) run(ctx context.Context, read reader, file []byte, most int) error {
	rows, err := parseImport(file, most)
	if err != nil {
		return err
	}
	how := cluster.Read{Consistency: cluster.Strong}
	if m.dry {
		how = cluster.Read{}
	}
	fresh, err := read(how, func(tx *store.ReadTx) error { return m.plan(tx, rows) })
	if err != nil {
		return notDone("", err)
	}
	m.index = fresh.Index
	if !m.dry {
		m.apply(ctx)
	}
	if m.stop != nil && m.done == 0 {
		return m.stop // nothing was done, so nothing else is to be told
	}
	return nil
}

// log tells what an import came to, and for whom it was.
func (m *importer) log(whose ...any) {
	r := m.report()
	m.api.Log.Info("people were imported", append(whose, "dry", m.dry, "rows", r.Rows, "created", r.Created,
		"updated", r.Updated, "errors", r.Errors, "skipped", r.Skipped, "unknown", r.Unknown)...)
}

// importer is one import.
type importer struct {
	api   *API
	who   *visitor
	dry   bool
	until time.Time // nothing is begun after it
	work  []*importWork
	tell  func(done, of int) // is told of each row; nil where nobody asks

	hashing sync.Mutex // one password at a time: the other cores are for those who sign in

	mu    sync.Mutex
	stop  *problem // why nothing more is begun
	done  int      // commands that took effect
	index uint64   // the greatest that one of them has
}

// importWork is a row, what is to be done about it, and what became of that.
type importWork struct {
	importRow
	id     uint64 // 0 for somebody new
	patch  userPatch
	joins  []join
	result importRowJSON
}

// join is how somebody is to belong to a group.
type join struct {
	group uint64
	part  store.Part
}

// plan finds out what each row changes. It promises nothing: others may change
// the same people before apply does.
func (m *importer) plan(tx *store.ReadTx, rows []importRow) error {
	m.work = nil
	groups, err := groupsByName(tx)
	if err != nil {
		return err
	}
	seen := make(map[string]int) // line by address
	for _, row := range rows {
		w := &importWork{importRow: row, result: importRowJSON{Row: row.line}}
		m.work = append(m.work, w)
		if row.wrong != nil {
			w.refuse(*row.wrong)
			continue
		}
		email := attendance.FoldEmail(row.email)
		if line, twice := seen[email]; twice {
			w.refuse(fieldError{"email", fmt.Sprintf("is in row %d already", line)})
			continue
		}
		seen[email] = row.line
		if err := w.plan(tx, groups); err != nil {
			return err
		}
	}
	return nil
}

// groupsByName gives all groups by their folded names.
func groupsByName(tx *store.ReadTx) (map[string][]attendance.Group, error) {
	all, after := make(map[string][]attendance.Group), uint64(0)
	for {
		page, err := tx.Groups(after, store.MaxPage)
		if err != nil {
			return nil, err
		}
		for _, g := range page {
			name := attendance.FoldEmail(g.Name)
			all[name] = append(all[name], g)
			after = g.ID
		}
		if len(page) < store.MaxPage {
			return all, nil
		}
	}
}

func (w *importWork) refuse(why fieldError) {
	w.result.Status, w.result.Field, w.result.Reason = rowError, why.Field, why.Reason
}

func (w *importWork) plan(tx *store.ReadTx, groups map[string][]attendance.Group) error {
	u, err := tx.UserByEmail(w.email)
	known := err == nil
	switch {
	case known && !u.Active:
		w.refuse(fieldError{"email", "is that of somebody who was deactivated: reactivate them first"})
		return nil
	case !known && !isNotFound(err):
		return err
	}
	for _, name := range w.groups {
		found := groups[attendance.FoldEmail(name)]
		if len(found) != 1 {
			why := "no group"
			if len(found) > 1 {
				why = "more than one group"
			}
			w.refuse(fieldError{"groups", fmt.Sprintf("has %q, which is %s", shorten(name), why)})
			return nil
		}
		j := join{group: found[0].ID, part: store.Member}
		if w.role != attendance.Student && found[0].Kind == attendance.Class {
			j.part = store.Responsible // in a class, whoever is no student teaches
		}
		if there := known && tx.Belongs(j.group, j.part, u.ID); !there && !slices.Contains(w.joins, j) {
			w.joins = append(w.joins, j)
		}
	}
	w.result.Status = rowCreated
	if known {
		w.id, w.result.ID, w.result.Status = u.ID, u.ID, rowUnchanged
		if u.Name != w.name {
			w.patch.name = &w.name
		}
		if u.Role != w.role {
			w.patch.role = &w.role
		}
		if tx.PasswordHash(u.ID) != "" {
			w.word = ""
		}
		if w.patch != (userPatch{}) || w.word != "" || w.joins != nil {
			w.result.Status = rowUpdated
		}
	}
	return nil
}

// changesPerson reports whether there is more to do than to join groups.
func (w *importWork) changesPerson() bool {
	return w.result.Status == rowCreated || w.patch != (userPatch{}) || (w.result.Status == rowUpdated && w.word != "")
}

// apply does what was planned: first the people, then their groups.
func (m *importer) apply(ctx context.Context) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range importers {
		all.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(m.work) {
					return
				}
				if w := m.work[i]; w.result.Status != rowError && w.changesPerson() {
					m.person(ctx, w)
				}
				if m.tell != nil {
					m.tell(i+1, len(m.work))
				}
			}
		})
	}
	all.Wait()
	m.join(ctx)
}

// going reports whether more may be begun.
func (m *importer) going(ctx context.Context) bool {
	if ctx.Err() != nil || !m.api.Clock.Now().Before(m.until) {
		m.halt(newProblem(codeOutOfTime, detailAgain))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stop == nil
}

// halt keeps more from being begun. The first reason counts.
func (m *importer) halt(why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stop == nil {
		m.stop = notDone("", why)
	}
}

// did counts a command that took effect.
func (m *importer) did(r cluster.Result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done++
	m.index = max(m.index, r.Index)
}

// person creates or changes somebody. A change that has begun is waited for,
// even if the time is up meanwhile.
func (m *importer) person(ctx context.Context, w *importWork) {
	if !m.going(ctx) {
		w.result.Status = rowSkipped
		return
	}
	hash, err := m.hash(ctx, w.word)
	if err != nil {
		w.result.Status = rowSkipped
		m.halt(err)
		return
	}
	r, err := m.put(ctx, w, hash)
	if err == nil {
		m.did(r)
		w.id, w.result.ID = r.Outcome.ID, r.Outcome.ID
		return
	}
	m.failed(&w.result, err, "")
}

func (m *importer) put(ctx context.Context, w *importWork, hash string) (r cluster.Result, err error) {
	key, err := newKey(m.api.Clock.Now(), m.api.Rand)
	if err != nil {
		return r, err
	}
	if w.id != 0 {
		w.patch.passwordHash = hash
		_, r, err = m.api.changeUser(ctx, m.who, key, w.id, w.patch)
		return r, err
	}
	r, err = m.api.decide(ctx, m.api.Clock.Now(), m.who, key, attendance.PutUser{
		Name: w.name, Email: w.email, Role: w.role, Active: true, PasswordHash: hash,
	})
	if err == nil {
		err = refusal(r.Outcome)
	}
	return r, err
}

func (m *importer) hash(ctx context.Context, word string) (string, error) {
	if word == "" {
		return "", nil
	}
	m.hashing.Lock()
	defer m.hashing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 2*m.api.Budget)
	defer cancel()
	return m.api.hash(ctx, word)
}

// failed tells of a row why something was not done, or that it may have been.
// What went before is told with it.
func (m *importer) failed(row *importRowJSON, err error, before string) {
	p := problemOf(err)
	row.Field, row.Reason = "", before
	switch {
	case p.Status < http.StatusInternalServerError:
		row.Status = rowError
		why := p.Title
		if len(p.Errors) > 0 {
			row.Field, why = p.Errors[0].Field, p.Errors[0].Reason
		}
		row.Reason += why
		return
	case errors.Is(err, cluster.ErrUnknown):
		row.Status = rowUnknown
	default:
		row.Status = rowSkipped
	}
	m.halt(err)
}

// join brings people into their groups, one group after another.
func (m *importer) join(ctx context.Context) {
	type in struct {
		join
		who *importWork
	}
	byGroup := make(map[uint64][]in)
	for _, w := range m.work {
		if s := w.result.Status; s != rowCreated && s != rowUpdated {
			continue
		}
		for _, j := range w.joins {
			byGroup[j.group] = append(byGroup[j.group], in{j, w})
		}
	}
	groups := make([]uint64, 0, len(byGroup))
	for id := range byGroup {
		groups = append(groups, id)
	}
	slices.Sort(groups)
	for _, id := range groups {
		for joins := range slices.Chunk(byGroup[id], maxCommandIDs) {
			var b attendance.PutGroup
			for _, j := range joins {
				if j.part == store.Responsible {
					b.AddTeachers = append(b.AddTeachers, j.who.id)
				} else {
					b.AddMembers = append(b.AddMembers, j.who.id)
				}
			}
			slices.Sort(b.AddMembers)
			slices.Sort(b.AddTeachers)
			going := m.going(ctx)
			var err error
			if going {
				err = m.putJoins(ctx, id, b)
			}
			for _, j := range joins {
				switch row := &j.who.result; {
				case err != nil:
					m.failed(row, err, "were not joined, though the person is there: ")
					row.Field = columnWords[groupsColumn]
				case !going:
					row.Status, row.Field, row.Reason = rowSkipped, columnWords[groupsColumn], "were not reached, though the person is there"
				}
			}
		}
	}
}

// putJoins adds people to a group as it is called now.
func (m *importer) putJoins(ctx context.Context, id uint64, b attendance.PutGroup) error {
	err := m.api.newest(ctx, func(tx *store.ReadTx) error {
		g, err := tx.Group(id)
		b.GroupID, b.Name, b.Kind = g.ID, g.Name, g.Kind
		return err
	})
	if err != nil {
		return err
	}
	key, err := newKey(m.api.Clock.Now(), m.api.Rand)
	if err != nil {
		return err
	}
	r, err := m.api.decide(ctx, m.api.Clock.Now(), m.who, key, b)
	if err == nil {
		err = refusal(r.Outcome)
	}
	if err == nil {
		m.did(r)
	}
	return err
}

func (m *importer) report() importJSON {
	out := importJSON{DryRun: m.dry, Rows: len(m.work), Items: []importRowJSON{}}
	for _, w := range m.work {
		out.Items = append(out.Items, w.result)
		switch w.result.Status {
		case rowCreated:
			out.Created++
		case rowUpdated:
			out.Updated++
		case rowUnchanged:
			out.Unchanged++
		case rowError:
			out.Errors++
		case rowUnknown:
			out.Unknown++
		case rowSkipped:
			out.Skipped++
		}
	}
	if m.stop != nil {
		out.Stopped = &stoppedJSON{m.stop.Code, m.stop.Title + ". " + detailAgain}
	}
	return out
}
