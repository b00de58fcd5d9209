package ui

import (
	"io"
	"slices"
	"time"
)

// Screen is the data of a page that names its own template.
type Screen interface{ template() string }

// Screen renders the page.
func (p *Pages) Screen(w io.Writer, f Frame, d Screen) error { return p.render(w, d.template(), f, d) }

// Form is what every form has beside its fields: the key under which it is
// decided once, however often it is sent, and why it was not done the last time.
type Form struct {
	Key     string
	Trouble string   // code of the problem; "" for none
	Wrong   []string // names of the fields that are wrong
}

// On gives the name of a field if it is wrong, and "" otherwise.
func (f Form) On(field string) string {
	if slices.Contains(f.Wrong, field) {
		return field
	}
	return ""
}

// Link leads to another page.
type Link struct{ Name, Href string }

// Hub says what there is for those who administer.
type Hub struct{ Items []HubItem }

// HubItem is one thing of the hub. Its key names its words.
type HubItem struct {
	Key, Href string
	Count     uint64
	Counted   bool // Count is something
	Urgent    bool // and somebody should look
}

// Tabs lead from one list for staff to the others.
type Tabs struct {
	Admin   bool // the visitor has the hub
	Items   []NavItem
	Current string // key of an item
}

// Records are attendances of many people, newest day first.
type Records struct {
	Tabs   Tabs
	Form   Form // its key is not used: nothing is changed here
	Filter RecordFilter
	Person string // whose records these are; "" for everybody's
	Days   []Day
	Newest string // address of the first page; "" on it
	Older  string // address of the next page; "" for none
	CSV    string // address of the whole list
	Sparse bool   // the search has not come to the end of what there is, and the page is not full
	Stale  bool
}

// RecordFilter is what was asked for, as it was written.
type RecordFilter struct {
	Date, From, To, Name, Kind, Node string
	User                             uint64 // 0 for everybody
	Nodes                            []string
}

// People are people, by id.
type People struct {
	Form           Form // of somebody new
	New            Person
	Done           string // what was done just before; "" for nothing
	Query          string
	Role, Active   string
	Rows           []Person
	Total          uint64 // of everybody; 0 where it is not known
	Newest, Older  string // addresses of other pages; "" for none
	Narrowed, Open bool   // by a filter; the form is to be seen
	Stale          bool
}

// Person is somebody.
type Person struct {
	ID          uint64
	Name, Email string
	Role        string // student, teacher or admin
	Active      bool
}

// PersonPage is one person, and what may be done to them.
type PersonPage struct {
	Form             Form
	Act              string // the form that was sent: edit, password, sessions or active; "" for none
	Done             string
	Person           Person // as they are
	Edit             Person // as the form says
	Self             bool   // who looks
	HasPassword      bool
	Created, Updated time.Time
	Groups           []Membership
	Stale            bool
}

// Membership is how somebody belongs to a group.
type Membership struct {
	ID   uint64
	Name string
	As   string // member or teacher
}

// Import is a file of people, and what comes of it.
type Import struct {
	Form   Form
	Faults []Reason // why the file cannot be read
	Report *Report  // nil before there is a file
	File   string   // the file itself, in base64, to be sent again
}

// Report is what becomes of each line of a file.
type Report struct {
	Dry                                                          bool
	Lines, Created, Updated, Unchanged, Errors, Unknown, Skipped int
	Stopped                                                      string      // code of what kept it from its end
	Wrong, Fine                                                  []ImportRow // lines that were not done, and the others
}

// ImportRow is one line.
type ImportRow struct {
	Line        int
	Name, Email string // as the file says, where that could be read
	ID          uint64 // of the person; 0 for none
	Status      string
	Field       string // column that is wrong; "" for none
	Reason      Reason
}

// Reason says what is wrong with a line: a key of the catalogue with what belongs
// into it, or plain text where there is none.
type Reason struct {
	Key  string
	Args []any
	Text string
}

// GroupList are all groups, for those who change them.
type GroupList struct {
	Form          Form // of a new one
	Done          string
	Name, Kind    string // of the new one
	Query, Only   string // filters
	Rows          []AdminGroup
	Total         uint64
	Newest, Older string
	Narrowed      bool
	Open          bool
	Stale         bool
}

// AdminGroup is a group.
type AdminGroup struct {
	ID                uint64
	Name              string
	Kind              string // class or department
	Members, Teachers uint64
}

// GroupPage is one group, and what may be done to it.
type GroupPage struct {
	Form              Form
	Act               string // the form that was sent: edit, add, remove or delete; "" for none
	Done              string
	Group             AdminGroup // as it is
	Edit              AdminGroup // as the form says
	Members, Teachers []Person
	Newest, Older     string // addresses of other pages of members
	Who, As           string // of the form that adds people
	Matches           []Match
	Stale             bool
}

// Match is a line of somebody's text and who may be meant by it: nobody, or more
// than one person.
type Match struct {
	Line   string
	People []Person
	More   bool // there are more than are shown
}

// Audit are events, newest first.
type Audit struct {
	Form               Form
	Person, Type, Node string // filters, as they were written
	Types, Nodes       []string
	People             []Link // who may be meant, when that is not clear
	Rows               []Event
	Newest, Older      string
	Sparse             bool
	At                 uint64 // the event that is shown open; 0 for none
	Seq                uint64 // the newest event of all
	Chain              string // hash over all events up to it
	Stale              bool
}

// Event is one event.
type Event struct {
	Seq       uint64
	Type      string
	Tone      string // good, same, warn, bad or plain
	At        time.Time
	Node      string
	Person    string // whom it is about; "" for nobody
	User      uint64 // and their id
	Principal string // who asked, such as user:7
	Asked     string // and their name; "" where that is nobody's
	Raw       string // JSON
}

