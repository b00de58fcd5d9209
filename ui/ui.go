package ui

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// dist is what build.mjs makes of src and css; without Node it is empty.
//
//go:embed templates assets css all:dist
var files embed.FS

// Pages are the parsed templates and the assets.
type Pages struct {
	templates map[Lang]*template.Template
	assets    map[string]Asset // by plain name, such as app.css
	links     map[string]string
}

// Asset is a file that pages refer to.
type Asset struct {
	Type    string
	Content []byte
	Brotli  []byte // the content compressed; nil where that was not done
	Gzip    []byte
	hash    string
}

// New parses everything. It fails only if the program was built from broken
// templates.
func New() (*Pages, error) {
	p := &Pages{templates: make(map[Lang]*template.Template), assets: make(map[string]Asset), links: make(map[string]string)}
	if err := p.loadAssets(); err != nil {
		return nil, fmt.Errorf("ui: assets: %w", err)
	}
	for i, lang := range []Lang{Indonesian, English} {
		t := template.New("").Funcs(p.funcs(lang, i)).Option("missingkey=error")
		t, err := t.ParseFS(files, "templates/*.html")
		if err != nil {
			return nil, fmt.Errorf("ui: templates: %w", err)
		}
		p.templates[lang] = t
	}
	return p, nil
}

var assetTypes = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

// loadAssets takes what was built and, where nothing was, the style sheet as it
// is written.
func (p *Pages) loadAssets() error {
	for _, dir := range []string{"assets", "dist"} {
		entries, err := files.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			name := dir + "/" + e.Name()
			if _, known := assetTypes[path.Ext(name)]; !known {
				continue // the compressed forms, which belong to another
			}
			a := Asset{Type: assetTypes[path.Ext(name)]}
			if a.Content, err = files.ReadFile(name); err != nil {
				return err
			}
			for suffix, form := range map[string]*[]byte{".br": &a.Brotli, ".gz": &a.Gzip} {
				if *form, err = files.ReadFile(name + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			}
			p.add(e.Name(), a)
		}
	}
	if _, built := p.assets["app.css"]; built {
		return nil
	}
	css, err := plainCSS()
	p.add("app.css", Asset{Type: assetTypes[".css"], Content: css})
	return err
}

func (p *Pages) add(name string, a Asset) {
	ext := path.Ext(name)
	a.hash = fmt.Sprintf("%x", sha256.Sum256(a.Content))[:10]
	p.assets[name] = a
	p.links[name] = "/assets/" + strings.TrimSuffix(name, ext) + "." + a.hash + ext
}

// plainCSS puts the files that app.css imports in the place of the imports.
func plainCSS() ([]byte, error) {
	main, err := files.ReadFile("css/app.css")
	if err != nil {
		return nil, err
	}
	var out []byte
	for line := range strings.Lines(string(main)) {
		if name, ok := strings.CutPrefix(line, `@import "./`); ok {
			part, err := files.ReadFile("css/" + strings.TrimSuffix(strings.TrimSpace(name), `";`))
			if err != nil {
				return nil, err
			}
			out = append(out, part...)
			continue
		}
		out = append(out, line...)
	}
	return out, nil
}

// Built reports whether the scripts were built in.
func (p *Pages) Built() bool { return p.links["app.js"] != "" }

