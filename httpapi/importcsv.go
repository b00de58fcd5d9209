package httpapi

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"hadir/attendance"
	"hadir/httpapi/password"
)

// The columns of a file of people, by the words that its header may use for
// them. Name, email and role must be there.
var importColumns = map[string]column{
	"name": nameColumn, "full name": nameColumn, "nama": nameColumn, "nama lengkap": nameColumn,
	"email": emailColumn, "e-mail": emailColumn, "surel": emailColumn, "alamat email": emailColumn,
	"role": roleColumn, "peran": roleColumn,
	"password": wordColumn, "kata sandi": wordColumn, "sandi": wordColumn,
	"group": groupsColumn, "groups": groupsColumn, "class": groupsColumn, "kelas": groupsColumn, "grup": groupsColumn,
	"kelompok": groupsColumn,
}

type column int

const (
	nameColumn column = iota
	emailColumn
	roleColumn
	wordColumn
	groupsColumn
	columns // how many there are
)

var columnWords = [columns]string{"name", "email", "role", "password", "groups"}

// importRoles are the words for a role.
var importRoles = map[string]attendance.Role{
	"student": attendance.Student, "siswa": attendance.Student, "murid": attendance.Student, "mahasiswa": attendance.Student,
	"teacher": attendance.Teacher, "guru": attendance.Teacher, "dosen": attendance.Teacher,
	"admin": attendance.Admin, "administrator": attendance.Admin,
}

// importRow is a line about a person. Whatever is wrong with it is in wrong.
type importRow struct {
	line   int // in the file, from 1; the header counts
	name   string
	email  string
	role   attendance.Role
	word   string   // password; "" for none
	groups []string // names
	wrong  *fieldError
}

const (
	maxImport     = 2 << 20
	maxImportRows = 5_000
	byteOrderMark = "\ufeff"
	groupDivider  = "|"
)

// parseImport reads a file of people. Each line stands for itself, so that a
// quotation mark that is never closed spoils one of them and not the rest; a
// line break inside of quotation marks is therefore not understood. The error is
// about the file as a whole, which may hold so many people.
func parseImport(file []byte, most int) ([]importRow, error) {
	var header *importHeader
	var rows []importRow
	line := 0
	for raw := range bytes.Lines(bytes.TrimPrefix(file, []byte(byteOrderMark))) {
		line++
		text := strings.TrimRight(string(raw), "\r\n")
		if strings.Trim(text, " ;,\t") == "" {
			continue // a spreadsheet's empty row
		}
		if header == nil {
			if len(text) == len("sep=;") && strings.HasPrefix(text, "sep=") {
				continue // a note of Excel's to itself
			}
			var err error
			if header, err = parseImportHeader(text); err != nil {
				return nil, err
			}
			continue
		}
		if len(rows) == most {
			return nil, newProblem(codeTooLarge, fmt.Sprintf("A file holds at most %d people. Send it in parts, each with the header.", most))
		}
		rows = append(rows, header.row(line, text))
	}
	if header == nil {
		return nil, invalidField("header", "is missing: the file is empty")
	}
	return rows, nil
}

// importHeader says where which column is.
type importHeader struct {
	comma rune
	place [columns]int // -1 for a column that is not there
	width int
}

func parseImportHeader(text string) (*importHeader, error) {
	if !utf8.ValidString(text) {
		return nil, invalidField("header", "is not in UTF-8: save the file as CSV UTF-8")
	}
	h := &importHeader{comma: ','}
	for _, comma := range ";\t" {
		if strings.Count(text, string(comma)) > strings.Count(text, string(h.comma)) {
			h.comma = comma
		}
	}
	cells, ok := h.cells(text)
	if !ok {
		return nil, invalidField("header", "has quotation marks that do not match")
	}
	for i := range h.place {
		h.place[i] = -1
	}
	h.width = len(cells)
	var wrong []fieldError
	for i, cell := range cells {
		at, known := importColumns[strings.ToLower(cell)]
		switch {
		case cell == "" && i == len(cells)-1: // a separator at the end of the line
		case !known:
			wrong = append(wrong, fieldError{"header", fmt.Sprintf("has the column %q, which is not known", shorten(cell))})
		case h.place[at] >= 0:
			wrong = append(wrong, fieldError{"header", fmt.Sprintf("has two columns for %s", columnWords[at])})
		default:
			h.place[at] = i
		}
	}
	for _, must := range []column{nameColumn, emailColumn, roleColumn} {
		if h.place[must] < 0 {
			wrong = append(wrong, fieldError{"header", "has no column for " + columnWords[must]})
		}
	}
	if wrong != nil {
		return nil, invalidBody(wrong[:min(len(wrong), maxFieldErrors)]...)
	}
	return h, nil
}

// cells takes a line apart.
func (h *importHeader) cells(text string) (cells []string, ok bool) {
	in := csv.NewReader(strings.NewReader(text))
	in.Comma, in.FieldsPerRecord = h.comma, -1
	cells, err := in.Read()
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	return cells, err == nil
}

// row reads a line. The first thing that is wrong with it is told.
func (h *importHeader) row(line int, text string) importRow {
	r := importRow{line: line}
	wrong := func(field, reason string) {
		if reason != "" && r.wrong == nil {
			r.wrong = &fieldError{field, reason}
		}
	}
	if !utf8.ValidString(text) {
		wrong("", "is not in UTF-8: save the file as CSV UTF-8")
		return r
	}
	cells, ok := h.cells(text)
	if !ok {
		wrong("", "has quotation marks that do not match")
		return r
	}
	if len(cells) > h.width && strings.Join(cells[h.width:], "") != "" {
		wrong("", fmt.Sprintf("has %d columns, and the header %d", len(cells), h.width))
		return r
	}
	cell := func(c column) string {
		if at := h.place[c]; at >= 0 && at < len(cells) {
			return cells[at]
		}
		return ""
	}
	if r.name = cell(nameColumn); r.name == "" {
		wrong("name", "is missing")
	}
	wrong("name", nameFault(r.name))
	if r.email = cell(emailColumn); r.email == "" {
		wrong("email", "is missing")
	}
	wrong("email", emailFault(r.email))
	word := cell(roleColumn)
	if r.role, ok = importRoles[strings.ToLower(word)]; word == "" {
		wrong("role", "is missing")
	} else if !ok {
		wrong("role", fmt.Sprintf("is %q, which is neither student, teacher nor admin", shorten(word)))
	}
	if r.word = cell(wordColumn); r.word != "" {
		wrong("password", passwordFault(r.word))
		if len(r.word) > password.MaxLen {
			wrong("password", fmt.Sprintf("is longer than %d bytes", password.MaxLen))
		}
	}
	for name := range strings.SplitSeq(cell(groupsColumn), groupDivider) {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(r.groups, name) {
			r.groups = append(r.groups, name)
		}
	}
	return r
}

// shorten keeps what is quoted back short.
func shorten(s string) string {
	if len(s) <= 40 {
		return s
	}
	return strings.ToValidUTF8(s[:40], "") + "…"
}
