package httpapi

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"hadir/httpapi/openapi"
	"hadir/ui"
)

// The contract in machine form is made at the start from the table of routes,
// from what operations.go says about each of them, from the Go types of the
// bodies and from fields.go, which says what a field means. The tests hold every
// answer that they get against it.

// contractVersion is that of the contract. It changes its second number with
// additions; the first one is in the paths.
const contractVersion = "1.0"

// operation is what the contract says of a route beyond its row in the table.
type operation struct {
	summary string
	detail  string
	params  []param
	// body is a value of the shape of a JSON request; nil for none.
	body    any
	upload  string // the media type of a body that is not JSON
	example string // of the body
	answers []outcome
	codes   []code // of problems, beside those that come with the row
	act     act    // what it does beyond reading
}

// act is what an operation does beyond reading. It brings problems with it.
type act uint8

const (
	reads   act = iota
	local       // needs no state at all
	decides     // has something decided by the cluster
	changes     // has something decided under an idempotency key of its own
)

// outcome is one answer that is no problem.
type outcome struct {
	status  int
	says    string
	shape   any    // nil for an empty body
	is      string // the value of its field status
	media   string // "" for JSON
	header  []string
	example string // "" for one that is made up
}

// param is a parameter of the query or the header.
type param struct {
	name, says string
	schema     *openapi.Schema
	in         string // "" for the query
	required   bool
}

var (
	readProblems   = []code{codeBehind, codeOverloaded, codeNotReady, codeClosing, codeStorage}
	decideProblems = []code{codeNoLeader, codeUnknownOutcome, codeOverloaded, codeNotReady, codeClosing}
	bodyProblems   = []code{codeInvalidBody, codeUnsupportedType, codeTooLarge, codeTimeout}
)

// area is a group of routes in the contract.
type area struct {
	name, says string
	segments   []string // that follow the prefix
}

// contractAreas are in the order of the documentation.
var contractAreas = []area{
	{"Sessions", "Signing in and out. Any node can, with or without a quorum.", []string{"session", "sessions"}},
	{"Check-ins", "Taps, and what became of them.", []string{"checkins"}},
	{"Records", "What was decided, and everything that happened.", []string{"attendances", "logs", "stats", "reviews", "journal"}},
	{"People", "People, their groups, and the devices that check them in.", []string{"users", "groups", "tokens"}},
	{"Jobs", "What takes longer than a request: it is asked for, and fetched when it is done.", []string{"reports", "imports", "jobs", "webhooks"}},
	{"Stream", "What is decided, as it is decided.", []string{"stream", "stream-ticket", "presence"}},
	{"Cluster", "The nodes, who leads, and what an operator does.", []string{"cluster", "backup", "restore", "export", "queue"}},
	{"Health", "For probes and monitoring. The same is served without the prefix.", []string{"healthz", "readyz", "metrics"}},
	{"Demo", "There is this in a demo only.", []string{"demo"}},
	{"Contract", "This description.", []string{"openapi.json"}},
}

// areaOf gives the name of a path's area.
func areaOf(path string) string {
	segment, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(path, apiPrefix), "/"), "/")
	for _, a := range contractAreas {
		if slices.Contains(a.segments, segment) {
			return a.name
		}
	}
	return ""
}

// inContract reports whether a route is for programs.
func (r *route) inContract() bool { return !r.page && areaOf(r.path) != "" }

// key finds the operation of a route: its method and path, without the prefix.
func (r *route) key() string { return r.method + " " + strings.TrimPrefix(r.path, apiPrefix) }

// contractIntro is read on the documentation page too: paragraphs of plain text.
const contractIntro = "Times are RFC 3339 in UTC with milliseconds; durations carry their unit in the name (_ms, _s); ids are integers " +
	"unless said; everything is UTF-8. GET serves HEAD too.\n\n" +
	"Errors are application/problem+json (RFC 9457). The field code is a stable word to act on; errors names the fields that are wrong. " +
	"A body holds at most 64 KiB unless said. What is not described is refused, never ignored: fields of a body, and parameters of operations that take any. A field that is null counts as left out.\n\n" +
	"Sign in at POST /api/v1/session and send the token as Authorization: Bearer, or let a browser keep the cookie. " +
	"What each role reaches stands with each operation: own is oneself, group the people of the groups for which one is responsible, " +
	"all everybody.\n\n" +
	"What changes something takes an Idempotency-Key. Whatever happens to the answer, send the same request under the same key again: " +
	"it is decided once, and you get that decision."

