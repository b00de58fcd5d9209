package ui

import "time"

// Frame is what every page has around its content.
type Frame struct {
	Lang   Lang
	User   *User // nil for nobody
	Nav    []NavItem
	Active string // key of the item that the page belongs to
	Here   string // address of the page in any language; "" for the first page's
	Pulse  Pulse
}

// NavItem is a page that the user may go to. Its key names its words and icon.
type NavItem struct{ Key, Href string }

// User is who is signed in.
type User struct {
	ID   uint64
	Name string
	Role string // student, teacher or admin
}

// Pulse is the state of the cluster in one line.
type Pulse struct {
	Node    string // that answered
	Leader  string // "" for none
	Voters  int
	Answer  int // voters that answer
	CanLose int
	Stale   bool
}

// SignIn is the first page.
type SignIn struct {
	Email    string
	Error    string // a key of the catalogue; "" for none
	Accounts []Account
}

// Account signs in with one click. Only a demo has any.
type Account struct{ Name, Email, Password, Role string }

// Home is the page of everybody who is signed in.
type Home struct {
	KeyIn, KeyOut string // idempotency keys of the two buttons
	Today         Today
	Epoch         string // of the stream, for Today.Seq
}

// Today is a list of the day, newest first.
type Today struct {
	Now   time.Time // in the site's time zone
	Names bool      // of more than one person
	Rows  []Row
	More  bool // there are more than are shown
	Stale bool
	AsOf  time.Time
	Seq   uint64 // the newest event that the rows know of
}

// Row is one attendance.
type Row struct {
	Name string
	Kind string    // in or out
	At   time.Time // in the site's time zone, as all times here
	Seen time.Time // when first seen, where that is earlier
	Node string
	ID   uint64
	// Where the list is about many people.
	User    uint64 // whose it is
	Offline bool   // it was tapped without a connection
}

// History is somebody's own records, newest day first.
type History struct {
	Days  []Day
	Older string // cursor of the next page; "" for none
	First bool   // the newest page
	Stale bool
}

// Day is the records of one day; it has at least one.
type Day struct{ Rows []Row }

// Groups are groups with today's counts.
type Groups struct {
	Rows             []GroupRow
	Arrived, Present int // of everybody
	Epoch            string
	Seq              uint64
	Stale            bool
}

// GroupRow is one group.
type GroupRow struct {
	ID                        uint64
	Name                      string
	Members, Arrived, Present int
}

// Group is one group's day.
type Group struct {
	ID      uint64
	Name    string
	Now     time.Time
	Members []Member
	Arrived int
	Epoch   string
	Seq     uint64
	Stale   bool
}

// Member is somebody of a group, with the day's first arrival and last departure.
type Member struct {
	ID      uint64
	Name    string
	Active  bool
	In, Out time.Time // zero for not yet
	Node    string
	Offline bool // the arrival was tapped without a connection
}

// Dashboard is the site's day.
type Dashboard struct {
	Now                    time.Time
	Arrived, Present, Left int
	Duplicates, Reviews    int
	Minutes                [][2]int // minute of the day and arrivals in it, in any order
	Rows                   []Row
	Epoch                  string
	Seq                    uint64
	Stale                  bool
}

// Result is what became of a tap.
type Result struct {
	Outcome string // accepted, duplicate, review, rejected, queued, unrecorded or unknown
	Kind    string // in or out
	Reason  string // a word of the state machine; "" for none
	At      time.Time
	Winner  Row // of a duplicate
	Replay  bool
	Key     string
	// How it came about.
	Node, Leader string
	Term, Seq    uint64
	Took         time.Duration
}

// Again reports whether the same tap should be sent once more.
func (r Result) Again() bool { return r.Outcome == "unrecorded" || r.Outcome == "unknown" }

// Cluster is the page of the cluster.
type Cluster struct {
	Now       time.Time
	Node      string
	ID        string
	Leader    string
	Term      uint64
	Quorum    int
	CanLose   int
	Decides   bool // a quorum answers
	Nodes     []Node
	Elections []Election
	Transfer  bool // show what an admin may do
	Demo      bool // show what a demo may do
}

// Node is one member.
type Node struct {
	Name      string
	URL       string
	State     string
	Reachable bool
	Applied   uint64
	Seq       uint64
	Lag       uint64
	Version   string
	Started   time.Time
}

// Election is a change of leader.
type Election struct {
	Term       uint64
	Leader     string
	At         time.Time
	Leaderless time.Duration
}

// Notice is a page that says why there is no other.
type Notice struct {
	Status  int
	Code    string // of the problem
	Request string // id
}
