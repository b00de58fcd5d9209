package ui

import "io"

// Docs is the documentation of the HTTP interface. Its texts are the contract's
// own, in English whatever the language of the page; a text is plain.
type Docs struct {
	Title   string
	Version string
	Link    string   // to the machine-readable form
	Intro   []string // paragraphs
	Areas   []DocArea
	Shapes  []DocShape
}

// DocArea is a group of operations.
type DocArea struct {
	ID         string // of the section in the page
	Name       string
	Says       string
	Operations []DocOperation
}

// DocOperation is one method of one path.
type DocOperation struct {
	ID       string
	Method   string
	Path     string
	Summary  string
	Detail   string
	Public   bool
	Access   []DocAccess // of those who may
	Params   []DocField
	Body     *DocBody
	Answers  []DocAnswer
	Problems []DocProblem
}

// DocAccess is how far a kind of visitor gets.
type DocAccess struct {
	Kind  string // student, teacher, admin or device
	Reach string // own, group or all; "" where the route is about nobody
}

// DocField is a parameter or a field of a body.
type DocField struct {
	Name     string
	Where    string // path, query or header; "" for a field of a body
	Type     DocType
	Optional bool
	Says     string
}

// DocType is a type in words and, where it is a shape, its section.
type DocType struct {
	Text string // such as "array of", "integer 1 … 200" or "in | out"
	Link string // the id of a shape's section; "" for none
	Name string // of the shape
}

// DocBody is the body of a request or an answer.
type DocBody struct {
	Media   string
	Type    DocType
	Fields  []DocField
	Example string
}

// DocAnswer is an answer that is no problem.
type DocAnswer struct {
	Status  string
	Says    string
	Headers []string // names of the fields that mean something here
	Bodies  []DocBody
}

// DocProblem is a status and the codes that come with it.
type DocProblem struct {
	Status string
	Codes  []string
}

// DocShape is an object that several bodies hold.
type DocShape struct {
	ID     string
	Name   string
	Fields []DocField
}

// Docs renders the documentation of the HTTP interface.
func (p *Pages) Docs(w io.Writer, f Frame, d Docs) error { return p.render(w, "docs", f, d) }