// Reviews wait for a person, oldest first.
type Reviews struct {
	Tabs          Tabs
	Form          Form
	Decide        bool   // the visitor may decide
	Done          string // what became of the one before
	At            uint64 // the review that the form was about; 0 for none
	Note          string // and what was written there
	Rows          []Review
	Newest, Older string
	Stale         bool
}

// Review is a tap that waits.
type Review struct {
	Seq      uint64
	For      string // tap or claim
	Name     string
	User     uint64
	Kind     string
	Node     string
	Reason   string // a word of the state machine; "" for none
	Received time.Time
	Claimed  time.Time // zero for none
	Trusted  bool      // the claim is plausible
	Record   time.Time // of the record whose time the claim would change; zero for none
	Key      string
}

// Journal is what one node refused at its door.
type Journal struct {
	Node          string
	Rows          []JournalRow
	Newest, Older string
	Others        []Link // the other nodes' journals
}

// JournalRow is one attempt, or a summary of Count of them.
type JournalRow struct {
	No          uint64
	First, Last time.Time
	Count       uint64
	Why         string // a problem's word, sign_in_failed or replayed
	Status      uint64
	From        string
	Who         string // such as user:7; "" for nobody
	Name        string // of the person; "" where it is none
	Tried       string
	Action      string
	Key         string
	Request     string
}

// Params are the parameters of the rule.
type Params struct {
	Form    Form
	Done    string
	Seen    string   // stands for what the form was made from
	Sizes   []Amount // in the order in which they are shown
	Margin  string
	Zone    string
	Zones   []string
	Changes []Change // to be confirmed; nil for none
	Same    bool     // nothing would change
	Now     time.Time
	Stale   bool
}

// Amount is a duration, as a form has it.
type Amount struct {
	Name  string // of the field, and of its words
	Value string
	Unit  string
	Units []string
}

// Change is a parameter before and after.
type Change struct {
	Name          string
	Before, After Quantity
}

// Quantity is an amount with its unit, or a name without one.
type Quantity struct {
	Value string
	Unit  string // "" for none
}

// Tokens are the devices that may act.
type Tokens struct {
	Form   Form
	Done   string
	Name   string   // of the new one
	Groups []Choice // for whose people it may act
	Secret string   // of the one that was just made; "" for none
	Made   string   // its name
	Lost   bool     // it was made before, and its secret is not known any more
	Rows   []Token
	Newest string
	Older  string
	Open   bool
	Stale  bool
}

// Choice is something that may be picked.
type Choice struct {
	ID     uint64
	Name   string
	Picked bool
}

// Token is a device.
type Token struct {
	ID        uint64
	Name      string
	Groups    []string // names
	Everybody bool     // it acts for everybody, and names no groups
	Revoked   bool
	Created   time.Time
}

// Online is who is connected.
type Online struct {
	Tabs        Tabs
	Connections int
	Rows        []OnlinePerson
	More        bool // there are more than are shown
	Stale       bool
}

// OnlinePerson is somebody with an open page or program.
type OnlinePerson struct {
	ID    uint64
	Name  string
	Nodes []string
	Times int // connections
}

// Fields are those of the form for somebody new.
func (d People) Fields() PersonFields { return PersonFields{d.Form, d.New} }

// Fields are those of the form that edits somebody; other forms have their own.
func (d PersonPage) Fields() PersonFields {
	if d.Act != "edit" {
		return PersonFields{Form{Key: d.Form.Key}, d.Edit}
	}
	return PersonFields{d.Form, d.Edit}
}

// PersonFields are the fields that everybody has.
type PersonFields struct {
	Form   Form
	Person Person
}

// Fields are those of the form for a new group.
func (d GroupList) Fields() GroupFields { return GroupFields{d.Form, d.Name, d.Kind} }

// Fields are those of the form that edits a group; other forms have their own.
func (d GroupPage) Fields() GroupFields {
	if d.Act != "edit" {
		return GroupFields{Form{Key: d.Form.Key}, d.Edit.Name, d.Edit.Kind}
	}
	return GroupFields{d.Form, d.Edit.Name, d.Edit.Kind}
}

// GroupFields are the fields that every group has.
type GroupFields struct {
	Form       Form
	Name, Kind string
}

// Leave is the form with which people leave a group, as what they are in it.
func (d GroupPage) Leave(as string) LeaveForm {
	if as == "teacher" {
		return LeaveForm{d.Form.Key, d.Group.ID, as, d.Teachers}
	}
	return LeaveForm{d.Form.Key, d.Group.ID, as, d.Members}
}

// LeaveForm lists people who may be taken out of a group.
type LeaveForm struct {
	Key    string
	Group  uint64
	As     string // member or teacher
	People []Person
}

// OnlinePart renders the list alone.
func (p *Pages) OnlinePart(w io.Writer, f Frame, d Online) error {
	return p.render(w, "onlinelist", f, d)
}

func (Hub) template() string        { return "admin" }
func (Records) template() string    { return "records" }
func (People) template() string     { return "people" }
func (PersonPage) template() string { return "person" }
func (Import) template() string     { return "import" }
func (GroupList) template() string  { return "admingroups" }
func (GroupPage) template() string  { return "admingroup" }
func (Audit) template() string      { return "audit" }
func (Reviews) template() string    { return "reviews" }
func (Journal) template() string    { return "journal" }
func (Params) template() string     { return "params" }
func (Tokens) template() string     { return "tokens" }
func (Online) template() string     { return "online" }
