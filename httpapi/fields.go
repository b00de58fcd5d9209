package httpapi

import (
	"slices"

	"hadir/httpapi/openapi"
)

// fieldDoc says what a field of a body means. A field has one meaning in the
// whole contract, so it is told once by its name, or as Object.name where one
// object means something else by it.
type fieldDoc struct {
	says    string
	words   []string // all that it may hold
	example any
	null    bool   // also where the Go type does not show it
	format  string // of a string
}

// describeField completes the schema of a field.
func describeField(owner, name string, s *openapi.Schema) {
	d, known := fieldDocs[owner+"."+name]
	if !known {
		d = fieldDocs[name]
	}
	s.Description = d.says
	for _, w := range d.words {
		s.Enum = append(s.Enum, w)
	}
	if d.format != "" {
		s.Format = d.format
	}
	if d.null && !slices.Contains(s.Type, "null") {
		*s = *openapi.Nullable(s)
	}
	if d.example != nil {
		s.Examples = []any{d.example}
	}
}

const (
	sampleTime = "2026-11-23T06:58:14.011Z"
	sampleKey  = "01930000-0000-7000-8000-000000000001"
)

var (
	outcomeWords = []string{"accepted", "duplicate", "review", "rejected"}
	roleNames    = []string{"student", "teacher", "admin"}
	kindNames    = []string{"in", "out"}
	groupNames   = []string{"class", "department"}
	eventNames   = []string{
		"attendance.accepted", "attendance.duplicate", "attendance.review", "attendance.rejected", "review.accepted", "review.duplicate",
		"review.rejected", "claim.accepted", "claim.rejected", "user.created", "user.updated", "user.deactivated", "user.password_set",
		"user.sessions_ended", "group.created", "group.updated", "group.deleted", "params.set", "clock.set", "secret.rotated",
		"token.created", "token.updated", "token.revoked", "audit.noted", "command.refused",
	}
	stateWords = []string{"leader", "follower", "candidate", "joining", "stopping", "down"}
)

