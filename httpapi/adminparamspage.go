package httpapi

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hadir/attendance"
	"hadir/store"
	"hadir/ui"
)

const paramsPath = "/admin/params"

// unit is one in which people write durations.
type unit struct {
	name string
	size attendance.Millis
}

// units begin with the largest.
var units = []unit{
	{"day", attendance.DayMillis}, {"hour", 3_600_000}, {"minute", 60_000}, {"second", 1_000}, {"ms", 1},
}

// unitOf gives the largest unit that divides a duration without a rest.
func unitOf(m attendance.Millis) unit {
	for _, u := range units {
		if m != 0 && m%u.size == 0 {
			return u
		}
	}
	return units[len(units)-2] // no seconds
}

func quantity(m attendance.Millis) ui.Quantity {
	u := unitOf(m)
	return ui.Quantity{Value: strconv.FormatInt(int64(m/u.size), 10), Unit: u.name}
}

// span is a duration among the parameters: the name of its field, and where it is.
type span struct {
	name string
	of   func(*attendance.Params) *attendance.Millis
}

var spans = []span{
	{"window", func(p *attendance.Params) *attendance.Millis { return &p.Window }},
	{"skew", func(p *attendance.Params) *attendance.Millis { return &p.Skew }},
	{"deferral", func(p *attendance.Params) *attendance.Millis { return &p.Deferral }},
	{"key_retention", func(p *attendance.Params) *attendance.Millis { return &p.KeyRetention }},
}

// The other fields.
const (
	marginField = "export_margin"
	zoneField   = "time_zone"
)

// commonZones are offered; any other may be typed.
var commonZones = []string{
	"Asia/Jakarta", "Asia/Pontianak", "Asia/Makassar", "Asia/Jayapura", "Asia/Singapore", "Asia/Kuala_Lumpur", "Asia/Dili",
	"Asia/Manila", "Asia/Tokyo", "Australia/Perth", "Europe/Berlin", "UTC",
}

// paramsPage shows the parameters of the rule in a form.
func paramsPage(c *call) error {
	form, err := c.freshForm()
	if err != nil {
		return err
	}
	return c.showParams(http.StatusOK, ui.Params{Form: form})
}