// contract is the description of a table of routes.
type contract struct {
	document *openapi.Document
	schemas  *openapi.Schemas
	json     []byte
	page     ui.Docs
}

// describe makes the contract of the routes in a table.
func describe(table []route) (*contract, error) {
	k := &contract{schemas: openapi.NewSchemas(describeField)}
	k.document = &openapi.Document{
		OpenAPI: openapi.Version,
		Info: openapi.Info{
			Title: "hadir", Summary: "Real-time distributed attendance", Description: contractIntro, Version: contractVersion,
		},
		Servers: []openapi.Server{{URL: "/", Description: "The node that serves this, or the front of the cluster."}},
		Paths:   make(map[string]openapi.PathItem),
		Components: openapi.Components{
			Headers: answerHeaders(),
			SecuritySchemes: map[string]openapi.SecurityScheme{
				"bearer": {Type: "http", Scheme: "bearer", Description: "The token of POST /api/v1/session, or that of a device."},
				"cookie": {Type: "apiKey", In: "cookie", Name: cookieName, Description: "What a browser gets when somebody signs in."},
				"ticket": {Type: "apiKey", In: "query", Name: ticketParam, Description: "For the stream alone, from POST /api/v1/stream-ticket."},
			},
		},
	}
	used := make(map[string]bool)
	for _, r := range table {
		op, known := operations[r.key()]
		if !known || !r.inContract() {
			continue
		}
		described, err := k.operation(&r, op)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.key(), err)
		}
		path := plainPath(r.path)
		if k.document.Paths[path] == nil {
			k.document.Paths[path] = make(openapi.PathItem)
		}
		k.document.Paths[path][strings.ToLower(r.method)] = described
		used[areaOf(r.path)] = true
	}
	for _, a := range contractAreas {
		if used[a.name] {
			k.document.Tags = append(k.document.Tags, openapi.Tag{Name: a.name, Description: a.says})
		}
	}
	k.document.Components.Schemas = k.schemas.Named
	var err error
	if k.json, err = json.Marshal(k.document); err != nil {
		return nil, err
	}
	k.page, err = k.readable()
	return k, err
}

// ticketParam stands for a session in an address.
const ticketParam = "ticket"

var pathVariable = regexp.MustCompile(`\{([a-z]+)(?::([^}]*))?\}`)

// plainPath takes the patterns out of the variables of a path.
func plainPath(path string) string { return pathVariable.ReplaceAllString(path, "{$1}") }

// operationID names an operation by its method and path.
func operationID(method, path string) string {
	id := strings.ToLower(method)
	path, prefixed := strings.CutPrefix(path, apiPrefix)
	if !prefixed {
		id += "Root"
	}
	for part := range strings.FieldsFuncSeq(plainPath(path), func(r rune) bool { return strings.ContainsRune("/{}-._", r) }) {
		id += strings.ToUpper(part[:1]) + part[1:]
	}
	return id
}

func (k *contract) operation(r *route, op operation) (*openapi.Operation, error) {
	out := &openapi.Operation{
		OperationID: operationID(r.method, r.path), Tags: []string{areaOf(r.path)}, Summary: op.summary, Description: op.detail,
		Responses: make(map[string]*openapi.Response), Security: []map[string][]string{},
	}
	if !r.access.public() {
		out.Security = []map[string][]string{{"bearer": {}}, {"cookie": {}}}
		if slices.ContainsFunc(op.params, func(p param) bool { return p.name == ticketParam }) {
			out.Security = append(out.Security, map[string][]string{"ticket": {}})
		}
		out.Access = &openapi.Access{Subject: r.access.subject.String(), Reach: make(map[string]string)}
		for kind := student; kind < kinds; kind++ {
			out.Access.Reach[kind.String()] = r.access.reach[kind].String()
		}
	}
	for _, m := range pathVariable.FindAllStringSubmatch(r.path, -1) {
		out.Parameters = append(out.Parameters, pathParam(r.path, m[1], m[2]))
	}
	params := op.params
	if op.act == changes {
		params = append(slices.Clone(params), keyParam)
	}
	for _, p := range params {
		out.Parameters = append(out.Parameters, openapi.Parameter{
			Name: p.name, In: cmp.Or(p.in, "query"), Description: p.says, Schema: p.schema, Required: p.required,
		})
	}
	if err := k.request(out, op); err != nil {
		return nil, err
	}
	for _, o := range op.answers {
		if op.act == changes {
			o.header = append(slices.Clone(o.header), "Idempotency-Key", "Idempotency-Replayed")
		}
		if err := k.answer(out, o); err != nil {
			return nil, err
		}
	}
	return out, k.problems(out, op, problemsOf(r, op))
}