var fieldDocs = map[string]fieldDoc{
	// Every answer that was read from the state.
	"index":       {says: "The raft index up to which the answer sees everything.", example: 20931},
	"as_of":       {says: "Until when the answer is known to be complete; null when this node cannot say.", null: true, example: sampleTime},
	"stale":       {says: "True when there has been no proof of freshness for more than 2 s."},
	"items":       {says: "The page."},
	"next_cursor": {says: "The cursor of the next page; null on the last one.", example: "10482"},

	"Queued.status":      {says: "Recorded, and not decided yet.", words: []string{queuedStatus}},
	"Queued.received_at": {says: "When it was received: the time that counts.", example: sampleTime},
	"Queued.reason":      {says: "Set aside for a person to look at, where that is so.", words: []string{setAside}},
	"status_url":         {says: "Where to ask what became of it, at any node.", example: "/api/v1/checkins/" + sampleKey},
	"copies":             {says: "Where it is kept."},
	"Copy.where":         {says: "The node, or redis.", example: "n3"},
	"Copy.fsync":         {says: "Whether the copy survives a power cut there.", example: true},
	"likely_duplicate":   {says: "By what this node knows it is too near to a record.", example: true},

	// People.
	"user":       {says: "Who is signed in."},
	"name":       {says: "The name, as people read it.", example: "Ani"},
	"email":      {says: "The address to sign in with. Upper and lower case are the same.", example: "ani@sekolah.test"},
	"password":   {says: "The password.", example: "rahasia"},
	"role":       {says: "What the person may do.", words: roleNames},
	"active":     {says: "False for somebody who was deactivated: they cannot sign in or check in.", example: true},
	"token":      {says: "The session's token, for Authorization: Bearer. Any node knows it.", example: "hs1.AAAA…"},
	"expires_at": {says: "When the session ends.", example: "2026-12-23T06:58:14.011Z"},
	"created_at": {says: "When it was made."},
	"updated_at": {says: "When it was changed last."},

	"total":                {says: "How many there are in all; left out where a filter or a scope narrows the list.", example: 1500},
	"groups":               {says: "The groups that the person belongs to."},
	"as":                   {says: "How they belong to it.", words: []string{"member", "teacher"}},
	"has_password":         {says: "Whether they can sign in at all; for admins only.", example: true},
	"current_password":     {says: "The password that one has now; needed for oneself.", example: "rahasia"},
	"kind":                 {says: "A class, in which teachers teach, or a department.", words: groupNames},
	"members":              {says: "The ids of those who are in it.", example: []int{7, 8}},
	"teachers":             {says: "The ids of those who are responsible for it.", example: []int{2}},
	"member_count":         {says: "How many are in it.", example: 2},
	"add_members":          {says: "Ids to add.", example: []int{7}},
	"remove_members":       {says: "Ids to take out.", example: []int{8}},
	"add_teachers":         {says: "Ids to make responsible.", example: []int{2}},
	"remove_teachers":      {says: "Ids of those who are not to be responsible any more.", example: []int{3}},
	"revoked":              {says: "True when it is refused.", example: false},
	"Token.id":             {says: "The token's id.", example: 2},
	"Token.name":           {says: "What the device is called.", example: "gate"},
	"Token.token":          {says: "The secret, once: when it was just drawn.", example: "hd1.AAAA"},
	"Token.groups":         {says: "The ids of the groups for whose people it acts; empty for everybody.", example: []int{4}},
	"TokenRequest.name":    {says: "What the device is called.", example: "gate"},
	"TokenRequest.groups":  {says: "The ids of the groups for whose people it may act; left out for everybody.", example: []int{4}},
	"NewGroupRequest.name": {says: "What it is called.", example: "X-1"},
	"GroupRequest.name":    {says: "What it is called.", example: "X-1"},
	"Group.name":           {says: "What it is called.", example: "X-1"},
	"Group.id":             {says: "The group's id.", example: 4},
	"GroupState.name":      {says: "What it is called.", example: "X-1"},
	"GroupState.id":        {says: "The group's id.", example: 4},
	"Membership.name":      {says: "What the group is called.", example: "X-1"},
	"Membership.id":        {says: "The group's id.", example: 4},
	"GroupCount.name":      {says: "What the group is called.", example: "X-1"},
	"GroupCount.id":        {says: "The group's id.", example: 4},
	"UserDetail.id":        {says: "The person's id.", example: 7},
	"dry_run":              {says: "Whether nothing was done but to look.", example: false},
	"rows":                 {says: "Lines about people.", example: 1},
	"created":              {says: "People who were created.", example: 1},
	"updated":              {says: "People who were changed."},
	"unchanged":            {says: "People who were as the file says."},
	"Import.errors":        {says: "Lines that were refused."},
	"unknown":              {says: "Lines of which it is not known whether they were done."},
	"skipped":              {says: "Lines that were not done, or not with their groups."},
	"stopped":              {says: "Why it did not come to its end."},
	"Stopped.code":         {says: "The word that a problem would have.", example: "no_leader"},
	"Import.items":         {says: "The lines, in order."},
	"row":                  {says: "The line in the file, from 1; the header counts.", example: 2},
	"ImportRow.status":     {says: "What became of it.", words: []string{rowCreated, rowUpdated, rowUnchanged, rowError, rowUnknown, rowSkipped}},
	"ImportRow.id":         {says: "The person's id.", example: 7},
	"ImportRow.field":      {says: "The column that is wrong.", example: "email"},
	"ImportRow.reason":     {says: "What is wrong with it.", example: "is missing"},

	// Events.
	"Event.id":               {says: "The idempotency key of the request; null where it had none.", example: sampleKey},
	"Event.type":             {says: "What happened.", words: eventNames, example: "attendance.accepted"},
	"Event.user_id":          {says: "Whom it is about.", example: 7},
	"Event.index":            {says: "The raft index of the entry that decided it.", example: 20931},
	"attendance_id":          {says: "The record that it made, or that won.", example: 10482},
	"data":                   {says: "What happened in detail, by its type."},
	"day":                    {says: "The day at the site.", example: "2026-11-23"},
	"received_at":            {says: "When a node took it, as far as that node could tell."},
	"proposed_at":            {says: "When the leader took it."},
	"recorded":               {says: "True for a tap that a node had to keep until there was a leader.", example: true},
	"wall_clock":             {says: "True when its time comes from the node's wall clock, because the node was started meanwhile.", example: true},
	"winner":                 {says: "The record that won.", example: 10482},
	"received_by":            {says: "The node that took the tap.", example: "n2"},
	"SessionsChange.user_id": {says: "Whose sessions have ended; null for everybody's.", example: 7},
	"SessionsChange.epoch":   {says: "Sessions of a smaller epoch have ended.", example: 4},
	"GroupChange.id":         {says: "The group's id.", example: 4},
	"GroupChange.name":       {says: "What it is called.", example: "X-1"},
	"GroupChange.members":    {says: "How many are in it.", example: 36},
	"GroupChange.teachers":   {says: "How many are responsible for it.", example: 2},
	"added_members":          {says: "Ids of those who came.", example: []int{7}},
	"removed_members":        {says: "Ids of those who left.", example: []int{8}},
	"added_teachers":         {says: "Ids of those who became responsible.", example: []int{2}},
	"removed_teachers":       {says: "Ids of those who are not any more.", example: []int{3}},
	"window_ms":              {says: "Two accepted taps of a person in one direction are at least this far apart.", example: 300000},
	"skew_ms":                {says: "How far the clocks of nodes may differ.", example: 2000},
	"deferral_ms":            {says: "How late a tap may be decided.", example: 604800000},
	"key_retention_ms":       {says: "How long an idempotency key is remembered.", example: 691200000},
	"export_margin":          {says: "Events that are kept beyond what every target has.", example: 10000},
	"offsets":                {says: "The zone's offsets from UTC, and from when each holds."},
	"offset_s":               {says: "Seconds east of UTC.", example: 25200},
	"Offset.from":            {says: "From when it holds."},
	"ClockChange.from":       {says: "What the clock of decisions showed."},
	"to":                     {says: "What it was set to."},
	"SecretChange.id":        {says: "Counts the changes.", example: 9},
	"SecretChange.name":      {says: "Which secret.", example: "session"},
	"dropped_previous":       {says: "True when the one before is not valid any more.", example: true},
	"TokenChange.id":         {says: "The token's id.", example: 2},
	"TokenChange.name":       {says: "What the device is called.", example: "gate"},
	"TokenChange.groups":     {says: "The ids of the groups for whose people it acts; empty for everybody.", example: []int{4}},
	"AuditNote.action":       {says: "What somebody did.", example: "backup.taken"},
	"AuditNote.subject":      {says: "To what.", example: "n1"},
	"command":                {says: "What was refused.", example: "put_user"},
	"Refusal.reason":         {says: "Why.", example: "email_taken"},
	"Refusal.subject":        {says: "The id of what it was about.", example: 7},

	// Check-ins.
	"id":              {says: "The id.", example: 10482},
	"User.id":         {says: "The person's id.", example: 7},
	"user_id":         {says: "Whose it is.", example: 7},
	"type":            {says: "In or out: never guessed.", words: kindNames},
	"timestamp":       {says: "When it was decided to have happened."},
	"first_seen_at":   {says: "When the person was there first: earlier than timestamp when a tap that was deferred arrived later. Lateness is judged by it."},
	"latitude":        {says: "Degrees, with at most seven decimals; null when it is not known.", example: -6.2009},
	"longitude":       {says: "Degrees, with at most seven decimals; null when it is not known.", example: 106.8451},
	"accuracy_m":      {says: "Metres; null when the location is not known.", example: 18},
	"location_error":  {says: "Why there is no location.", words: []string{"denied", "unavailable", "timeout"}},
	"offline":         {says: "True for a tap that was kept by the phone until it was online: it is decided at receipt."},
	"client_time":     {says: "The time that the client's clock showed. Evidence only."},
	"claimed_at":      {says: "The time that an offline tap claims."},
	"claim_trusted":   {says: "Whether the claimed time is plausible by the clocks of the phone and the node."},
	"node_id":         {says: "The node's name.", example: "n2"},
	"seq":             {says: "The number of the event. Events are numbered without gaps.", example: 10482},
	"status":          {says: "What became of it.", words: outcomeWords},
	"reason":          {says: "Why, in a word."},
	"detail":          {says: "What to do, in plain words."},
	"key":             {says: "The idempotency key.", example: sampleKey},
	"attendance":      {says: "The record: the one that was made or, for a duplicate, the one that won."},
	"delta_ms":        {says: "How far a duplicate is from the one that won, in milliseconds.", example: 1200},
	"sync":            {says: "How the decision came about."},
	"code":            {says: "Of a rejection: the word that a problem would have."},
	"Sync.handled_by": {says: "The node that took the request.", example: "n2"},
	"leader":          {says: "The node that led.", example: "n1"},
	"term":            {says: "The term of raft.", example: 7},
	"forwarded":       {says: "Whether the node passed it on to the leader.", example: true},
	"latency_ms":      {says: "Where the time went, in milliseconds."},
	"Latency.total":   {says: "All of it.", example: 4.1},
	"forward":         {says: "To the leader and back, without the decision.", example: 0.6},
	"commit":          {says: "From proposal to decision.", example: 2.9},

	// Records.
	"date":              {says: "The site's day.", example: "2026-11-23"},
	"time_zone":         {says: "The site's time zone.", example: "Asia/Jakarta"},
	"in":                {says: "Accepted check-ins.", example: 1482},
	"out":               {says: "Accepted check-outs.", example: 0},
	"people":            {says: "People, each once."},
	"arrived":           {says: "People who have come.", example: 1470},
	"left":              {says: "People who have left.", example: 0},
	"present":           {says: "People who are in: who have come and not left since.", example: 1470},
	"types":             {says: "Decisions about taps, by type of event.", example: map[string]int{"attendance.accepted": 1482}},
	"Stats.nodes":       {says: "Records by the node that took the tap."},
	"minutes":           {says: "Records by minute; those without any are left out."},
	"minute":            {says: "The minute of the site's day.", example: 418},
	"Stats.groups":      {says: "Groups, with their people of today."},
	"waits_for":         {says: "tap: it has no record. claim: it has one, and the phone claims an earlier time.", words: []string{waitsForTap, waitsForClaim}},
	"event":             {says: "The event that waits."},
	"decision":          {says: "Whether the tap, or the claimed time, counts.", words: []string{"accept", "reject"}},
	"note":              {says: "Why, in a sentence.", example: "seen at the gate"},
	"review_of":         {says: "The review that was decided.", example: 10484},
	"became":            {says: "What became of the review: the type of the event that resolved it.", example: "review.accepted"},
	"no":                {says: "The row's number in the node's own journal.", example: 318},
	"first":             {says: "When it was, by the node's clock; of a summary the first time."},
	"last":              {says: "The last time."},
	"count":             {says: "How many it stands for.", example: 1},
	"why":               {says: "The problem's word, sign_in_failed or replayed.", example: "sign_in_failed"},
	"JournalRow.status": {says: "The status of the answer.", example: 401},
	"from":              {says: "The address it came from; of a summary the network, empty for many.", example: "203.0.113.7"},
	"principal":         {says: "Who asked.", example: "user:7"},
	"tried":             {says: "The address that somebody tried to sign in with, cut short.", example: "ani@sekolah.test"},
	"action":            {says: "The method and the route.", example: "POST /api/v1/session"},
	"request_id":        {says: "The request, as the log names it.", example: "0123456789abcdef01234567"},

	// The cluster.
	"cluster_id":        {says: "The cluster's identity.", example: "c7f20000000000000000000000000000"},
	"epoch":             {says: "Names a history: another one after a restore or a recovery.", example: "c7f2-1"},
	"waiting":           {says: "The nodes that do not have it yet.", example: []string{}},
	"backup":            {says: "What was restored."},
	"schema":            {says: "The layout of the data.", example: 1},
	"Backup.at":         {says: "The last decision in it; null when there is none.", null: true, example: sampleTime},
	"Backup.index":      {says: "The raft index of its moment, in the cluster it comes from.", example: 20931},
	"leader_id":         {says: "The leader; null when this node knows of none.", example: "n1"},
	"quorum":            {says: "How many voters it takes to decide.", example: 2},
	"can_lose":          {says: "How many more voters may fail before nothing is decided.", example: 1},
	"nodes":             {says: "The members, as this node sees them."},
	"elections":         {says: "The latest changes of leader, newest first."},
	"Node.id":           {says: "The node's name.", example: "n2"},
	"NodeHealth.id":     {says: "The node's name.", example: "n2"},
	"server_id":         {says: "The identity of the node's disk: another one after it was wiped.", example: "n1-5f0c"},
	"address":           {says: "Where the other nodes reach it.", example: "10.0.0.1:7400"},
	"http":              {says: "Where browsers and programs reach it.", example: "http://10.0.0.1:8080"},
	"state":             {says: "What it does.", words: stateWords},
	"health":            {says: "What the leader's autopilot makes of the cluster; null while nobody says.", null: true},
	"healthy":           {says: "Whether the leader's autopilot finds nothing wrong: it answers, hears from the leader and keeps up.", example: true},
	"failure_tolerance": {says: "Healthy voters that may fail before nothing is decided.", example: 1},
	"warnings":          {says: "What a person should look at: two_voters, of whom neither may fail, or disk_low.", example: []string{"two_voters"}},
	"replica":           {says: "Whether it was started as a permanent read replica.", example: false},
	"disk_low":          {says: "Whether its disk is nearly full, so that it takes nothing in.", example: false},
	"disk_free_bytes":   {says: "What is left on the disk for its files; 0 when it does not look.", example: 53687091200},
	"removed":           {says: "The server id of the node that is no member any more.", example: "n3-6f0c2d4e8a1b3c5d"},
	"voter":             {says: "Whether it counts for a quorum.", example: true},
	"reachable":         {says: "Whether it answered lately.", example: true},
	"last_contact_ms":   {says: "Milliseconds since it answered; null when it never did.", example: 12},
	"Node.commit":       {says: "The raft index that it knows to be decided.", example: 20931},
	"applied":           {says: "The raft index that it has applied.", example: 20931},
	"lag":               {says: "Events that it is behind the newest that this node knows of.", example: 0},
	"connections":       {says: "Clients of its stream."},

	"ticket":              {says: "For the parameter of that name.", example: "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4"},
	"Ticket.node_id":      {says: "To which node it gives access.", example: "n2"},
	"Ticket.expires_at":   {says: "Until when it may be used.", example: sampleTime},
	"Present.user_id":     {says: "Who.", example: 7},
	"Present.connections": {says: "How many connections the person has.", example: 2},
	"Present.nodes":       {says: "The nodes to which they lead.", example: []string{"n1", "n2"}},
	"outbox":              {says: "Check-ins that it has recorded and not had decided yet."},
	"version":             {says: "The program's version.", example: "1.0.0"},
	"level":               {says: "The newest commands that it understands.", example: 1},
	"started_at":          {says: "When it started; null when that is not known.", null: true, example: sampleTime},
	"at":                  {says: "When."},
	"leaderless_ms":       {says: "How long there had been no leader, in milliseconds.", example: 850},
	"equal":               {says: "Whether all nodes hold the same.", example: true},
	"chain":               {says: "The hash over all events up to seq."},
	"Hashes.state":        {says: "The hash over the whole state."},
	"error":               {says: "Why a node could not be compared; null when it was."},
	"act":                 {says: "What was done.", words: []string{"kill", "freeze", "thaw", "start", "stop"}},
	"Account.password":    {says: "Of a sample person, so no secret.", example: "rahasia"},

	// SQL copies.
	"target":                  {says: "The target's name: its URL without user, password and options.", example: "mysql://db.example:3306/hadir"},
	"ExportTarget.kind":       {says: "What sort of database it is.", words: []string{"mysql", "sqlite"}},
	"ExportTarget.state":      {says: "What the answering node does about it.", words: []string{"running", "standby", "down", "stopped", "unknown"}},
	"connected":               {says: "Whether the target answers this node.", example: true},
	"watermark":               {says: "Every event up to it is in the target.", example: 10482},
	"lag_events":              {says: "Events that are not in the target.", example: 0},
	"lag_s":                   {says: "Age of the oldest event that is not in the target, in seconds.", example: 0.4},
	"last_error":              {says: "Why the target is down or stopped; null when it is not.", null: true},
	"parked":                  {says: "Events that the database refused.", example: 0},
	"parked_events":           {says: "The first fifty of them."},
	"mark":                    {says: "What the cluster knows of the watermark: later events are kept back.", example: 10400},
	"ExportFailure.at":        {says: "Since when.", example: sampleTime},
	"ExportFailure.reason":    {says: "A stable word.", words: []string{"unreachable", "schema", "drift", "privileges", "read_only", "disk_full", "packet", "damaged", "gap", "ahead", "parked"}},
	"ExportFailure.detail":    {says: "What the database said.", example: "connection refused"},
	"ExportParked.event_type": {says: "What sort of event it is.", words: eventNames},
	"ExportParked.reason":     {says: "What the database said.", example: "Error 4025 (23000): CONSTRAINT failed"},
	"attempts":                {says: "How often it was tried.", example: 1},
	"retry":                   {says: "True when it is to be tried again.", example: false},
	"how":                     {says: "What is to be done, beyond going on.", words: []string{"empty", "retire"}},
	"ExportDecision.decision": {says: "What was decided, in words.", example: "kept: goes on after event 10482"},
	"seqs":                    {says: "Which events; all where it is missing.", example: []int{10482}},
	"retried":                 {says: "How many are tried again.", example: 1},
	"ExportReport.equal":      {says: "Whether nothing differs.", example: true},
	"missing":                 {says: "Events that were pruned before they were exported."},
	"unchecked":               {says: "Rows of events that the cluster does not keep any more."},
	"different":               {says: "How many differences there are."},
	"days":                    {says: "Each UTC day, by the time of decision."},
	"tables":                  {says: "What belongs to no day."},
	"differences":             {says: "The first hundred."},
	"ExportDay.day":           {says: "The day.", example: "2026-11-23"},
	"ExportDay.equal":         {says: "Whether the checksums agree.", example: true},
	"ExportDay.events":        {says: "Events of the day that were not parked.", example: 1204},
	"ExportDay.rows":          {says: "Rows of the log in the target.", example: 1204},
	"records":                 {says: "Records of the day.", example: 1100},
	"found":                   {says: "Records in the target.", example: 1100},
	"want_sum":                {says: "SHA-256 over the rows as they should be."},
	"got_sum":                 {says: "SHA-256 over the rows in the target."},
	"table":                   {says: "Which table.", example: "users"},
	"ExportTable.equal":       {says: "Whether no row differs.", example: true},
	"ExportTable.want":        {says: "Rows as they should be.", example: 36},
	"ExportTable.rows":        {says: "Rows in the target.", example: 36},
	"ExportDifference.key":    {says: "The key of the row.", example: "10482"},
	"column":                  {says: "Which column; empty when the whole row is missing or should not be there.", example: "first_seen_at"},
	"ExportDifference.want":   {says: "What it should be.", example: "there"},
	"ExportDifference.got":    {says: "What it is.", example: "missing"},

	// Problems.
	"Problem.type":      {says: "A name for the kind of problem.", example: "urn:hadir:problem:not_found"},
	"title":             {says: "The problem in general.", example: "Not found"},
	"Problem.status":    {says: "The status of the answer.", example: 404},
	"instance":          {says: "The request, as the log names it.", example: "urn:hadir:request:0123456789abcdef01234567"},
	"Problem.code":      {says: "A stable word to act on.", example: "not_found"},
	"errors":            {says: "What is wrong, field by field."},
	"Problem.key":       {says: "The idempotency key of the request, to send it again under."},
	"field":             {says: "The field or parameter; empty for the whole body or query.", example: "type"},
	"FieldError.reason": {says: "What is wrong with it.", example: "is neither in nor out"},
}
