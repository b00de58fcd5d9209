package chromium

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"hadir/tests/system/harness"
)

// Page is one tab, in a window of its own: it counts as seen. One goroutine uses it.
type Page struct {
	ctx context.Context
	end context.CancelFunc

	mu     sync.Mutex
	faults []string
	held   chan *Held // nil while nothing is held
	stream string
}

// actTime bounds one action of a page that does what it should.
const actTime = 20 * time.Second

func newPage(ctx context.Context, end context.CancelFunc, spec Spec) (*Page, error) {
	p := &Page{ctx: ctx, end: end}
	if err := chromedp.Listen(ctx, p.hear); err != nil {
		return nil, err
	}
	return p, errors.Join(
		call(p, log.Enable, cdp.Empty{}),
		call(p, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}),
		p.Become(spec),
	)
}

// call sends a command of the protocol that answers nothing of interest.
func call[P, R any](p *Page, cmd cdp.Command[P, R], params P) error {
	ctx, cancel := context.WithTimeout(p.ctx, actTime)
	defer cancel()
	_, err := chromedp.Call(ctx, cmd, params)
	return err
}

// hear keeps what the page complains of.
func (p *Page) hear(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if thrown := e.ExceptionDetails.Exception; thrown != nil {
			text += " " + thrown.Description
		}
		p.faults = append(p.faults, "exception: "+text)
	case *log.EventEntryAdded:
		// A request that failed is no fault of the page.
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			p.faults = append(p.faults, fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL))
		}
	case *network.EventWebSocketFrameReceived:
		var hello struct{ T, Node string }
		if json.Unmarshal(e.Response.PayloadData, &hello) == nil && hello.T == "hello" {
			p.stream = hello.Node
		}
	case *fetch.EventRequestPaused:
		if p.held != nil {
			p.held <- &Held{page: p, id: e.RequestID}
		}
	}
}

// Faults gives what the page has complained of: exceptions and breaches of policy.
func (p *Page) Faults() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.faults)
}

// Stream gives the node that the page's newest stream is from; "" before there is one.
func (p *Page) Stream() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stream
}

// Become changes the size and the colour scheme.
func (p *Page) Become(spec Spec) error {
	scheme := "light"
	if spec.Dark {
		scheme = "dark"
	}
	mobile := spec.Width < 600
	return errors.Join(
		call(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: spec.Width, Height: spec.Height, DeviceScaleFactor: max(spec.Scale, 1), Mobile: mobile,
		}),
		call(p, emulation.SetTouchEmulationEnabled, emulation.SetTouchEmulationEnabledParams{Enabled: mobile}),
		call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{
				{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
			},
		}),
	)
}

// StandAt puts the device somewhere; accuracy is in metres.
func (p *Page) StandAt(latitude, longitude, accuracy float64) error {
	return call(p, emulation.SetGeolocationOverride, emulation.SetGeolocationOverrideParams{
		Latitude: &latitude, Longitude: &longitude, Accuracy: &accuracy,
	})
}

// GoOffline takes the connection away, or gives it back.
func (p *Page) GoOffline(offline bool) error {
	worker := offline
	rules := []*network.Conditions{{Offline: offline, DownloadThroughput: -1, UploadThroughput: -1}}
	return errors.Join(
		call(p, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
			MatchedNetworkConditions: rules, EmulateOfflineServiceWorker: &worker,
		}),
		call(p, network.OverrideNetworkState, network.OverrideNetworkStateParams{
			Offline: offline, DownloadThroughput: -1, UploadThroughput: -1,
		}),
	)
}

// Open goes to an address and gives the status of the answer. An answer out of the
// service worker has one too.
func (p *Page) Open(address string) (status int, err error) {
	ctx, cancel := context.WithTimeout(p.ctx, actTime)
	defer cancel()
	answer, err := chromedp.Run(ctx, chromedp.NavigateResponse(address))
	if err != nil {
		return 0, fmt.Errorf("open %s: %w", address, err)
	}
	if answer == nil {
		return 0, nil
	}
	return int(answer.Status), nil
}

