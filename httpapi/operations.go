package httpapi

import (
	"net/http"

	"hadir/httpapi/openapi"
	"hadir/store"
)

// Parameters that many operations have.
var (
	limitParam = param{name: "limit", says: "How many items a page holds.", schema: withDefault(integer(1, store.MaxPage), defaultLimit)}
	pageParam  = param{name: "cursor", says: "The next_cursor of the page before.", schema: openapi.String()}
	keyParam   = param{
		name: "Idempotency-Key", in: "header", schema: openapi.String(),
		says: "A UUID or a ULID of the client's own. Without one the node makes one, and a lost answer cannot be asked for again.",
	}
	freshParams = []param{
		{name: "min_index", says: "See at least as much as an answer with this X-Hadir-Index: read one's own writes on any node.", schema: integer(0, maxID)},
		{name: "max_stale_ms", says: "Refuse an answer that may be older than this.", schema: integer(1, maxStaleMS)},
		{name: "consistency", says: "strong asks the leader first, so that nothing that was decided before is missing.", schema: withDefault(words("local", "strong"), "local")},
	}
)

func withDefault(s *openapi.Schema, v any) *openapi.Schema {
	s.Default = v
	return s
}

// reading gives the parameters of a read.
func reading(params ...param) []param { return append(params, freshParams...) }

// listing gives those of a list.
func paging(params ...param) []param { return reading(append(params, limitParam, pageParam)...) }

// Shapes of requests. They are read field by field (object.go), never into these.
type (
	signInRequest struct {
		Email    string `json:"email"`
		Password string `json:"password"`
	}
	checkInRequest struct {
		Type          string   `json:"type"`
		UserID        uint64   `json:"user_id,omitempty"`
		Latitude      *decimal `json:"latitude,omitempty"`
		Longitude     *decimal `json:"longitude,omitempty"`
		Accuracy      *decimal `json:"accuracy_m,omitempty"`
		LocationError string   `json:"location_error,omitempty"`
		ClientTime    *stamp   `json:"client_time,omitempty"`
		Offline       bool     `json:"offline,omitempty"`
	}
)

// Shapes of requests about people.
type (
	newUserRequest struct {
		Name     string `json:"name"`
		Email    string `json:"email"`
		Role     string `json:"role"`
		Active   bool   `json:"active,omitempty"`
		Password string `json:"password,omitempty"`
	}
	userRequest struct {
		Name   string `json:"name,omitempty"`
		Email  string `json:"email,omitempty"`
		Role   string `json:"role,omitempty"`
		Active bool   `json:"active,omitempty"`
	}
	passwordRequest struct {
		Password string `json:"password"`
		Current  string `json:"current_password,omitempty"`
	}
	newGroupRequest struct {
		Name     string   `json:"name"`
		Kind     string   `json:"kind"`
		Members  []uint64 `json:"members,omitempty"`
		Teachers []uint64 `json:"teachers,omitempty"`
	}
	groupRequest struct {
		Name           string   `json:"name,omitempty"`
		Kind           string   `json:"kind,omitempty"`
		Members        []uint64 `json:"members,omitempty"`
		AddMembers     []uint64 `json:"add_members,omitempty"`
		RemoveMembers  []uint64 `json:"remove_members,omitempty"`
		Teachers       []uint64 `json:"teachers,omitempty"`
		AddTeachers    []uint64 `json:"add_teachers,omitempty"`
		RemoveTeachers []uint64 `json:"remove_teachers,omitempty"`
	}
	tokenRequest struct {
		Name   string   `json:"name"`
		Groups []uint64 `json:"groups,omitempty"`
	}
)

var groupProblems = []code{codeGroupFull, codeNotATeacher, codeUnknownUser, codeUnknownGroup, codePartlyDone}