// funcs are what templates may call, bound to a language.
func (p *Pages) funcs(lang Lang, column int) template.FuncMap {
	point := ":"
	if lang == Indonesian {
		point = "."
	}
	decimalPoint := map[Lang]string{Indonesian: ",", English: "."}[lang]
	return template.FuncMap{
		"t": func(key string, args ...any) (string, error) {
			w, ok := words[key]
			if !ok {
				return "", fmt.Errorf("no words for %q", key)
			}
			if len(args) == 0 {
				return w[column], nil
			}
			return fmt.Sprintf(w[column], args...), nil
		},
		// count is t of a number, with the words for exactly one where there are such.
		"count": func(key string, n any) (string, error) {
			if _, has := words[key+".one"]; has && fmt.Sprint(n) == "1" {
				key += ".one"
			}
			w, ok := words[key]
			if !ok {
				return "", fmt.Errorf("no words for %q", key)
			}
			return fmt.Sprintf(w[column], grouped(fmt.Sprint(n), thousands[lang])), nil
		},
		"known": func(key string) bool { _, ok := words[key]; return ok },
		"lang":  func() string { return string(lang) },
		"asset": func(name string) (string, error) {
			link, ok := p.links[name]
			if !ok {
				return "", fmt.Errorf("no asset %q", name)
			}
			return link, nil
		},
		"clock": func(t time.Time) string {
			return strings.ReplaceAll(t.Format("15:04:05"), ":", point) + " " + zoneName(t)
		},
		"date": func(t time.Time) string { return longDate(t, lang) },
		"zone": zoneName,
		"moment": func(t time.Time) string {
			return shortDate(t, lang) + " " + strings.ReplaceAll(t.Format("15:04:05"), ":", point) + " " + zoneName(t)
		},
		"span":  spanOf,
		"tally": func(name string, count int) Tally { return Tally{name, count} },
		"number": func(n any) string {
			return grouped(fmt.Sprint(n), thousands[lang])
		},
		"roles":      func() []string { return []string{"student", "teacher", "admin"} },
		"groupkinds": func() []string { return []string{"class", "department"} },
		// say is t with what belongs into the words as a list.
		"say": func(key string, args []any) (string, error) {
			w, ok := words[key]
			if !ok {
				return "", fmt.Errorf("no words for %q", key)
			}
			return fmt.Sprintf(w[column], args...), nil
		},
		"millis": time.Time.UnixMilli,
		"offset": func(t time.Time) int { _, offset := t.Zone(); return offset / 60 },
		"json": func(v any) (string, error) {
			b, err := json.Marshal(v)
			return string(b), err
		},
		// script gives "" for one that was not built.
		"script": func(name string) string { return p.links[name] },
		// words gives what a script says, as JSON.
		"words": func(prefixes ...string) (string, error) { return scriptWords(column, prefixes) },
		"iso":   func(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") },
		"ms": func(d time.Duration) string {
			return strings.Replace(strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 1, 64), ".", decimalPoint, 1)
		},
		"icon": func(key string) (string, error) {
			if d, ok := icons[key]; ok {
				return d, nil
			}
			return "", fmt.Errorf("no icon %q", key)
		},
		"built": p.Built,
		"wrap":  func(part any) view { return view{Page: part} },
		"names": func(nodes []Node) (string, error) {
			names := []string{}
			for _, n := range nodes {
				names = append(names, n.Name)
			}
			b, err := json.Marshal(names)
			return string(b), err
		},
		"acts": func() []string { return []string{"kill", "freeze", "thaw", "start"} },
	}
}

// thousands are the marks between thousands.
var thousands = map[Lang]string{Indonesian: ".", English: ","}

// grouped puts a mark between the thousands of a whole number.
func grouped(digits, mark string) string {
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + mark + digits[i:]
	}
	return digits
}

// scriptWords gives the words whose keys begin so, by key.
func scriptWords(column int, prefixes []string) (string, error) {
	out := make(map[string]string)
	for key, w := range words {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(key, p) }) {
			out[key] = w[column]
		}
	}
	b, err := json.Marshal(out)
	return string(b), err
}

// zoneName gives the name that people of the zone use, as far as the time knows
// it.
func zoneName(t time.Time) string {
	name, offset := t.Zone()
	if name != "" && name[0] != '+' && name[0] != '-' {
		return name
	}
	return fmt.Sprintf("UTC%+03d:%02d", offset/3600, max(offset, -offset)/60%60)
}

var (
	daysID   = [...]string{"Minggu", "Senin", "Selasa", "Rabu", "Kamis", "Jumat", "Sabtu"}
	monthsID = [...]string{
		"Januari", "Februari", "Maret", "April", "Mei", "Juni", "Juli", "Agustus", "September", "Oktober", "November", "Desember",
	}
)

func longDate(t time.Time, lang Lang) string {
	if lang == Indonesian {
		return fmt.Sprintf("%s, %d %s %d", daysID[t.Weekday()], t.Day(), monthsID[t.Month()-1], t.Year())
	}
	return t.Format("Monday, 2 January 2006")
}

