package chromium

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/chromedp"
)

// ErrNone says that Chromium is not installed.
var ErrNone = errors.New("no Chromium is installed")

// Find gives the program's path, or ErrNone.
func Find() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNone
}

// Browser is a running Chromium. Its methods may be called concurrently.
type Browser struct {
	ctx     context.Context
	end     []context.CancelFunc
	profile string
}

// Start starts a Chromium without a window and with an empty profile; more options
// are added to the usual ones. It ends with Close, and with this process at the
// latest.
func Start(more ...chromedp.ExecAllocatorOption) (*Browser, error) {
	path, err := Find()
	if err != nil {
		return nil, err
	}
	b := &Browser{}
	if b.profile, err = os.MkdirTemp("", "hadir-chromium-"); err != nil {
		return nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(b.profile), chromedp.DisableGPU, chromedp.NoSandbox,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
	)
	options = append(options, more...)
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	b.end = append(b.end, end)
	b.ctx, end = chromedp.NewContext(allocator)
	b.end = append(b.end, end)
	if err := chromedp.Do(b.ctx); err != nil { // starts it
		b.Close()
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return b, nil
}

// Close ends the browser with all its devices.
func (b *Browser) Close() {
	if len(b.end) > 1 {
		chromedp.Cancel(b.ctx) //nolint:errcheck // it is ended in any case
	}
	for i := len(b.end) - 1; i >= 0; i-- {
		b.end[i]()
	}
	os.RemoveAll(b.profile) //nolint:errcheck // in the system's temporary directory
}

// Device is a phone or a computer: cookies, storage and permissions of its own.
type Device struct {
	first *Page
	id    cdp.BrowserContextID
	spec  Spec
	used  bool
}

// Spec says what device is wanted; the zero Spec is a phone in light colours.
type Spec struct {
	Width, Height int64 // CSS pixels; 390 × 844 when 0
	Scale         float64
	Dark          bool
}

// Phone and Desktop are the usual two.
var (
	Phone   = Spec{Width: 390, Height: 844}
	Desktop = Spec{Width: 1440, Height: 900}
)

// Device makes a new one.
func (b *Browser) Device(spec Spec) (*Device, error) {
	if spec.Width == 0 {
		spec.Width, spec.Height = Phone.Width, Phone.Height
	}
	if spec.Scale == 0 {
		spec.Scale = 1
	}
	d := &Device{spec: spec}
	ctx, end := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	var err error
	if d.first, err = newPage(ctx, end, spec); err != nil {
		end()
		return nil, err
	}
	d.id = chromedp.FromContext(ctx).BrowserContextID
	return d, nil
}

// Page opens another page of the device.
func (d *Device) Page() (*Page, error) {
	if !d.used {
		d.used = true
		return d.first, nil
	}
	ctx, end := chromedp.NewContext(d.first.ctx, chromedp.WithExistingBrowserContext(d.id), chromedp.WithNewWindow(true))
	p, err := newPage(ctx, end, d.spec)
	if err != nil {
		end()
	}
	return p, err
}

// Close throws the device away.
func (d *Device) Close() { d.first.end() }

// AllowPlace says whether pages may know where the device is; before, they would
// have to ask.
func (d *Device) AllowPlace(allow bool) error {
	setting := browser.PermissionSettingDenied
	if allow {
		setting = browser.PermissionSettingGranted
	}
	_, err := chromedp.CallBrowser(d.first.ctx, browser.SetPermission, browser.SetPermissionParams{
		Permission: &browser.PermissionDescriptor{Name: "geolocation"}, Setting: setting, BrowserContextID: d.id,
	})
	return err
}