// operations are by method and path, without the prefix.
var operations = map[string]operation{
	"POST /session": {
		summary: "Sign in",
		detail:  "Whether the address is unknown or the password wrong cannot be told apart. Failed attempts are limited.",
		body:    signInRequest{}, example: `{"email":"ani@sekolah.test","password":"rahasia"}`,
		answers: []outcome{{status: http.StatusOK, says: "Signed in.", shape: sessionJSON{}, header: []string{"Set-Cookie"}, example: `{"token":"hs1.AAAA","expires_at":"2026-12-23T06:58:14.011Z","user":` + userExample + `}`}},
		codes:   append([]code{codeUnauthenticated, codeRateLimited}, readProblems...),
	},
	"GET /session": {
		summary: "Who is signed in",
		answers: []outcome{{status: http.StatusOK, says: "The session; without its token.", shape: sessionJSON{}}},
	},
	"DELETE /session": {
		summary: "Sign out",
		detail:  "The cookie is forgotten. everywhere=true ends all sessions of the user, which takes a decision.",
		params:  []param{{name: "everywhere", says: "End all sessions.", schema: boolean()}},
		act:     changes,
		answers: []outcome{{status: http.StatusNoContent, says: "Signed out.", header: []string{"Set-Cookie"}}},
	},

	"POST /checkins": {
		summary: "Check in or out",
		detail: "Decided once, whichever node takes it and however often it is sent. Send the same request under the same key until there is an answer " +
			"that is no 503: 201, 409, 202 and 422 are final.",
		act:  changes,
		body: checkInRequest{},
		example: `{"type":"in","latitude":-6.2009,"longitude":106.8451,"accuracy_m":18,` +
			`"client_time":"2026-11-23T06:58:13.902Z","user_id":7}`,
		answers: []outcome{
			{status: http.StatusCreated, says: "Accepted: there is a record.", shape: decisionJSON{}, is: "accepted", header: []string{"Location"}, example: `{"status":"accepted","key":"` + sampleKey + `","seq":10482,"attendance":` + attendanceExample + `,"sync":` + syncExample + `}`},
			{status: http.StatusConflict, says: "A duplicate: too near to the record that it names.", shape: decisionJSON{}, is: "duplicate", example: `{"status":"duplicate","key":"` + sampleKey + `","seq":10483,"attendance":` + attendanceExample + `,"delta_ms":1200,"sync":` + syncExample + `}`},
			{status: http.StatusAccepted, says: "Kept for a person to decide (review), or recorded on the disks that copies names and not decided yet (queued).", shape: kept{}, example: `{"status":"review","reason":"too_old","key":"` + sampleKey + `","seq":10484,"sync":` + syncExample + `}`},
			{status: http.StatusUnprocessableEntity, says: "Refused: by a rule, or because the key stands for another request.", shape: decisionJSON{}, is: "rejected", example: `{"status":"rejected","code":"key_reused","reason":"key_reused","detail":"The key stands for another request. Use a new key for a new check-in.","key":"` + sampleKey + `","seq":10482}`},
		},
	},
	"GET /checkins/{key}": {
		summary: "What became of a check-in",
		detail: "From any node. 404 means no more than that neither this node nor any that it can reach knows the key. " +
			"While it is queued there is no decision yet.",
		params:  reading(param{name: "user_id", says: "Who sent it; oneself when it is absent.", schema: integer(1, maxID)}),
		answers: []outcome{{status: http.StatusOK, says: "The first decision, or where the check-in waits for one.", shape: lookedUp{}}},
	},

	"GET /attendances": {
		summary: "Records, newest first",
		params: paging(
			param{name: "date", says: "A day of the site, such as 2026-11-23.", schema: day()},
			param{name: "from", says: "The first day.", schema: day()},
			param{name: "to", says: "The last day.", schema: day()},
			param{name: "user_id", says: "Of one person.", schema: integer(1, maxID)},
			param{name: "type", says: "In or out.", schema: words(kindNames...)},
			param{name: "node_id", says: "Taken by one node.", schema: openapi.String()},
			param{name: "q", says: "Of people whose name contains this.", schema: openapi.String()},
			param{name: "format", says: "As Accept would say it, for a link.", schema: words("json", "csv")},
		),
		detail: "Accept: text/csv gives the whole list as one file, with names, and without limit and cursor. A file that ends without the end of " +
			"its chunks is not whole.",
		answers: []outcome{
			{status: http.StatusOK, says: "A page.", shape: listJSON[attendanceJSON]{}, header: []string{"Vary", "Content-Disposition", "X-Hadir-As-Of", "X-Hadir-Stale"}},
			{status: http.StatusOK, says: "Or the file.", shape: "", media: mediaCSV, example: "id,user_id,name,…\r\n10482,7,Ani,…\r\n"},
		},
	},
	"GET /attendances/{id}": {
		summary: "One record",
		params:  reading(),
		answers: []outcome{{status: http.StatusOK, says: "The record, with the current first_seen_at.", shape: attendanceStateJSON{}}},
	},
	"GET /attendances/{id}/logs": {
		summary: "The trail of a record",
		detail:  "The event that made it and all later ones about it, oldest first.",
		params:  paging(),
		answers: []outcome{{status: http.StatusOK, says: "A page of events.", shape: listJSON[eventJSON]{}}},
	},
	"GET /logs": {
		summary: "Everything that was decided",
		detail: "By seq, upwards after one or downwards before one. Without filters no seq is missing. next_cursor goes into the same parameter; a " +
			"page may be short, even empty, and have one.",
		params: reading(
			param{name: "after", says: "Upwards, from the event after this seq.", schema: integer(0, maxID)},
			param{name: "before", says: "Downwards, from the event before this seq.", schema: integer(1, maxID)},
			param{name: "user_id", says: "About one person.", schema: integer(1, maxID)},
			param{name: "event_type", says: "Of one type, such as attendance.accepted.", schema: openapi.String()},
			param{name: "node_id", says: "Of requests to one node.", schema: openapi.String()},
			limitParam,
		),
		answers: []outcome{{status: http.StatusOK, says: "A page of events: the same bytes from every node.", shape: listJSON[eventJSON]{}}},
	},
	"GET /stats/today": {
		summary: "The day so far",
		detail:  "The day is the site's. Totals are everybody's; groups are those that one reaches.",
		params:  reading(),
		answers: []outcome{{status: http.StatusOK, says: "The counters.", shape: statsJSON{}}},
	},
	"GET /reviews": {
		summary: "What waits for a person",
		detail:  "Taps that could not be decided, and times that offline phones claim, oldest first.",
		params:  paging(),
		answers: []outcome{{status: http.StatusOK, says: "A page.", shape: listJSON[reviewJSON[eventJSON]]{}}},
	},
	"POST /reviews/{seq}": {
		summary: "Decide a review",
		detail: "Accepting a tap runs the same check of its neighbours as any other: became says whether it is a record or a duplicate. Accepting a " +
			"claim lowers first_seen_at.",
		act:  changes,
		body: reviewRequest{}, example: `{"decision":"accept","note":"seen at the gate"}`,
		codes:   []code{codeResolved, codeTooOld, codeUnknownUser},
		answers: []outcome{{status: http.StatusOK, says: "What became of it.", shape: resolvedJSON{}}},
	},
	"GET /queue": {
		summary: "What waits to be decided",
		detail: "The outboxes of all nodes, this one's first, and what Redis has. A node that cannot be asked is there with the reason. failed lists " +
			"what cannot be decided as it is.",
		codes:   []code{codeNotFound, codeInvalidQuery},
		answers: []outcome{{status: http.StatusOK, says: "The queues.", shape: queueJSON{}}},
	},
	"POST /queue/retry": {
		summary: "Try again what was set aside",
		detail:  "Name ids, a reason or all. An entry changes its state and keeps its place and its key: it is never cloned.",
		act:     changes,
		body:    queueActRequest{}, example: `{"ids":["n1/17"]}`,
		codes:   []code{codeNotFound},
		answers: []outcome{{status: http.StatusOK, says: "How many there were, and who could not be asked.", shape: queueActJSON{}}},
	},
	"POST /queue/dismiss": {
		summary: "Give up what was set aside",
		detail:  "Name ids, a reason or all, and say why: the note goes to the audit trail.",
		act:     changes,
		body:    queueActRequest{}, example: `{"ids":["n1/17"],"note":"sent by a test"}`,
		codes:   []code{codeNotFound},
		answers: []outcome{{status: http.StatusOK, says: "How many there were, and who could not be asked.", shape: queueActJSON{}}},
	},
	"POST /queue/import": {
		summary: "Take over check-ins from the disk of a dead node",
		detail:  "As hadir outbox export writes them. They are recorded here and decided as of their own time; one that is known already is not taken twice.",
		act:     changes,
		body:    queueImportRequest{}, example: `{"entries":["AQF…"]}`,
		codes:   []code{codeNotFound, codeStorage},
		answers: []outcome{{status: http.StatusOK, says: "What became of them.", shape: queueImportJSON{}}},
	},
	"GET /journal": {
		summary: "What this node refused at its door",
		detail: "Newest first: refusals, failed sign-ins and answers from earlier decisions, none of which is an event. Above 100 a second from one " +
			"source, or 1 000 in all, they are counted in summaries. Each node has its own journal; a crash may lose the last second of it.",
		params:  []param{limitParam, pageParam},
		answers: []outcome{{status: http.StatusOK, says: "A page.", shape: journalJSON{}}},
	},

	"DELETE /sessions": {
		summary: "Sign everybody out",
		act:     changes,
		params:  []param{{name: "everybody", says: "true, so that nobody does it by mistake.", schema: boolean(), required: true}},
		answers: []outcome{{status: http.StatusNoContent, says: "Every session has ended, this one too."}},
	},
	"GET /users": {
		summary: "People, by id",
		detail:  "A page of a filtered list may be short, even empty: next_cursor alone says whether there is more.",
		params: paging(
			param{name: "q", says: "Whose name or address contains this.", schema: openapi.String()},
			param{name: "role", says: "Of one role.", schema: words(roleNames...)},
			param{name: "active", says: "Who are active, or are not.", schema: boolean()},
			param{name: "group", says: "Who belong to a group, as members or teachers.", schema: integer(1, maxID)},
		),
		answers: []outcome{{status: http.StatusOK, says: "A page.", shape: peopleJSON[userJSON]{}}},
	},
	"POST /users": {
		summary: "Create somebody",
		detail:  "Without a password they cannot sign in until they get one.",
		act:     changes,
		body:    newUserRequest{}, example: `{"name":"Ani","email":"ani@sekolah.test","role":"student","password":"rahasia banget"}`,
		codes:   []code{codeEmailTaken},
		answers: []outcome{{status: http.StatusCreated, says: "Created.", shape: userJSON{}, header: []string{"Location"}}},
	},
	"POST /users/import": {
		summary: "Create and change many people from a file",
		detail: "A header line, then a line for each person: name, email and role, and where wanted password and groups, whose names | divides. Indonesian words " +
			"for the columns and roles are understood, and ; or tab as divider. People are told apart by their address. Each line stands for itself: a wrong one " +
			"keeps no other from being done. Nobody is deactivated or taken out of a group. Send the same file again to go on after it stopped. 2 MiB, 5 000 people.",
		act:     decides,
		upload:  "text/csv",
		example: "name,email,role,groups\nAni,ani@sekolah.test,student,X-1\n",
		params:  []param{{name: "dry_run", says: "Only say what would be done.", schema: boolean()}},
		codes:   []code{codeOutOfTime},
		answers: []outcome{{status: http.StatusOK, says: "What became of each line.", shape: importJSON{}}},
	},
	"POST /reports": {
		summary: "Have a file of attendances written",
		detail: "As GET /attendances gives it as CSV, for many records: it is written in the background from one picture of the state, and kept for " +
			"24 hours. With Redis any node writes it and any hands it out; without, that which was asked, until it stops. At most 500 000 lines.",
		body: reportRequest{}, example: `{"date":"2026-11-23"}`,
		codes:   []code{codeNotFound},
		answers: []outcome{{status: http.StatusAccepted, says: "Taken.", shape: jobJSON{}, header: []string{"Location"}}},
	},
	"POST /imports": {
		summary: "Create and change very many people from a file",
		detail: "As POST /users/import, in the background: 8 MiB, 50 000 people. What is wrong with the file as a whole is told at once, what with single " +
			"lines in the result. When it has to stop it is tried again from where it stopped.",
		upload:  "text/csv",
		example: "name,email,role,groups\nAni,ani@sekolah.test,student,X-1\n",
		params:  []param{{name: "dry_run", says: "Only say what would be done.", schema: boolean()}},
		codes:   []code{codeNotFound},
		answers: []outcome{{status: http.StatusAccepted, says: "Taken.", shape: jobJSON{}, header: []string{"Location"}}},
	},
	"GET /jobs": {
		summary: "What is done in the background",
		detail:  "Reports, imports and deliveries of all nodes, the newest first. A job that failed is in GET /queue, too, where it is tried again or dismissed.",
		codes:   []code{codeNotFound},
		answers: []outcome{{status: http.StatusOK, says: "The jobs.", shape: jobsJSON{}}},
	},
	"GET /webhooks": {
		summary: "How the webhooks do",
		detail: "As the leader sees them, who delivers. While one is waiting, its endpoint does not answer, and nothing is skipped. What an endpoint refuses " +
			"becomes a job.",
		codes:   []code{codeNotFound},
		answers: []outcome{{status: http.StatusOK, says: "The webhooks.", shape: webhooksJSON{}}},
	},
	"GET /jobs/{job}": {
		summary: "How far a job has come",
		detail:  "The stream tells it, too, as frames progress with a job in them.",
		codes:   []code{codeNotFound, codeJobAway},
		answers: []outcome{{status: http.StatusOK, says: "The job.", shape: jobJSON{}}},
	},
	"GET /jobs/{job}/result": {
		summary: "What came of a job",
		detail:  "The file of a report; of an import what became of each line.",
		codes:   []code{codeNotFound, codeNotDone, codeJobAway},
		answers: []outcome{
			{status: http.StatusOK, says: "What became of each line.", shape: importJSON{}, header: []string{"Content-Disposition", "X-Hadir-Seq"}},
			{status: http.StatusOK, says: "Or the file.", shape: "", media: mediaCSV, example: "id,user_id,name,…\r\n10482,7,Ani,…\r\n"},
		},
	},
	"GET /users/{id}": {
		summary: "One person",
		params:  reading(),
		answers: []outcome{{status: http.StatusOK, says: "The person and their groups.", shape: userDetailJSON{}}},
	},
	"PATCH /users/{id}": {
		summary: "Change somebody",
		detail:  "What is left out stays. Of two changes at once both hold; of one field, the later one.",
		act:     changes,
		body:    userRequest{}, example: `{"role":"teacher"}`,
		codes:   []code{codeEmailTaken, codeLastAdmin, codeNotATeacher},
		answers: []outcome{{status: http.StatusOK, says: "As they are now.", shape: userJSON{}}},
	},
	"DELETE /users/{id}": {
		summary: "Deactivate somebody",
		detail:  "Their history stays and their sessions end. PATCH with active makes them active again.",
		act:     changes,
		codes:   []code{codeLastAdmin, codeUnknownUser},
		answers: []outcome{{status: http.StatusNoContent, says: "Deactivated."}},
	},
	"POST /users/{id}/password": {
		summary: "Set a password",
		detail:  "All sessions of the person end. For oneself the current password is needed, and there is a new session.",
		act:     changes,
		body:    passwordRequest{}, example: `{"current_password":"rahasia","password":"rahasia banget"}`,
		codes: []code{codeWrongPassword, codeUnknownUser},
		answers: []outcome{
			{status: http.StatusOK, says: "One's own is set: the new session.", shape: sessionJSON{}, header: []string{"Set-Cookie"}, example: `{"token":"hs1.AAAA","expires_at":"2026-12-23T06:58:14.011Z","user":` + userExample + `}`},
			{status: http.StatusNoContent, says: "It is set.", header: []string{"Set-Cookie"}},
		},
	},
	"DELETE /users/{id}/sessions": {
		summary: "Sign somebody out everywhere",
		act:     changes,
		codes:   []code{codeUnknownUser},
		answers: []outcome{{status: http.StatusNoContent, says: "All their sessions have ended."}},
	},

	"GET /groups": {
		summary: "Groups, by id",
		detail:  "With the ids of their people, so a page may be short: next_cursor alone says whether there is more.",
		params: paging(
			param{name: "q", says: "Whose name contains this.", schema: openapi.String()},
			param{name: "kind", says: "Of one kind.", schema: words(groupNames...)},
		),
		answers: []outcome{{status: http.StatusOK, says: "A page.", shape: peopleJSON[groupJSON]{}}},
	},
	"POST /groups": {
		summary: "Create a group",
		act:     changes,
		body:    newGroupRequest{}, example: `{"name":"X-1","kind":"class","members":[7],"teachers":[2]}`,
		codes:   groupProblems,
		answers: []outcome{{status: http.StatusCreated, says: "Created.", shape: groupJSON{}, header: []string{"Location"}}},
	},
	"GET /groups/{id}": {
		summary: "One group",
		params:  reading(),
		answers: []outcome{{status: http.StatusOK, says: "The group and its people.", shape: groupStateJSON{}}},
	},
	"PATCH /groups/{id}": {
		summary: "Change a group",
		detail:  "What is left out stays. members and teachers are whole lists; add_ and remove_ change a part, and go well with those of somebody else at once.",
		act:     changes,
		body:    groupRequest{}, example: `{"add_members":[7],"remove_teachers":[2]}`,
		codes:   groupProblems,
		answers: []outcome{{status: http.StatusOK, says: "As it is now.", shape: groupJSON{}}},
	},
	"DELETE /groups/{id}": {
		summary: "Delete a group",
		detail:  "Its people and their records stay.",
		act:     changes,
		codes:   []code{codeGroupNotEmpty, codeUnknownGroup, codePartlyDone},
		answers: []outcome{{status: http.StatusNoContent, says: "Deleted."}},
	},

	"GET /tokens": {
		summary: "Device tokens, by id",
		params:  paging(),
		answers: []outcome{{status: http.StatusOK, says: "A page; without the secrets, which nobody has but the devices.", shape: listJSON[tokenJSON]{}}},
	},
	"POST /tokens": {
		summary: "Create a device token",
		detail:  "A device checks others in, with the token as its bearer. The secret is shown once: a repeated answer lacks it.",
		act:     changes,
		body:    tokenRequest{}, example: `{"name":"gate","groups":[4]}`,
		codes:   []code{codeTokenTaken, codeUnknownGroup},
		answers: []outcome{{status: http.StatusCreated, says: "Created, with its secret.", shape: tokenJSON{}}},
	},
	"DELETE /tokens/{id}": {
		summary: "Revoke a device token",
		act:     changes,
		codes:   []code{codeUnknownToken},
		answers: []outcome{{status: http.StatusNoContent, says: "Each node refuses it as soon as it has heard of it."}},
	},

	"GET /stream": {
		summary: "Subscribe to what is decided",
		detail: `A WebSocket with JSON text frames. First {"t":"hello","node":"n2","epoch":"c7f2-1","seq":10481,"resume":"ok"}: events after seq follow, ` +
			`{"t":"event","seq":10482,…}, each as in GET /logs. Admins get all of them, without a gap; others those of check-ins that they may see, ` +
			`and {"t":"mark","seq":10490}, which says that everything up to seq that they may see was sent. After a break, connect to any node with the epoch and ` +
			`the last seq. resume is reset, with a reason (epoch, pruned, future), when it cannot go on from there: fetch, then go on from its seq. ` +
			`{"t":"scope","seq":n} says that whom one may see has changed, as of events after n: fetch. The other topics send their name as t, with data. ` +
			`pending says of each of one's own check-ins when this node records it (status queued), sets it aside (set_aside), and has it decided (decided). ` +
			`queue shows the numbers of GET /queue and GET /export whenever they change. ` +
			`A client may send {"t":"ping"}, which is answered with a mark, at most 20 messages of 8 KiB in 10 s. ` +
			"Codes of closing: 4001 this node is shutting down, 4003 the permission has ended, 4008 not read in time, 4010 this node does not have the position; " +
			"after each but 4003, connect again. A page of another origin is refused.",
		params: []param{
			{name: "topics", says: "Of attendance, totals, cluster, presence, queue, pending and progress, joined by commas; attendance when it is absent. " +
				"cluster and presence are for teachers and admins, queue is for admins.", schema: withDefault(openapi.String(), "attendance")},
			{name: "epoch", says: "Of the position from which to go on.", schema: openapi.String()},
			{name: "after", says: "The seq after which to go on; from the newest event when it is absent.", schema: integer(0, maxID)},
			{name: "ticket", says: "From POST /stream-ticket, instead of a bearer token or a cookie.", schema: openapi.String()},
		},
		codes:   []code{codeUpgrade, codeHandshake, codeCrossOrigin, codeRateLimited, codeOverloaded, codeClosing},
		answers: []outcome{{status: http.StatusSwitchingProtocols, says: "The frames follow."}},
	},
	"POST /stream-ticket": {
		summary: "Get a ticket for the stream",
		detail: "For a program in a browser that has a bearer token, which it cannot send with a WebSocket. It is for one connection, within 30 seconds, " +
			"to the node that gave it.",
		answers: []outcome{{status: http.StatusOK, says: "The ticket.", shape: ticketJSON{}}},
	},
	"GET /presence": {
		summary: "Who is connected, by id",
		detail:  "To the stream of any node, as far as this one knows; the others tell it every two seconds.",
		params:  paging(),
		answers: []outcome{{status: http.StatusOK, says: "A page.", shape: listJSON[presentJSON]{}}},
	},

	"GET /cluster": {
		summary: "The cluster, as the answering node sees it",
		detail:  "It needs no leader.",
		act:     local,
		answers: []outcome{{status: http.StatusOK, says: "The node's view.", shape: clusterJSON{}}},
	},
	"GET /cluster/health": {
		summary: "The health of the cluster",
		detail:  "What everybody may know of it. It needs no leader.",
		act:     local,
		answers: []outcome{{status: http.StatusOK, says: "The node's view.", shape: clusterHealthJSON{}}},
	},
	"POST /cluster/transfer": {
		summary: "Have another node lead",
		act:     decides,
		codes:   []code{codeTransfer, codeNotLeader},
		answers: []outcome{{status: http.StatusOK, says: "Who leads now.", shape: leadershipJSON{}}},
	},
	"POST /cluster/remove": {
		summary: "Take a node out of the cluster for good",
		detail: "By its name or its server id. A leader hands over first. The node finds out and ends; its data stays where it is, and it " +
			"does not come back by itself. It is refused where too few voters would be left that answer.",
		act:  decides,
		body: removeRequest{}, example: `{"id":"n3"}`,
		codes:   []code{codeNotFound, codeQuorumAtRisk},
		answers: []outcome{{status: http.StatusOK, says: "It is no member any more.", shape: removedJSON{}}},
	},
	"POST /cluster/verify": {
		summary: "Compare what the nodes hold",
		detail:  "Every node reads its whole state: do not do it every minute.",
		codes:   []code{codeNoLeader},
		answers: []outcome{{status: http.StatusOK, says: "The hashes of every node at one event.", shape: comparisonJSON{}}},
	},

	"GET /backup": {
		summary: "Take a backup",
		detail: "A consistent copy of everything the cluster has decided, from the node that answers, while it goes on. It holds password " +
			"hashes and keys: keep it as you keep those. hadir backup checks it and hadir restore restores it. Without a leader it is " +
			"taken all the same, and may lack what other nodes have.",
		act:   reads,
		codes: []code{codeBusy, codeOverloaded, codeInvalidQuery},
		answers: []outcome{{
			status: http.StatusOK, says: "The backup, ending in its SHA-256.", shape: "", media: mediaBackup, example: "HADIRBK1",
			header: []string{"Content-Disposition"},
		}},
	},
	"POST /restore": {
		summary: "Restore a backup into an empty cluster",
		detail: "For a cluster that was just founded and of which all nodes answer. The backup is proven before anything changes. " +
			"Afterwards the cluster has a new epoch, all sessions have ended, and the passwords are those of the backup.",
		act:     local,
		upload:  mediaBackup,
		example: "HADIRBK1",
		codes:   []code{codeInvalidQuery, codeInvalidBackup, codeNotEmpty, codeIncomplete, codeBusy, codeNoSpace, codeNoLeader, codeUnknownOutcome},
		answers: []outcome{{status: http.StatusOK, says: "What was restored. Nodes in waiting get it later, and have no vote until then.", shape: restoredJSON{}}},
	},

	"GET /export": {
		summary: "How the SQL copies do",
		detail: "Each target as the answering node sees it. A MySQL target is written by the leader, a SQLite file by each node for itself. " +
			"Targets in the state unknown are not configured on this node, but events are kept back for them.",
		act:     reads,
		answers: []outcome{{status: http.StatusOK, says: "The targets.", shape: exportListJSON{}}},
	},
	"POST /export/reset": {
		summary: "Decide about a SQL copy that is stopped",
		detail: "For a target that is ahead, of another epoch, or that misses events that were pruned. Without how it goes on where its newest " +
			"event is the cluster's own or events were pruned, and is emptied otherwise, if the cluster still has all events. empty empties it " +
			"and exports anew what is kept. retire forgets a target that no node is configured with. Whoever exports to it carries the " +
			"decision out within seconds. A SQLite file is that of the node that is asked.",
		act:  decides,
		body: exportResetRequest{}, example: `{"target":"mysql://db.example:3306/hadir"}`,
		codes:   []code{codeNotFound, codeInOrder, codeNeedsEmpty, codeConfigured, codeTarget},
		answers: []outcome{{status: http.StatusOK, says: "What was decided.", shape: exportDecisionJSON{}}},
	},
	"POST /export/retry": {
		summary: "Try parked events again",
		detail:  "Events that the database refused: those named, or all. Whoever exports to the target tries them within seconds.",
		act:     reads,
		body:    exportRetryRequest{}, example: `{"target":"mysql://db.example:3306/hadir","seqs":[10482]}`,
		codes:   []code{codeNotFound, codeTarget},
		answers: []outcome{{status: http.StatusOK, says: "How many are tried again.", shape: exportRetryJSON{}}},
	},
	"POST /export/verify": {
		summary: "Compare a SQL copy with the events",
		detail:  "Counts and checksums for each UTC day, and the first hundred rows that differ. All of both is read: it takes minutes for millions.",
		act:     reads,
		body:    exportVerifyRequest{}, example: `{"target":"mysql://db.example:3306/hadir"}`,
		codes:   []code{codeNotFound, codeBusy, codeTarget},
		answers: []outcome{{status: http.StatusOK, says: "What was found, whether it differs or not.", shape: exportReportJSON{}}},
	},

	"GET /healthz": {
		summary: "The process serves",
		act:     local,
		answers: []outcome{{status: http.StatusOK, says: "It does.", shape: "", media: "text/plain", example: "ok\n"}},
	},
	"GET /readyz": {
		summary: "The node can take a check-in",
		act:     local,
		params:  []param{{name: "decide", says: "Demand a quorum too, whatever its value.", schema: openapi.String()}},
		answers: []outcome{
			{status: http.StatusOK, says: "It can: a line for each check.", shape: "", media: "text/plain", example: "[+]member of a cluster\n[+]raft leader known\n"},
			{status: http.StatusServiceUnavailable, says: "It cannot: the lines with [-] say why.", shape: "", media: "text/plain", example: "[+]member of a cluster\n[-]raft leader known\n"},
		},
	},
	"GET /metrics": {
		summary: "Measurements for Prometheus",
		act:     local,
		answers: []outcome{{status: http.StatusOK, says: "In the text format of Prometheus.", shape: "", media: "text/plain", example: "hadir_leader_known 1\n"}},
	},

	"POST /demo/{node}/{act:kill|freeze|thaw|start|stop}": {
		summary: "Do something to a process of the demo",
		act:     local,
		codes:   []code{codeDemo, codeNotNow},
		answers: []outcome{{status: http.StatusOK, says: "Done.", shape: demoActJSON{}}},
	},
	"GET /demo/accounts": {
		summary: "The sample people",
		act:     local,
		codes:   []code{codeNotFound}, // outside of a demo
		answers: []outcome{{status: http.StatusOK, says: "With their passwords, which are printed on the first page too.", shape: accountsJSON{}}},
	},

	"GET /openapi.json": {
		summary: "This description",
		act:     local,
		answers: []outcome{{status: http.StatusOK, says: "An OpenAPI 3.1 document.", shape: map[string]any{}}},
	},
}

// Parts of examples.
const (
	userExample = `{"id":7,"name":"Ani","email":"ani@sekolah.test","role":"student","active":true,` +
		`"created_at":"2026-07-13T01:00:00.000Z","updated_at":"2026-07-13T01:00:00.000Z"}`
	attendanceExample = `{"id":10482,"user_id":7,"type":"in","timestamp":"` + sampleTime + `","first_seen_at":"` + sampleTime + `",` +
		`"latitude":-6.2009,"longitude":106.8451,"accuracy_m":18,"node_id":"n2","seq":10482,"created_at":"` + sampleTime + `","updated_at":"` + sampleTime + `"}`
	syncExample = `{"handled_by":"n2","leader":"n1","term":7,"index":20931,"seq":10482,"forwarded":true,` +
		`"latency_ms":{"total":4.1,"forward":0.6,"commit":2.9}}`
)

func boolean() *openapi.Schema { return &openapi.Schema{Type: openapi.Types{"boolean"}} }

func day() *openapi.Schema {
	return &openapi.Schema{Type: openapi.Types{"string"}, Format: "date", Examples: []any{"2026-11-23"}}
}