// showParams shows the form; one that was not sent has what holds now.
func (c *call) showParams(status int, d ui.Params) error {
	q, err := c.pageQuery()
	if err != nil {
		return err
	}
	how := c.landed(q)
	d.Done, d.Zones = q.text("did"), commonZones
	if err := q.done(); err != nil {
		return err
	}
	fresh, err := c.seen(how, func(tx *store.ReadTx, _ *scope) error {
		p := tx.Params()
		d.Now = site(p.Zone).local(attendance.MillisOf(c.began))
		if d.Sizes == nil {
			for _, s := range spans {
				q := quantity(*s.of(&p))
				d.Sizes = append(d.Sizes, amount(s.name, q.Value, q.Unit))
			}
			d.Margin, d.Zone, d.Seen = strconv.FormatUint(p.ExportMargin, 10), p.Zone.Name, imprint(p)
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.Stale = fresh.Stale
	return c.screen(status, "admin", d)
}

func amount(name, value, unit string) ui.Amount {
	a := ui.Amount{Name: name, Value: value, Unit: unit}
	for _, u := range units {
		a.Units = append(a.Units, u.name)
	}
	return a
}

// imprint stands for the parameters that a form was made from, so that nobody
// changes back what somebody else has changed meanwhile.
func imprint(p attendance.Params) string {
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%+v", p)))[:16]
}

// setParamsPage shows what a form would change and, when that was confirmed,
// changes it.
func setParamsPage(c *call) error {
	in, err := c.posted()
	if err != nil {
		return err
	}
	d := ui.Params{
		Form: ui.Form{Key: in.key}, Seen: in.values.Get("seen"), Margin: in.says(marginField), Zone: in.says(zoneField),
	}
	for _, s := range spans {
		d.Sizes = append(d.Sizes, amount(s.name, in.says(s.name), in.says(s.name+"_unit")))
	}
	var before, after attendance.Params
	err = c.api.newest(c.r.Context(), func(tx *store.ReadTx) error {
		_, err := scopeOf(tx, c.who)
		before = tx.Params()
		return err
	})
	if err != nil {
		err = notDone(in.key, err)
	} else if after, err = in.params(before, c.api.Clock.Now()); err == nil {
		d.Changes = changesOf(before, after)
		switch {
		case len(d.Changes) == 0:
			d.Same = true
			return c.showParams(http.StatusOK, d)
		case d.Seen != imprint(before):
			c.note.why = codeNotNow
			d.Seen, d.Form.Trouble = imprint(before), "changed_meanwhile"
			return c.showParams(http.StatusConflict, d)
		case in.values.Get("step") != "apply":
			return c.showParams(http.StatusOK, d)
		}
		_, err = c.changeUnder(in.key, attendance.SetParams{Params: after})
	}
	if err != nil {
		var status int
		if d.Form, status, err = c.again(in.key, err); err != nil {
			return err
		}
		return c.showParams(status, d)
	}
	return c.did(paramsPath, "params_set")
}

// params gives what the form says. The zone's offsets stay as they are unless
// another zone is named: they are what records were placed into days by.
func (p *posted) params(before attendance.Params, now time.Time) (attendance.Params, error) {
	after := before
	var wrong []fieldError
	for _, s := range spans {
		m, ok := p.span(s.name)
		if !ok {
			wrong = append(wrong, fieldError{s.name, "is no duration"})
		}
		*s.of(&after) = m
	}
	var err error
	if after.ExportMargin, err = strconv.ParseUint(p.says(marginField), 10, 63); err != nil {
		wrong = append(wrong, fieldError{marginField, "is no number of events"})
	}
	if name := p.says(zoneField); name != before.Zone.Name {
		if after.Zone, err = zoneNamed(name, now); err != nil {
			wrong = append(wrong, fieldError{zoneField, "is no time zone that is known here"})
		}
	}
	if wrong != nil {
		return after, invalidBody(wrong...)
	}
	// The command's own check, of which the first word names the field.
	if says := fault(attendance.SetParams{Params: after}); says != "" {
		field := ""
		for prefix, name := range map[string]string{
			"window": "window", "skew": "skew", "deferral": "deferral", "key retention": "key_retention", "export margin": marginField,
			"time zone": zoneField,
		} {
			if strings.HasPrefix(says, prefix+" ") {
				field = name
			}
		}
		return after, invalidField(field, says)
	}
	return after, nil
}

// span reads a whole number of a unit.
func (p *posted) span(name string) (attendance.Millis, bool) {
	n, err := strconv.ParseUint(p.says(name), 10, 63)
	if err != nil {
		return 0, false
	}
	for _, u := range units {
		if u.name == p.says(name+"_unit") && n <= uint64(attendance.MaxMillis/u.size) {
			return attendance.Millis(n) * u.size, true
		}
	}
	return 0, false
}

// zoneNamed gives a time zone with its offsets of the years around now.
func zoneNamed(name string, now time.Time) (attendance.Zone, error) {
	if name == "" || name == "Local" { // which mean UTC and that of this machine
		return attendance.Zone{}, fmt.Errorf("%q is no time zone", name)
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return attendance.Zone{}, err
	}
	return attendance.SiteZone(loc, now)
}

// changesOf says what differs.
func changesOf(before, after attendance.Params) (changes []ui.Change) {
	add := func(name string, before, after ui.Quantity) {
		if before != after {
			changes = append(changes, ui.Change{Name: name, Before: before, After: after})
		}
	}
	for _, s := range spans {
		add(s.name, quantity(*s.of(&before)), quantity(*s.of(&after)))
	}
	number := func(n uint64) ui.Quantity { return ui.Quantity{Value: strconv.FormatUint(n, 10)} }
	add(marginField, number(before.ExportMargin), number(after.ExportMargin))
	add(zoneField, ui.Quantity{Value: before.Zone.Name}, ui.Quantity{Value: after.Zone.Name})
	return changes
}
