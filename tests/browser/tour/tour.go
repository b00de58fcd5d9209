// Package tour finds every page that somebody can get to by following links, so
// that a new page is tested and photographed without being named anywhere.
package tour

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"hadir/tests/browser/chromium"
)

// Stop is a page of the site.
type Stop struct {
	Path string // to open it
	Name string // of its kind: groups-N for every group
}

// most bounds a walk; there are some twenty kinds of pages.
const most = 100

// links gives where the links of a page lead, within the site.
const links = `[...document.querySelectorAll("a[href]")].filter((a) => a.origin === location.origin && !a.hasAttribute("download")).map((a) => a.pathname + a.search)`

// Home is where everybody begins.
func Home() Stop { return Stop{"/", "home"} }

// Public are the pages that are the same for everybody; no link need lead there.
func Public() []Stop {
	return []Stop{{"/api/docs", "api-docs"}, {"/offline", "offline"}, {"/no-such-page", "no-such-page"}}
}

// Walk opens the given pages and one page of each kind that links lead to from
// there, and calls visit while it is open. It leaves out what is public, unless it
// was given.
func Walk(p *chromium.Page, base string, visit func(Stop) error, from ...Stop) error {
	queue, seen := from, map[string]bool{}
	for _, s := range append(Public(), from...) {
		seen[s.Name] = true
	}
	for i := 0; i < len(queue); i++ {
		if i == most {
			return fmt.Errorf("the walk has not ended after %d pages", most)
		}
		found, err := stop(p, base, queue[i], visit)
		if err != nil {
			return err
		}
		for _, path := range found {
			if name := kind(path); name != "" && !seen[name] {
				seen[name] = true
				queue = append(queue, Stop{path, name})
			}
		}
	}
	return nil
}

func stop(p *chromium.Page, base string, s Stop, visit func(Stop) error) (found []string, err error) {
	if _, err := p.Open(base + s.Path); err != nil {
		return nil, err
	}
	if found, err = chromium.Eval[[]string](p, links); err != nil {
		return nil, err
	}
	return found, visit(s)
}

var number = regexp.MustCompile(`\d+`)

// kind names the kind of a page: numbers stand for any, and a cursor or a filter
// makes no other kind. It is "" for what is no page of its own.
func kind(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.Query().Has("lang") || strings.HasPrefix(u.Path, "/api/v1/") || strings.HasPrefix(u.Path, "/n/") {
		return ""
	}
	name := strings.Trim(u.Path, "/")
	if name == "" {
		return "home"
	}
	return strings.ReplaceAll(number.ReplaceAllString(name, "N"), "/", "-")
}
