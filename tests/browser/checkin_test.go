package browser_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"hadir/tests/browser/chromium"
)

// look is how the receipt of the newest tap looks.
const look = "document.querySelector('#receipt').dataset.look"

// tapIn is the button of an arrival.
const tapIn = "button.tap.in"

// live waits until the page's script has the page.
func (p *tab) live() {
	p.t.Helper()
	p.await("document.querySelector('.place p')?.innerText && document.querySelector('.clock')?.innerText")
}

// colours of a receipt, as the style sheet names them.
var colours = map[string]string{
	"sending": "soft", "accepted": "green", "duplicate": "blue", "waiting": "amber", "recorded": "amber",
}

// becomes waits until the receipt looks so, in the colour that goes with it.
func (p *tab) becomes(what string) {
	p.t.Helper()
	p.await(look + " === '" + what + "'")
	p.await(fmt.Sprintf(`(() => {
		const probe = document.body.appendChild(document.createElement("i"));
		probe.style.color = "var(--%s)";
		const wanted = getComputedStyle(probe).color;
		probe.remove();
		return getComputedStyle(document.getElementById("receipt")).color === wanted;
	})()`, colours[what]))
}

// once fails the test unless somebody has one record, and gives it.
func once(t *testing.T, demo *show, who person) record {
	t.Helper()
	records := demo.records(t, who)
	if len(records) != 1 {
		t.Fatalf("%s has %d records: %+v", who.Name, len(records), records)
	}
	return records[0]
}

// TestPlaces: with a place, without permission, and with one that is 2 km wide:
// everybody may check in, and what is known of the place is on the record.
func TestPlaces(t *testing.T) {
	demo, b := theDemo(t)
	const latitude, longitude = -6.2009, 106.8451
	for _, tc := range []struct {
		name     string
		allow    bool
		accuracy float64
		state    string
		says     string
	}{
		{"granted", true, 12, "found", "12 m"},
		{"denied", false, 0, "failed", "allow it in the browser"},
		{"two kilometres", true, 2000, "poor", "2 km"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			who := demo.student(t)
			d := device(t, b, chromium.Phone)
			must(t, d.AllowPlace(tc.allow))
			p := newTab(t, d, demo.Client.Base)
			if tc.allow {
				must(t, p.StandAt(latitude, longitude, tc.accuracy))
			}
			p.signIn(who)
			p.await("document.querySelector('.place').dataset.state === '" + tc.state + "'")
			if got := p.text(".place"); !strings.Contains(got, tc.says) {
				t.Errorf("the page says %q", got)
			}
			p.click(tapIn)
			p.becomes("accepted")
			r := once(t, demo, who)
			if !tc.allow {
				if r.Latitude != nil || r.LocationError != "denied" {
					t.Errorf("the record: %+v", r)
				}
				return
			}
			if r.Latitude == nil || r.Longitude == nil || r.Accuracy == nil || r.LocationError != "" ||
				math.Abs(*r.Latitude-latitude) > 1e-6 || math.Abs(*r.Longitude-longitude) > 1e-6 || *r.Accuracy != tc.accuracy {
				t.Errorf("the record: %+v", r)
			}
		})
	}
}

// TestTenTaps: an impatient person gets one record. The ladder says how far the
// decision has spread.
func TestTenTaps(t *testing.T) {
	demo, b := theDemo(t)
	who := demo.student(t)
	p := newTab(t, device(t, b, chromium.Phone), demo.Client.Base)
	p.signIn(who)
	p.live()
	value[int](p, "Array.from({ length: 10 }, () => document.querySelector('"+tapIn+"').click()).length")
	p.await("['accepted', 'duplicate'].includes(" + look + ")")
	for range 3 {
		p.click(tapIn)
	}
	p.becomes("duplicate")
	p.await("document.querySelectorAll('section[data-poll] tbody tr').length === 1")
	once(t, demo, who)
}

// TestLadder: the receipt shows the way of a tap, to the last node.
func TestLadder(t *testing.T) {
	demo, b := theDemo(t)
	p := newTab(t, device(t, b, chromium.Phone), demo.Client.Base)
	p.signIn(demo.student(t))
	p.live()
	p.click(tapIn)
	p.becomes("accepted")
	p.await("document.querySelectorAll('.ladder li').length === 4 && !document.querySelector('.ladder li:not([data-done=true])')")
	if got := p.text(".ladder"); !strings.Contains(got, "3/3 nodes") {
		t.Errorf("the ladder: %q", got)
	}
}

// TestTwoDevices: one person, two phones, two nodes, at the same moment.
func TestTwoDevices(t *testing.T) {
	demo, b := theDemo(t)
	who := demo.student(t)
	var phones []*tab
	for i := range 2 {
		p := newTab(t, device(t, b, chromium.Phone), demo.node(i))
		p.signIn(who)
		p.live()
		phones = append(phones, p)
	}
	for _, p := range phones {
		value[bool](p, "document.querySelector('"+tapIn+"').click() ?? true")
	}
	var looks []string
	for _, p := range phones {
		p.await("['accepted', 'duplicate'].includes(" + look + ")")
		looks = append(looks, value[string](p, look))
	}
	slices.Sort(looks)
	if !slices.Equal(looks, []string{"accepted", "duplicate"}) {
		t.Errorf("the phones say %v", looks)
	}
	r := once(t, demo, who)
	for _, p := range phones {
		// Both name the one time that counts.
		clock := r.FirstSeenAt.In(time.FixedZone("WIB", 7*3600)).Format("15:04:05")
		if got := p.text("#receipt h2"); !strings.Contains(got, clock) {
			t.Errorf("the receipt says %q, the record is of %s", got, clock)
		}
	}
}

// TestOffline: a tap without a connection is kept on the phone, survives the page,
// and is sent when the connection is back.
func TestOffline(t *testing.T) {
	demo, b := theDemo(t)
	who := demo.student(t)
	p := newTab(t, device(t, b, chromium.Phone), demo.Client.Base)
	p.signIn(who)
	p.live()
	p.await("navigator.serviceWorker?.controller")
	must(t, p.GoOffline(true))
	p.await("!navigator.onLine")
	p.click(tapIn)
	p.becomes("waiting")
	if got := demo.records(t, who); len(got) != 0 {
		t.Errorf("a tap without a connection was recorded: %+v", got)
	}
	must(t, p.GoOffline(false))
	p.becomes("accepted")
	r := once(t, demo, who)
	if !r.Offline {
		t.Errorf("the record: %+v", r)
	}
}

// TestOpenedOffline: the page comes up while nothing answers at all, takes the tap,
// and sends it when the node is back.
func TestOpenedOffline(t *testing.T) {
	demo, b := theDemo(t)
	who := demo.student(t)
	p := newTab(t, device(t, b, chromium.Phone), demo.node(2))
	p.signIn(who)
	p.live()
	p.await("navigator.serviceWorker?.controller")
	demo.kill(t, "n3")
	t.Cleanup(func() { demo.back(t) })
	p.open("/")
	p.await("document.querySelector('.checkin')?.dataset.user === '0'")
	p.live()
	p.click(tapIn)
	p.becomes("waiting")
	if script, err := readAxe(); err == nil { // no walk comes by here
		p.examine(script, "the page without a connection")
	}
	demo.back(t)
	p.await("document.querySelector('.checkin')?.dataset.user !== '0'")
	p.await("document.querySelectorAll('section[data-poll] tbody tr').length === 1")
	once(t, demo, who)
}
