package main

// Files that are mutated more than once.
const (
	rule    = "attendance/rule.go"
	wire    = "attendance/wire.go"
	canon   = "attendance/canon.go"
	read    = "store/read.go"
	tx      = "store/tx.go"
	schema  = "store/schema.go"
	state   = "store/state.go"
	backup  = "store/backup.go"
	apply   = "fsm/apply.go"
	checkin = "fsm/checkin.go"
	people  = "fsm/people.go"
	upkeep  = "fsm/upkeep.go"
)

// Where a mistake of each layer may be noticed.
var (
	ruleTests  = []string{"./attendance", "./fsm"}
	storeTests = []string{"./store", "./fsm"}
	fsmTests   = []string{"./fsm"}

	clusterTests = []string{"./cluster"}
)

// mutants are grouped by kind; a share takes every n-th, so it has some of each.
var mutants = []mutant{
	// The rule.
	{
		name: "single-last-seen", breaks: "one last time for each person: in and out are mixed, and only the time before counts",
		edits: []edit{{
			checkin, "prev, next = a.Neighbours(tap.UserID, tap.Kind, tap.At, a.Params().Window)\n\treturn tap.At, prev, next",
			"prev, _ = a.Neighbours(tap.UserID, 1, tap.At, a.Params().Window)\n" +
				"\tout, _ := a.Neighbours(tap.UserID, 2, tap.At, a.Params().Window)\n" +
				"\tif prev == nil || (out != nil && out.At > prev.At) {\n\t\tprev = out\n\t}\n\treturn tap.At, prev, nil",
		}},
		pkgs: fsmTests,
	},
	{
		name: "no-right-neighbour", breaks: "a late tap is accepted just before one that is there already",
		edits: []edit{{rule, "next.At-t < p.Window", "next.At-t < 0"}},
		pkgs:  ruleTests,
	},
	{
		name: "window-inclusive", breaks: "exactly W apart is a duplicate",
		edits: []edit{
			{rule, "t-prev.At < p.Window", "t-prev.At <= p.Window"},
			{rule, "next.At-t < p.Window", "next.At-t <= p.Window"},
			{read, "from, to := t-within+1, t+within-1", "from, to := t-within, t+within"},
		},
		pkgs: ruleTests,
	},
	{
		name: "window-short", breaks: "one millisecond less than W is accepted",
		edits: []edit{{rule, "t-prev.At < p.Window", "t-prev.At < p.Window-1"}},
		pkgs:  ruleTests,
	},
	{
		name: "neighbour-of-today", breaks: "the neighbour before midnight is not seen",
		edits: []edit{{read, "day := attendance.UTCDay(from);", "day := attendance.UTCDay(t);"}},
		pkgs:  storeTests,
	},
	{
		name: "neighbour-of-tomorrow", breaks: "the neighbour after midnight is not seen",
		edits: []edit{{read, "day <= attendance.UTCDay(to);", "day <= attendance.UTCDay(t);"}},
		pkgs:  storeTests,
	},
	{
		name: "future-time", breaks: "a tap counts at a time after the clock",
		edits: []edit{{rule, "t = min(claim, clock)", "t = claim"}},
		pkgs:  ruleTests,
	},
	{
		name: "age-ignored", breaks: "a queued tap counts when it was proposed, not when it was received",
		edits: []edit{{rule, "return proposedAt - c.Age", "return proposedAt"}},
		pkgs:  ruleTests,
	},
	{
		name: "near-the-floor", breaks: "a tap is accepted where a trimmed neighbour could be nearer than W",
		edits: []edit{{rule, "return t >= floor+p.Window", "return t >= floor"}},
		pkgs:  ruleTests,
	},
	{
		name: "floor-falls", breaks: "Prune lowers the floor",
		edits: []edit{
			{rule, "case floor < current:", "case floor < 0:"},
		},
		pkgs: ruleTests,
	},
	{
		name: "prune-too-recent", breaks: "Prune forgets what a key that still answers may need",
		edits: []edit{{rule, "limit -= p.KeyRetention", "limit -= 0"}},
		pkgs:  ruleTests,
	},
	{
		name: "review-breaks-rule", breaks: "a person's acceptance does not look at the neighbours",
		edits: []edit{{checkin, "a.Params().Conflict(a.neighbours(tap))", "a.Params().Conflict(tap.At, nil, nil)"}},
		pkgs:  fsmTests,
	},
	{
		name: "first-seen-raised", breaks: "a later duplicate moves first_seen_at, an earlier one does not",
		edits: []edit{{checkin, "if t >= record.FirstSeenAt {", "if t <= record.FirstSeenAt {"}},
		pkgs:  fsmTests,
	},
	{
		name: "queued-tap-rejected", breaks: "a recorded tap of an unknown user is rejected, a live one goes to review",
		edits: []edit{{checkin, "if b.Recorded {", "if !b.Recorded {"}},
		pkgs:  fsmTests,
	},

	// Time.
	{
		name: "clock-read", breaks: "the machine reads the clock of its node",
		edits: []edit{
			{apply, "import (\n\t\"errors\"\n\t\"fmt\"\n", "import (\n\t\"errors\"\n\t\"fmt\"\n\t\"time\"\n"},
			{apply, "m.Clock = max(m.Clock, proposedAt)", "m.Clock = max(m.Clock, attendance.MillisOf(time.Now()))"},
		},
		pkgs: fsmTests,
	},
	{
		name: "clock-falls", breaks: "the clock follows a leader whose clock is behind",
		edits: []edit{{apply, "m.Clock = max(m.Clock, proposedAt)", "m.Clock = proposedAt"}},
		pkgs:  fsmTests,
	},
	{
		name: "clock-once-per-entry", breaks: "what follows a SetClock in its entry is decided under the clock set back",
		edits: []edit{{apply, "\t\ttick(tx, e.content.ProposedAt)", "\t\tif i == 0 {\n\t\t\ttick(tx, e.content.ProposedAt)\n\t\t}"}},
		pkgs:  fsmTests,
	},
	{
		name: "set-back-forgotten", breaks: "a second SetClock forgets how far the first went",
		edits: []edit{{upkeep, "m.SetBack += from - b.Clock", "m.SetBack = from - b.Clock"}},
		pkgs:  fsmTests,
	},

	// Keys.
	{
		name: "key-expires-early", breaks: "a key answers for D instead of K",
		edits: []edit{{apply, "retention := tx.Params().KeyRetention", "retention := tx.Params().Deferral"}},
		pkgs:  fsmTests,
	},
	{
		name: "key-floor-raw-clock", breaks: "after SetClock keys answer too long, and then some not at all",
		edits: []edit{{apply, "m.Elapsed()-retention", "m.Clock-retention"}},
		pkgs:  fsmTests,
	},
	{
		name: "key-age-raw-clock", breaks: "a key decided after SetClock expires early",
		edits: []edit{{apply, "Elapsed: a.Meta().Elapsed()", "Elapsed: a.Meta().Clock"}},
		pkgs:  fsmTests,
	},
	{
		name: "key-boundary", breaks: "a key answers one millisecond longer than K, if it was not deleted by then",
		edits: []edit{{read, "row.Elapsed > floor", "row.Elapsed >= floor"}},
		pkgs:  storeTests,
	},
	{
		name: "key-of-everybody", breaks: "the same key of two people is one key",
		edits: []edit{{schema, "AppendUint64(b, p.ID)", "AppendUint64(b, 0*p.ID)"}},
		pkgs:  storeTests,
	},
	{
		name: "key-reused-overwrites", breaks: "the refused second body takes over the key",
		edits: []edit{{apply, "return a.record(attendance.TapRejected, tap)", "return a.decide(attendance.TapRejected, tap)"}},
		pkgs:  fsmTests,
	},
	{
		name: "gc-deletes-live-keys", breaks: "keys of the day of the key floor are deleted while they still answer",
		edits: []edit{{tx, "dayOf(k) < live", "dayOf(k) <= live"}},
		pkgs:  storeTests,
	},

	// The log and the transaction.
	{
		name: "index-outside-tx", breaks: "index, term and chain are written after the commit of the data",
		edits: []edit{
			{tx, "return t.tx.Bucket(bucketMeta).Put(rowState, t.meta.encode())", "return nil"},
			{state, "s.opts.failpoint(\"commit.after\")", "s.opts.failpoint(\"commit.after\")\n" +
				"\tif err := s.file.Update(func(b *bbolt.Tx) error { return b.Bucket(bucketMeta).Put(rowState, tx.meta.encode()) }); err != nil {\n" +
				"\t\treturn err\n\t}"},
		},
		pkgs: storeTests,
	},
	{
		name: "index-of-quiet-entry", breaks: "an entry without an event leaves no applied index",
		edits: []edit{{
			tx, "return t.tx.Bucket(bucketMeta).Put(rowState, t.meta.encode())",
			"if len(t.appended) == 0 {\n\t\treturn nil\n\t}\n\treturn t.tx.Bucket(bucketMeta).Put(rowState, t.meta.encode())",
		}},
		pkgs: storeTests,
	},
	{
		name: "term-not-written", breaks: "the applied term is never stored",
		edits: []edit{{apply, "m.Applied, m.Term = e.Index, e.Term", "m.Applied = e.Index"}},
		pkgs:  fsmTests,
	},
	{
		name: "wrong-term-rule", breaks: "the replay of an entry of an earlier term stops the node",
		edits: []edit{{apply, "index <= m.Applied && term > m.Term", "index <= m.Applied && term != m.Term"}},
		pkgs:  fsmTests,
	},
	{
		name: "older-term-applied", breaks: "an entry of a term before the last applied one is applied",
		edits: []edit{{apply, "index > m.Applied && term < m.Term", "index > m.Applied && term == 0"}},
		pkgs:  fsmTests,
	},
	{
		name: "last-entry-twice", breaks: "the last entry before a restart is applied again",
		edits: []edit{{apply, "if e.Index <= before.Applied {", "if e.Index < before.Applied {"}},
		pkgs:  fsmTests,
	},
	{
		name: "foreign-cluster", breaks: "entries of another cluster are applied",
		edits: []edit{{apply, "before.Cluster != e.content.Cluster", "before.Cluster.IsZero()"}},
		pkgs:  fsmTests,
	},
	{
		name: "duplicate-burns-seq", breaks: "a duplicate takes two numbers",
		edits: []edit{{tx, "t.meta.Seq++", "t.meta.Seq++\n\tif e.Type == attendance.TapDuplicate {\n\t\tt.meta.Seq++\n\t}"}},
		pkgs:  fsmTests,
	},
	{
		name: "chain-without-past", breaks: "the chain hash covers the last event only",
		edits: []edit{{canon, "h.Write(prev[:])", "h.Write(prev[:0])"}},
		pkgs:  []string{"./attendance", "./store", "./fsm"},
	},
	{
		name: "map-order", breaks: "the commands of an entry are decided in the order of a map",
		edits: []edit{{
			apply, "for i, c := range e.content.Commands {",
			"order := map[int]attendance.Command{}\n\tfor i, c := range e.content.Commands {\n\t\torder[i] = c\n\t}\n\tfor i, c := range order {",
		}},
		pkgs: fsmTests,
	},
	{
		name: "divergence-ignored", breaks: "a node whose history differs goes on",
		edits: []edit{{upkeep, "if own != b.Hash {", "if own.String() == \"\" {"}},
		pkgs:  fsmTests,
	},

	// Retention.
	{
		name: "prune-ignores-marks", breaks: "events go that an export target has not seen",
		edits: []edit{{upkeep, "if b.ThroughSeq+params.ExportMargin > seq {", "if seq == 1<<63 {"}},
		pkgs:  fsmTests,
	},
	{
		name: "prune-ignores-margin", breaks: "the margin behind the slowest target is not kept",
		edits: []edit{{upkeep, "if b.ThroughSeq+params.ExportMargin > seq {", "if b.ThroughSeq > seq {"}},
		pkgs:  fsmTests,
	},
	{
		name: "drop-open-review", breaks: "a review vanishes before a person has decided",
		edits: []edit{{tx, "if t.IsOpen(e.Seq) {", "if e.Seq == 0 {"}},
		pkgs:  storeTests,
	},
	{
		name: "drop-ignores-marks", breaks: "events go that an export target needs again since its mark fell",
		edits: []edit{{tx, "through = min(through, mark-min(mark, t.params.ExportMargin))", "through = max(through, mark-mark)"}},
		pkgs:  storeTests,
	},
	{
		name: "drop-above-floor", breaks: "accepted times go that the rule still needs",
		edits: []edit{{tx, "tap.At >= t.meta.Floor", "tap.At < 0"}},
		pkgs:  storeTests,
	},
	{
		name: "drop-what-a-key-answers", breaks: "an event goes while a key still answers from it",
		edits: []edit{{tx, "last.At+last.SetBack > t.meta.KeyFloor", "last.At < 0"}},
		pkgs:  storeTests,
	},
	{
		name: "review-stays-open", breaks: "a review can be resolved twice",
		edits: []edit{{tx, "t.tx.Bucket(bucketOpen).Delete(keySeq(seq)),", "t.tx.Bucket(bucketOpen).Put(keySeq(seq), nil),"}},
		pkgs:  storeTests,
	},

	// Bytes.
	{
		name: "unknown-level", breaks: "an entry of a newer level is applied by guess",
		edits: []edit{
			{wire, "if level > uint64(Level) {", "if level > 1<<32 {"},
			{wire, "e.Level == 0 || e.Level > Level", "e.Level == 0"},
		},
		pkgs: ruleTests,
	},
	{
		name: "unknown-field", breaks: "a field of a newer binary is dropped in silence",
		edits: []edit{{wire, "len(m.ProtoReflect().GetUnknown()) > 0 || len(m.ClusterId)", "len(m.ClusterId)"}},
		pkgs:  ruleTests,
	},
	{
		name: "loose-integers", breaks: "one value has two encodings, so equal content may have unequal hashes",
		edits: []edit{{canon, "n <= 0 || (n > 1 && r.b[n-1] == 0)", "n <= 0"}},
		pkgs:  ruleTests,
	},
	{
		name: "email-not-folded", breaks: "two users have one address in two spellings",
		edits: []edit{{"attendance/types.go", "b[i] = c + 'a' - 'A'", "b[i] = c"}},
		pkgs:  ruleTests,
	},
	{
		name: "last-admin-goes", breaks: "nobody is left to administer",
		edits: []edit{{people, "a.Meta().Admins == 1", "a.Meta().Admins == 0"}},
		pkgs:  fsmTests,
	},
	{
		name: "backup-digest", breaks: "a backup whose digest does not fit is taken",
		edits: []edit{{backup, "attendance.Hash(want) != digest", "len(want) != len(digest)"}},
		pkgs:  storeTests,
	},
	{
		name: "chain-of-file", breaks: "a file whose events do not lead to its chain hash is opened",
		edits: []edit{{read, "if sum != m.Chain {", "if len(sum) != len(m.Chain) {"}},
		pkgs:  storeTests,
	},

	// Members.
	{
		name: "retired-starts", breaks: "an old copy of a disk is started until it counts as the newest",
		edits: []edit{{"cluster/node.go", "checkRetired(n.cfg.DataDir); err != nil {", "checkRetired(n.cfg.DataDir); err != nil && n == nil {"}},
		pkgs:  clusterTests, run: "TestAnOldCopyOfADataDirectoryIsRefused",
	},
	{
		name: "level-of-one", breaks: "the command level is raised to what one server supports",
		edits: []edit{{"cluster/levels.go", "level = min(level, l)", "level = max(level, l)"}},
		pkgs:  clusterTests, run: "TestNextLevel",
	},
	{
		name: "older-program-starts", breaks: "a program goes on with a state that it does not know how to read",
		edits: []edit{{"cluster/node.go", "if m.Level > attendance.Level {", "if m.Level > attendance.Level+1 {"}},
		pkgs:  clusterTests, run: "TestAnOlderProgramDoesNotStart",
	},
}