func (k *contract) request(out *openapi.Operation, op operation) error {
	media := op.upload
	schema := &openapi.Schema{Type: openapi.Types{"string"}}
	if op.body != nil {
		var err error
		if schema, err = k.schemas.Of(op.body); err != nil {
			return err
		}
		media = "application/json"
		object := k.schemas.Resolve(schema)
		for _, p := range object.Properties {
			if !slices.Contains(object.Required, p.Name) {
				*p.Schema = *openapi.Nullable(p.Schema) // null counts as left out
			}
		}
	}
	if media == "" {
		return nil
	}
	body := openapi.Media{Schema: schema}
	if op.example != "" {
		body.Example = json.RawMessage(op.example)
		if op.body == nil {
			text, err := json.Marshal(op.example)
			if err != nil {
				return err
			}
			body.Example = text
		}
	}
	out.RequestBody = &openapi.RequestBody{Required: true, Content: map[string]openapi.Media{media: body}}
	return nil
}

func (k *contract) answer(out *openapi.Operation, o outcome) error {
	status := strconv.Itoa(o.status)
	response := out.Responses[status]
	if response == nil {
		response = &openapi.Response{Description: o.says, Headers: headersOf(o.status, o.header)}
		out.Responses[status] = response
	} else {
		response.Description += " " + o.says
	}
	if o.shape == nil {
		return nil
	}
	schema, err := k.schemas.Of(o.shape)
	if err != nil {
		return err
	}
	if o.is != "" {
		schema.Properties = openapi.Properties{{Name: "status", Schema: &openapi.Schema{Const: o.is}}}
	}
	media := openapi.Media{Schema: schema, Example: json.RawMessage(o.example)}
	if o.example == "" {
		if media.Example, err = k.schemas.Example(schema); err != nil {
			return err
		}
	}
	if o.media != "" && o.example != "" {
		if media.Example, err = json.Marshal(o.example); err != nil {
			return err
		}
	}
	if response.Content == nil {
		response.Content = make(map[string]openapi.Media)
	}
	response.Content[cmp.Or(o.media, "application/json")] = media
	return nil
}

