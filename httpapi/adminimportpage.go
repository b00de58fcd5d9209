package httpapi

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"regexp"
	"slices"
	"time"

	"hadir/ui"
)

const importPagePath = "/admin/people/import"

// maxUpload is enough for a file of people in base64, and the fields around it.
const maxUpload = maxImport*4/3 + 16<<10

// importPage asks for a file of people.
func importPage(c *call) error {
	if _, err := c.pageQuery(); err != nil {
		return err
	}
	return c.showImport(http.StatusOK, ui.Import{})
}

func (c *call) showImport(status int, d ui.Import) error { return c.screen(status, "admin", d) }

// sendImportPage says what a file would do and, when it is sent again with that
// answer, does it. The file goes back and forth as it is, byte by byte: what was
// checked is what is done.
func sendImportPage(c *call) error {
	fields, err := c.upload("file", "data", "step")
	if err != nil {
		return c.importAgain(nil, err)
	}
	file := fields["file"]
	if data := fields["data"]; len(data) > 0 {
		if file, err = base64.StdEncoding.AppendDecode(nil, data); err != nil {
			return c.importAgain(nil, invalidField("file", "is damaged"))
		}
	}
	if len(file) > maxImport {
		return c.importAgain(nil, newProblem(codeTooLarge, ""))
	}
	m, err := c.importPeople(file, string(fields["step"]) != "apply")
	if err != nil {
		return c.importAgain(file, err)
	}
	d := ui.Import{Report: uiReport(m)}
	if m.dry {
		d.File = base64.StdEncoding.EncodeToString(file)
	}
	return c.showImport(http.StatusOK, d)
}

// importAgain shows the form after nothing was done and, where there is a file
// that can be read, what it would do.
func (c *call) importAgain(file []byte, why error) error {
	form, status, err := c.again("", why)
	if err != nil {
		return err
	}
	d := ui.Import{Form: form}
	for _, e := range problemOf(why).Errors {
		d.Faults = append(d.Faults, reasonOf(e.Reason))
	}
	if file != nil && status >= http.StatusInternalServerError {
		if m, err := c.importPeople(file, true); err == nil {
			d.Report, d.File = uiReport(m), base64.StdEncoding.EncodeToString(file)
		}
	}
	return c.showImport(status, d)
}

// upload reads a form with files: the fields that are known, each at most once.
func (c *call) upload(known ...string) (map[string][]byte, error) {
	media, params, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || media != "multipart/form-data" || params["boundary"] == "" {
		return nil, newProblem(codeUnsupportedType, "Send multipart/form-data.")
	}
	fields := make(map[string][]byte)
	parts := multipart.NewReader(c.r.Body, params["boundary"])
	for range len(known) + 1 {
		var content []byte
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{}) // as in body
			return fields, nil
		}
		if err == nil {
			content, err = io.ReadAll(part)
		}
		if err != nil {
			return nil, uploadProblem(err)
		}
		name := part.FormName()
		if !slices.Contains(known, name) {
			break
		}
		if _, twice := fields[name]; twice {
			return nil, invalidField("", "has a field twice")
		}
		fields[name] = content
	}
	return nil, invalidField("", "has fields that are not known")
}

func uploadProblem(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return newProblem(codeTooLarge, fmt.Sprintf("A body holds at most %d KiB here.", tooLarge.Limit>>10))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return newProblem(codeTimeout, "")
	}
	return invalidField("", "is no form, or ended early")
}

// uiReport gives what became of the lines, those with something wrong first.
func uiReport(m *importer) *ui.Report {
	r := m.report()
	out := &ui.Report{
		Dry: r.DryRun, Lines: r.Rows, Created: r.Created, Updated: r.Updated, Unchanged: r.Unchanged, Errors: r.Errors,
		Unknown: r.Unknown, Skipped: r.Skipped,
	}
	if r.Stopped != nil {
		out.Stopped = string(r.Stopped.Code)
	}
	for i, item := range r.Items {
		row := ui.ImportRow{
			Line: item.Row, Name: m.work[i].name, Email: m.work[i].email, ID: item.ID, Status: item.Status, Field: item.Field,
			Reason: reasonOf(item.Reason),
		}
		switch item.Status {
		case rowCreated, rowUpdated, rowUnchanged:
			out.Fine = append(out.Fine, row)
		default:
			out.Wrong = append(out.Wrong, row)
		}
	}
	return out
}

// reasons are what an import says about lines, with the words of the catalogue
// for them. Of two that match the first one holds.
var reasons = []struct {
	key  string
	says *regexp.Regexp
}{
	{"not_joined", regexp.MustCompile(`^were not joined, though the person is there`)},
	{"not_reached", regexp.MustCompile(`^were not reached, though the person is there`)},
	{"empty_file", regexp.MustCompile(`^is missing: the file is empty`)},
	{"missing", regexp.MustCompile(`^is missing`)},
	{"too_long", regexp.MustCompile(`^is (?:over|longer than) (\d+) bytes`)},
	{"too_short", regexp.MustCompile(`^is shorter than (\d+) bytes`)},
	{"not_utf8", regexp.MustCompile(`^is not (?:in|valid) UTF-8`)},
	{"control", regexp.MustCompile(`^has a control character`)},
	{"quotes", regexp.MustCompile(`^has quotation marks that do not match`)},
	{"columns", regexp.MustCompile(`^has (\d+) columns, and the header (\d+)`)},
	{"column", regexp.MustCompile(`^has the column "(.*)", which is not known`)},
	{"two_columns", regexp.MustCompile(`^has two columns for (.*)`)},
	{"no_column", regexp.MustCompile(`^has no column for (.*)`)},
	{"email", regexp.MustCompile(`^needs the form name@domain`)},
	{"role", regexp.MustCompile(`^is "(.*)", which is neither student, teacher nor admin`)},
	{"twice", regexp.MustCompile(`^is in row (\d+) already`)},
	{"deactivated", regexp.MustCompile(`^is that of somebody who was deactivated`)},
	{"no_group", regexp.MustCompile(`^has "(.*)", which is no group`)},
	{"many_groups", regexp.MustCompile(`^has "(.*)", which is more than one group`)},
	{"taken", regexp.MustCompile(`^is another person's`)},
	{"teaches", regexp.MustCompile(`^does not go with being responsible for a group`)},
	{"last_admin", regexp.MustCompile(`^Nobody would be left to administer`)},
}

// reasonOf finds the words for a reason.
func reasonOf(text string) ui.Reason {
	for _, r := range reasons {
		if found := r.says.FindStringSubmatch(text); found != nil {
			out := ui.Reason{Key: r.key}
			for _, arg := range found[1:] {
				out.Args = append(out.Args, arg)
			}
			return out
		}
	}
	return ui.Reason{Text: text}
}
