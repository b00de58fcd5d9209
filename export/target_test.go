package export

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"hadir/attendance"
)

func TestTargets(t *testing.T) {
	long := strings.Repeat("x", 80)
	for _, tc := range []struct{ raw, name, path string }{
		{"mysql://hadir:s3cret@db.example:3307/attendance", "mysql://db.example:3307/attendance", ""},
		{"mysql://hadir:s3cret@DB.example/attendance?tls=true", "mysql://db.example:3306/attendance", ""},
		{"mysql://root@[::1]:3306/x", "mysql://[::1]:3306/x", ""},
		{"mysql://u:p%40%3A%2F@h/a%20b", "mysql://h:3306/a%20b", ""},
		{"sqlite:///var/lib/hadir/copy.db", "sqlite:///var/lib/hadir/copy.db", "/var/lib/hadir/copy.db"},
		{"sqlite:///d/{node}/a.db", "sqlite:///d/{node}/a.db", "/d/n7/a.db"},
		{"sqlite:///d/../e/a%20b.db", "sqlite:///e/a%20b.db", "/e/a b.db"},
	} {
		got, err := ParseTarget(tc.raw, "n7")
		if err != nil || got.Name != tc.name || got.path != tc.path {
			t.Errorf("%s: %q, path %q, %v; want %q, %q", tc.raw, got.Name, got.path, err, tc.name, tc.path)
		}
	}
	for _, raw := range []string{
		"", "s3cret", "postgres://u:s3cret@h/d", "mysql://", "mysql://u:s3cret@/d", "mysql://u:s3cret@h", "mysql://u:s3cret@h/", "mysql://u:s3cret@h/a/b",
		"mysql://u:s3cret@h:x/d", "mysql://u:s3%zzcret@h/d", "mysql://u:s3cret@h/d?loc=Local", "mysql://u:s3cret@h/d?tls=custom", "mysql://u:s3cret@h/d#s3cret",
		"mysql://u:s3cret@h/{node}", "mysql://u:s3cret@{node}/d", "mysql://u:s3cret@h/d?tls=true&tls=false", "sqlite://s3cret", "sqlite://h/s3cret",
		"sqlite:///a?s3cret", "sqlite:///s3cret/", "sqlite:///", "sqlite:////%00s3cret",
	} {
		got, err := ParseTarget(raw, "n7")
		if err == nil {
			t.Errorf("%q is taken as %q", raw, got.Name)
		} else if strings.Contains(err.Error(), "s3") {
			t.Errorf("%q: the error shows a part of it: %v", raw, err)
		}
	}
	a, err := ParseTarget("mysql://h/"+long+"a", "n1")
	must(t, err)
	b, err := ParseTarget("mysql://h/"+long+"b", "n1")
	must(t, err)
	if len(a.Name) > attendance.MaxTarget || a.Name == b.Name {
		t.Errorf("long names %q and %q", a.Name, b.Name)
	}
	for _, urls := range [][]string{
		{"mysql://a:b@h/d", "mysql://c:d@H:3306/d"}, {"sqlite:///x/{node}", "sqlite:///y/../x/{node}"}, {"nothing"},
	} {
		if _, err := ParseTargets(urls, "n1"); err == nil {
			t.Errorf("%q are taken", urls)
		}
	}
	var many []string
	for i := range attendance.MaxTargets + 1 {
		many = append(many, fmt.Sprintf("mysql://h/d%d", i))
	}
	if _, err := ParseTargets(many, "n1"); err == nil {
		t.Error("too many are taken")
	}
}

func TestATargetPrintsNoSecret(t *testing.T) {
	target, err := ParseTarget("mysql://someone:s3cret@h/d", "n1")
	must(t, err)
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "target", target)
	for _, s := range []string{fmt.Sprintf("%v %+v %#v %s", target, target, target, target), fmt.Sprint([]Target{target}), log.String()} {
		if strings.Contains(s, "s3cret") || strings.Contains(s, "someone") {
			t.Errorf("it shows: %s", s)
		}
	}
}