// problemsOf gives the codes that an operation may answer with.
func problemsOf(r *route, op operation) []code {
	codes := slices.Clone(op.codes)
	if !r.access.public() {
		codes = append(codes, codeUnauthenticated, codeForbidden)
		codes = append(codes, readProblems...)
		if r.method != http.MethodGet {
			codes = append(codes, codeRateLimited)
		}
	}
	if r.method != http.MethodGet {
		codes = append(codes, codeCrossOrigin)
		if !r.access.public() {
			codes = append(codes, codeRateLimited)
		}
	}
	if op.act == decides || op.act == changes {
		codes = append(codes, decideProblems...)
	}
	if op.act == changes {
		codes = append(codes, codeInvalidKey, codeKeyReused)
	}
	if op.body != nil || op.upload != "" {
		codes = append(codes, bodyProblems...)
	}
	if op.act != local && slices.ContainsFunc(op.params, func(p param) bool { return p.in == "" }) {
		codes = append(codes, codeInvalidQuery)
	}
	if strings.Contains(r.path, "{") {
		codes = append(codes, codeNotFound)
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

// problems describes them, by status.
func (k *contract) problems(out *openapi.Operation, op operation, codes []code) error {
	byStatus := make(map[int][]any)
	says := make(map[int][]string)
	for _, c := range codes {
		m, known := meanings[c]
		if !known {
			return fmt.Errorf("the code %s has no meaning", c)
		}
		byStatus[m.status] = append(byStatus[m.status], c)
		says[m.status] = append(says[m.status], m.title)
	}
	for _, status := range slices.Sorted(maps.Keys(byStatus)) {
		schema, err := k.schemas.Of(problem{})
		if err != nil {
			return err
		}
		schema.Properties = openapi.Properties{
			{Name: "status", Schema: &openapi.Schema{Const: status}}, {Name: "code", Schema: &openapi.Schema{Enum: byStatus[status]}},
		}
		name := strconv.Itoa(status)
		response := out.Responses[name]
		if response == nil {
			response = &openapi.Response{Description: strings.Join(slices.Compact(says[status]), "; ") + "."}
			out.Responses[name] = response
		}
		more := slices.Collect(maps.Keys(response.Headers))
		if op.act == changes {
			more = append(more, "Idempotency-Key")
		}
		if response.Headers = headersOf(status, more); response.Content == nil {
			response.Content = make(map[string]openapi.Media)
		}
		response.Content["application/problem+json"] = openapi.Media{Schema: schema}
	}
	return nil
}

// headersOf gives the fields of an answer's header that mean something, but for
// those that every answer of every server has.
func headersOf(status int, more []string) map[string]openapi.Header {
	names := append([]string{"X-Request-Id", "X-Hadir-Node", "X-Hadir-Index"}, more...)
	switch status {
	case http.StatusUnauthorized:
		names = append(names, "WWW-Authenticate")
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		names = append(names, "Retry-After")
	}
	headers := make(map[string]openapi.Header)
	for _, name := range names {
		headers[name] = openapi.Header{Ref: "#/components/headers/" + name}
	}
	return headers
}

func answerHeaders() map[string]openapi.Header {
	text := func(says string, required bool) openapi.Header {
		return openapi.Header{Description: says, Required: required, Schema: &openapi.Schema{Type: openapi.Types{"string"}}}
	}
	number := func(says string, required bool) openapi.Header {
		return openapi.Header{Description: says, Required: required, Schema: integer(0, maxID)}
	}
	return map[string]openapi.Header{
		"X-Request-Id":         text("The request's name in the log: the client's own, if it sent a harmless one.", true),
		"X-Hadir-Node":         text("The node that answered.", true),
		"X-Hadir-Index":        number("The raft index that the answer knows of. As min_index it makes a later read see at least as much.", true),
		"WWW-Authenticate":     text("How to sign in.", false),
		"Retry-After":          number("Seconds to wait before the next try.", false),
		"Location":             text("Where the new thing is.", false),
		"Idempotency-Key":      text("The key under which it was decided: the request's, or one that was made.", false),
		"Idempotency-Replayed": {Description: "There when the answer is an earlier decision under the same key.", Schema: &openapi.Schema{Const: "true"}},
		"Set-Cookie":           text("The session, for browsers.", false),
		"Content-Disposition":  text("A name for the file.", false),
		"X-Hadir-As-Of":        text("As the field as_of.", false),
		"X-Hadir-Seq":          text("The newest event that a report reflects.", false),
		"X-Hadir-Stale":        text("As the field stale.", false),
		"Vary":                 text("What of the request the answer depends on.", false),
	}
}

// pathParams say what the variables in paths are. A path may say more exactly.
var pathParams = map[string]param{
	"id":     {says: "The id.", schema: integer(1, maxID)},
	"key":    {says: "The idempotency key: a UUID or a ULID.", schema: openapi.String()},
	"seq":    {says: "The seq of the event.", schema: integer(1, maxID)},
	"node":   {says: "The node's name.", schema: openapi.String()},
	"job":    {says: "The name of the job.", schema: openapi.String()},
	"member": {says: "The id of the person.", schema: integer(1, maxID)},
}

func pathParam(path, name, pattern string) openapi.Parameter {
	p := pathParams[name]
	if pattern != "" {
		p = param{says: "What to do.", schema: words(strings.Split(pattern, "|")...)}
	}
	if strings.HasPrefix(path, apiPrefix+"/attendances/") {
		p.says = "The attendance's id, which is the seq of the event that accepted it."
	}
	return openapi.Parameter{Name: name, In: "path", Required: true, Description: p.says, Schema: p.schema}
}

// integer gives the schema of an integer within bounds.
func integer(least, most int64) *openapi.Schema {
	return &openapi.Schema{Type: openapi.Types{"integer"}, Minimum: &least, Maximum: &most}
}

// words gives the schema of one of some words.
func words(all ...string) *openapi.Schema {
	s := openapi.String()
	for _, w := range all {
		s.Enum = append(s.Enum, w)
	}
	return s
}

// JSONSchema implements openapi.Describer.
func (stamp) JSONSchema() *openapi.Schema {
	return &openapi.Schema{Type: openapi.Types{"string"}, Format: "date-time", Pattern: `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`}
}

// JSONSchema implements openapi.Describer.
func (decimal) JSONSchema() *openapi.Schema { return &openapi.Schema{Type: openapi.Types{"number"}} }

var _ = [...]openapi.Describer{stamp(0), decimal{}}