// Eval gives the value of an expression of JavaScript, which may be a promise.
func Eval[T any](p *Page, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, actTime)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// Await waits until an expression of JavaScript is true.
func (p *Page) Await(ctx context.Context, expression string) error {
	return harness.Await(ctx, func() error {
		ok, err := Eval[bool](p, "!!("+expression+")")
		if err != nil {
			return err // a page that is being left has no value
		}
		if !ok {
			return fmt.Errorf("not so: %s", expression)
		}
		return nil
	})
}

// middle gives where to press an element: its middle, once it is in sight and nothing
// lies over it.
const middle = `(() => {
	const el = document.querySelector(%q);
	if (!el || el.disabled) return [];
	el.scrollIntoView({ block: "center", behavior: "instant" });
	const box = el.getBoundingClientRect();
	const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
	if (!el.contains(document.elementFromPoint(x, y))) return [];
	window.pressed = false;
	el.addEventListener("click", () => (window.pressed = true), { once: true, capture: true });
	return [x, y];
})()`

// pressed is true also on the page that the click has led to.
const pressed = "window.pressed !== false"

// Click waits until the element can be pressed, and presses it.
func (p *Page) Click(selector string) error {
	ctx, cancel := context.WithTimeout(p.ctx, actTime)
	defer cancel()
	err := harness.Await(ctx, func() error {
		at, err := Eval[[]float64](p, fmt.Sprintf(middle, selector))
		if err != nil {
			return err
		}
		if len(at) != 2 {
			return errors.New("it is not there, or something lies over it")
		}
		if err := chromedp.Do(ctx, chromedp.MouseClickXY(at[0], at[1])); err != nil {
			return err
		}
		// The page may have moved under the finger.
		if hit, err := Eval[bool](p, pressed); err == nil && !hit {
			return errors.New("it was not where it had been")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("click %s: %w", selector, err)
	}
	return nil
}

// Type types into a field.
func (p *Page) Type(selector, text string) error {
	ctx, cancel := context.WithTimeout(p.ctx, actTime)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.SendKeys(chromedp.CSS(selector), text, chromedp.NodeVisible)); err != nil {
		return fmt.Errorf("type into %s: %w", selector, err)
	}
	return nil
}

// Text gives what somebody reads in an element; "" when there is none.
func (p *Page) Text(selector string) (string, error) {
	text, err := Eval[string](p, fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
	return strings.TrimSpace(text), err
}

// Screenshot gives as PNG what can be seen without scrolling.
func (p *Page) Screenshot() ([]byte, error) {
	ctx, cancel := context.WithTimeout(p.ctx, actTime)
	defer cancel()
	shot, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatPng})
	return shot.Data, err
}

// Whole gives the page as PNG as a screen would show it that is high enough, but not
// higher than most, in CSS pixels. The size of the window is spec's again afterwards.
func (p *Page) Whole(spec Spec, most int64) ([]byte, error) {
	height, err := Eval[int64](p, "document.documentElement.scrollHeight")
	if err != nil {
		return nil, err
	}
	tall := spec
	tall.Height = max(spec.Height, min(height, most))
	if err := p.Become(tall); err != nil {
		return nil, err
	}
	shot, err := p.Screenshot()
	return shot, errors.Join(err, p.Become(spec))
}

// Held is an answer that has arrived at the browser and not at the page.
type Held struct {
	page *Page
	id   fetch.RequestID
}

// Hold stops the answers to requests whose address has this form, with * for
// anything, on their way to the page.
func (p *Page) Hold(pattern string) (<-chan *Held, error) {
	p.mu.Lock()
	p.held = make(chan *Held, 16)
	held := p.held
	p.mu.Unlock()
	return held, call(p, fetch.Enable, fetch.EnableParams{
		Patterns: []*fetch.RequestPattern{{URLPattern: pattern, RequestStage: fetch.RequestStageResponse}},
	})
}

// Lose tells the page that the connection broke, and holds nothing any more.
func (h *Held) Lose() error {
	return errors.Join(
		call(h.page, fetch.FailRequest, fetch.FailRequestParams{RequestID: h.id, ErrorReason: network.ErrorReasonConnectionReset}),
		call(h.page, fetch.Disable, cdp.Empty{}),
	)
}
