package export

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"strings"

	"hadir/attendance"
)

// Kind is the sort of a database.
type Kind string

// The kinds.
const (
	MySQL  Kind = "mysql"  // and MariaDB; written by the leader
	SQLite Kind = "sqlite" // a file of each node's own
)

// Target says where to export to. It holds a password and prints as its name.
type Target struct {
	// Name is the URL without user, password and options: unique, the same on
	// every node, at most attendance.MaxTarget printable characters, and no secret.
	Name string
	Kind Kind

	user, password string
	addr, database string
	tls            string
	path           string // of the file
}

// String gives the name, so that printing a target shows no secret.
func (t Target) String() string { return t.Name }

// GoString is String for %#v.
func (t Target) GoString() string { return t.Name }

// LogValue is String for slog.
func (t Target) LogValue() slog.Value { return slog.StringValue(t.Name) }

// Errors of ParseTarget. Their text never holds any part of the URL, which may
// be a password in the wrong place.
var (
	errScheme   = errors.New("an export URL is mysql://user:password@host:3306/database or sqlite:///path")
	errDatabase = errors.New("the mysql URL needs a host and one database: mysql://user:password@host:3306/database")
	errPath     = errors.New("the sqlite URL needs an absolute path and nothing else: sqlite:///var/lib/hadir/{node}.db")
	errOptions  = errors.New("the mysql URL takes no option but tls=true, tls=false, tls=preferred or tls=skip-verify")
	errNode     = errors.New("{node} is for sqlite: a mysql database is written by the leader, whichever node that is")
	errURL      = errors.New("the export URL is malformed: write a special character of the password as % and its hexadecimal code")
)

const placeholder = "{node}"

// ParseTarget reads an export URL. node, the name of this node, stands for {node}
// in the path of a SQLite file; the target's name keeps {node}, so that the copies
// of all nodes have one name.
func ParseTarget(raw, node string) (Target, error) {
	scheme, _, _ := strings.Cut(raw, "://")
	switch scheme {
	case string(MySQL):
		return parseMySQL(raw)
	case string(SQLite):
		return parseSQLite(raw, node)
	}
	return Target{}, errScheme
}

func parseMySQL(raw string) (Target, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return Target{}, errURL // not err: it quotes the URL
	case u.Fragment != "" || u.RawFragment != "":
		return Target{}, errURL
	case strings.Contains(u.Host+u.Path, placeholder):
		return Target{}, errNode
	}
	t := Target{Kind: MySQL, user: u.User.Username(), database: strings.TrimPrefix(u.Path, "/"), tls: "preferred"}
	t.password, _ = u.User.Password()
	if u.Hostname() == "" || t.database == "" || strings.Contains(t.database, "/") {
		return Target{}, errDatabase
	}
	port := u.Port()
	if port == "" {
		port = "3306"
	}
	t.addr = net.JoinHostPort(strings.ToLower(u.Hostname()), port)
	options, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Target{}, errOptions
	}
	for name, values := range options {
		if name != "tls" || len(values) != 1 {
			return Target{}, errOptions
		}
		switch values[0] {
		case "true", "false", "preferred", "skip-verify":
			t.tls = values[0]
		default:
			return Target{}, errOptions
		}
	}
	t.Name = named("mysql://" + t.addr + "/" + url.PathEscape(t.database))
	return t, nil
}

func parseSQLite(raw, node string) (Target, error) {
	// A path is taken as it is but for %: braces are no part of a URL.
	path := strings.TrimPrefix(raw, "sqlite://")
	path, err := url.PathUnescape(path)
	if err != nil || !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#\x00") || strings.HasSuffix(path, "/") {
		return Target{}, errPath
	}
	path = filepath.Clean(path)
	return Target{
		Kind: SQLite, path: strings.ReplaceAll(path, placeholder, node),
		Name: named("sqlite://" + strings.ReplaceAll((&url.URL{Path: path}).EscapedPath(), "%7Bnode%7D", placeholder)),
	}, nil
}

// named gives the name of a target. Two targets have one name only if they are
// one: what is too long is cut and ends in its hash, after a character that the
// short form does not have.
func named(s string) string {
	s = strings.ReplaceAll(s, "~", "%7E")
	if len(s) <= attendance.MaxTarget {
		return s
	}
	tail := fmt.Sprintf("~%x", sha256.Sum256([]byte(s)))[:1+32]
	return s[:attendance.MaxTarget-len(tail)] + tail
}

// ParseTargets is ParseTarget for all URLs of a node. It refuses one database that
// is given twice, and more than attendance.MaxTargets.
func ParseTargets(urls []string, node string) ([]Target, error) {
	var out []Target
	seen := make(map[string]bool)
	for _, raw := range urls {
		t, err := ParseTarget(raw, node)
		if err != nil {
			return nil, err
		}
		if seen[t.Name] {
			return nil, fmt.Errorf("the export target %s is given twice", t.Name)
		}
		seen[t.Name] = true
		out = append(out, t)
	}
	if len(out) > attendance.MaxTargets {
		return nil, fmt.Errorf("%d export targets are given, at most %d can be", len(out), attendance.MaxTargets)
	}
	return out, nil
}
