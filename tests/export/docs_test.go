package export_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"hadir/attendance"
	"hadir/export"
	"hadir/export/exporttest"
)

// example is a query of docs/sql.md under its heading.
var example = regexp.MustCompile("(?s)\n### ([^\n]+)\n.*?\n```sql\n(.*?);\n```")

// TestExamplesOfTheDocs runs every query of docs/sql.md, as it stands there, on
// both databases, and knows what a small school's two days come to.
func TestExamplesOfTheDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/sql.md")
	must(t, err)
	want := map[string]string{
		"Today's list": "Ani 410 840|Budi 425 NULL|Citra 419 NULL|Dewi NULL NULL",
		"Monthly recap per group": "X IPA 1 Ani 2 0|X IPA 1 Budi 2 1|X IPA 1 Citra 1 0|X IPA 1 Dewi 1 1|" +
			"X IPA 2 Ani 2 0",
		"Who was late":           "Budi 425 5",
		"Conflicts":              "11 Citra in n1 10 n1 2026-11-23 00:02:00.000",
		"How fresh is this copy": "17 2026-11-24 00:20:00.000 0",
	}
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			url, name := target(t, kind)
			r := start(t, smallSchool(t), url)
			r.caughtUp()
			r.equal()
			db := open(t, url, name)
			conn, err := db.Conn(within(t, 20*time.Second))
			must(t, err)
			defer conn.Close()
			if kind == export.MySQL { // as MySQL 8.0 has it
				_, err := conn.ExecContext(t.Context(), `SET SESSION sql_mode = 'ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'`)
				must(t, err)
			}
			seen := 0
			for _, m := range example.FindAllStringSubmatch(string(text), -1) {
				seen++
				got, err := rowsOf(t.Context(), conn, m[2])
				if err != nil {
					t.Errorf("%s: %v", m[1], err)
				} else if got != want[m[1]] {
					t.Errorf("%s: %s, want %s", m[1], got, want[m[1]])
				}
			}
			if seen != len(want) || seen != strings.Count(string(text), "```sql") {
				t.Errorf("%d queries were run, %d are known", seen, len(want))
			}
		})
	}
}

// smallSchool is two days of a class.
func smallSchool(t *testing.T) *exporttest.School {
	t.Helper()
	s := newSchool(t, 0)
	at := exporttest.Monday // 06:00 in Jakarta
	decide := func(bodies ...attendance.Body) {
		t.Helper()
		out, err := s.Do(bodies...)
		must(t, err)
		for _, o := range out {
			if o.Status == attendance.RejectedStatus || o.Status == attendance.ReviewStatus {
				t.Fatalf("%+v", o)
			}
		}
	}
	clock := func(day, hour, minute int) {
		to := exporttest.Monday + attendance.Millis(day*24*60+(hour-6)*60+minute)*60_000
		s.Pass((to - at).Duration())
		at = to
	}
	tap := func(user uint64, kind attendance.Kind) {
		t.Helper()
		decide(attendance.CheckIn{UserID: user, Kind: kind})
	}
	late := func(user uint64, minutes int) {
		t.Helper()
		decide(attendance.CheckIn{UserID: user, Kind: attendance.In, Recorded: true, Age: attendance.Millis(minutes) * 60_000})
	}
	decide(attendance.PutUser{Name: "Guru", Email: "guru@sekolah.example", Role: attendance.Teacher, Active: true})
	for _, name := range []string{"Ani", "Budi", "Citra", "Dewi"} {
		decide(attendance.PutUser{Name: name, Email: strings.ToLower(name) + "@sekolah.example", Role: attendance.Student, Active: true})
	}
	decide(attendance.PutGroup{Name: "X IPA 1", Kind: attendance.Class, AddMembers: []uint64{2, 3, 4, 5}, AddTeachers: []uint64{1}})
	decide(attendance.PutGroup{Name: "X IPA 2", Kind: attendance.Class, AddMembers: []uint64{2}})
	clock(0, 6, 50)
	tap(2, attendance.In)
	clock(0, 7, 2)
	decide(attendance.Audit{Action: "bell.rang"})
	tap(4, attendance.In)
	clock(0, 7, 3)
	late(4, 4) // tapped at 06:59, delivered now: first seen then
	clock(0, 7, 5)
	tap(3, attendance.In)
	clock(0, 14, 0)
	tap(2, attendance.Out)
	clock(1, 6, 55)
	tap(2, attendance.In)
	clock(1, 7, 10)
	tap(5, attendance.In)
	clock(1, 7, 20)
	late(3, 21) // tapped at 06:59
	decide(attendance.Audit{Action: "day.over"})
	return s
}

func rowsOf(ctx context.Context, conn *sql.Conn, query string) (string, error) {
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return "", err
	}
	var lines []string
	for rows.Next() {
		values, into := make([]sql.NullString, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return "", err
		}
		var line []string
		for _, v := range values {
			if !v.Valid {
				v.String = "NULL"
			}
			line = append(line, v.String)
		}
		lines = append(lines, fmt.Sprint(strings.Join(line, " ")))
	}
	return strings.Join(lines, "|"), rows.Err()
}