// shortDate is for lists: the day and the year in figures, the month in letters.
func shortDate(t time.Time, lang Lang) string {
	month := t.Month().String()
	if lang == Indonesian {
		month = monthsID[t.Month()-1]
	}
	return fmt.Sprintf("%d %s %d", t.Day(), month[:3], t.Year())
}

// view is what a template gets: the frame and the content.
type view struct {
	Frame
	Page  any
	Title string // what the page is about; "" for a part of one
}

// render writes nothing unless the whole page could be made.
func (p *Pages) render(w io.Writer, name string, f Frame, page any) error {
	t, ok := p.templates[f.Lang]
	if !ok {
		t = p.templates[Indonesian]
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, name, view{f, page, titleOf(f.Lang, name, page)}); err != nil {
		return fmt.Errorf("ui: %s: %w", name, err)
	}
	_, err := b.WriteTo(w)
	return err
}

// SignIn renders the first page.
func (p *Pages) SignIn(w io.Writer, f Frame, d SignIn) error { return p.render(w, "signin", f, d) }

// Home renders the page of somebody who is signed in.
func (p *Pages) Home(w io.Writer, f Frame, d Home) error { return p.render(w, "home", f, d) }

// History renders somebody's own records.
func (p *Pages) History(w io.Writer, f Frame, d History) error { return p.render(w, "history", f, d) }

// Groups renders the groups of today.
func (p *Pages) Groups(w io.Writer, f Frame, d Groups) error { return p.render(w, "groups", f, d) }

// GroupsPart renders their list alone.
func (p *Pages) GroupsPart(w io.Writer, f Frame, d Groups) error {
	return p.render(w, "grouplist", f, d)
}

// Group renders one group's day.
func (p *Pages) Group(w io.Writer, f Frame, d Group) error { return p.render(w, "group", f, d) }

// GroupPart renders its people alone.
func (p *Pages) GroupPart(w io.Writer, f Frame, d Group) error { return p.render(w, "members", f, d) }

// Dashboard renders the site's day.
func (p *Pages) Dashboard(w io.Writer, f Frame, d Dashboard) error {
	return p.render(w, "dashboard", f, d)
}

// Offline renders the page that a phone keeps for a time without a connection. It
// holds nothing about anybody.
func (p *Pages) Offline(w io.Writer, lang Lang) error {
	return p.render(w, "offline", Frame{Lang: lang}, Home{})
}

// Worker gives the service worker's script; nil where scripts were not built.
func (p *Pages) Worker() []byte { return p.assets["sw.js"].Content }

// Link gives the address of an asset by its plain name; "" when there is none.
func (p *Pages) Link(name string) string { return p.links[name] }

// Result renders what became of a tap.
func (p *Pages) Result(w io.Writer, f Frame, d Result) error { return p.render(w, "result", f, d) }

// Cluster renders the page of the cluster.
func (p *Pages) Cluster(w io.Writer, f Frame, d Cluster) error { return p.render(w, "cluster", f, d) }

// Notice renders why there is no other page.
func (p *Pages) Notice(w io.Writer, f Frame, d Notice) error { return p.render(w, "notice", f, d) }

// TodayPart renders the list alone, for a page that has it already.
func (p *Pages) TodayPart(w io.Writer, f Frame, d Today) error { return p.render(w, "today", f, d) }

// ClusterPart renders the nodes alone.
func (p *Pages) ClusterPart(w io.Writer, f Frame, d Cluster) error {
	return p.render(w, "nodes", f, d)
}

// PulsePart renders the line about the cluster alone.
func (p *Pages) PulsePart(w io.Writer, f Frame) error { return p.render(w, "pulse", f, nil) }

// ErrNoAsset says that there is no such file.
var ErrNoAsset = errors.New("no such asset")

// Asset gives the file with a hashed name, and whether it is exactly the one
// that was asked for, so that it may be kept.
func (p *Pages) Asset(name string) (a Asset, exact bool, err error) {
	ext := path.Ext(name)
	base, hash, ok := strings.Cut(strings.TrimSuffix(name, ext), ".")
	a, known := p.assets[base+ext]
	if !ok || !known {
		return Asset{}, false, ErrNoAsset
	}
	return a, a.hash == hash, nil
}
