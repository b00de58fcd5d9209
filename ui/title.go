package ui

import "fmt"

// titles are the words of a page's title, by template: its heading. Pages about one
// thing are titled, and not here.
var titles = map[string]string{
	"signin": "sign.heading", "home": "nav.home", "offline": "nav.home", "history": "history.heading", "groups": "groups.heading",
	"dashboard": "board.heading", "cluster": "nav.cluster", "result": "result.heading.who", "admin": "admin.heading",
	"records": "hub.records", "reviews": "hub.reviews", "online": "hub.online", "people": "hub.people", "admingroups": "hub.groups",
	"import": "hub.import", "audit": "hub.audit", "journal": "hub.journal", "params": "hub.params", "tokens": "hub.tokens",
	"queue": "hub.queue", "export": "hub.export",
}

// heading is what a page is about: words of the catalogue, or a name.
type heading struct {
	key  string
	args []any
	name string
}

// titled is a page that says itself what it is about.
type titled interface{ title() heading }

func (d Group) title() heading      { return heading{name: d.Name} }
func (d GroupPage) title() heading  { return heading{name: d.Group.Name} }
func (d PersonPage) title() heading { return heading{name: d.Person.Name} }
func (d Docs) title() heading       { return heading{key: "docs.heading", args: []any{d.Version}} }

func (d Notice) title() heading {
	key := fmt.Sprintf("notice.%d", d.Status)
	if _, known := words[key]; known {
		return heading{key: key}
	}
	if d.Status < 500 {
		return heading{key: "notice.4xx"}
	}
	return heading{key: "notice.5xx"}
}

// titleOf gives the title of a page in a language; "" for a part of one.
func titleOf(lang Lang, name string, page any) string {
	h := heading{key: titles[name]}
	if t, is := page.(titled); is {
		h = t.title()
	}
	if h.key == "" {
		return h.name
	}
	text := words[h.key][0]
	if lang == English {
		text = words[h.key][1]
	}
	if len(h.args) > 0 {
		return fmt.Sprintf(text, h.args...)
	}
	return text
}
