package httpapi_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"hadir/httpapi"
)

// ledger holds every answer that the tests get against the contract, and notes
// what they saw of it.
type ledger struct {
	mu       sync.Mutex
	doc      map[string]any
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema
	statuses map[string]bool            // "GET /path 200"
	fields   map[string]map[string]bool // of request bodies, by operation
	params   map[string][]string        // of the query, by operation
}

const documentURL = "urn:hadir:contract"

// contract is shared by all tests of the package: what one does not see of the
// contract another does.
var contract = sync.OnceValues(func() (*ledger, error) {
	text, err := httpapi.Contract()
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	l := &ledger{
		compiler: jsonschema.NewCompiler(), schemas: make(map[string]*jsonschema.Schema), statuses: make(map[string]bool),
		fields: make(map[string]map[string]bool), params: make(map[string][]string),
	}
	l.doc, _ = doc.(map[string]any)
	l.compiler.DefaultDraft(jsonschema.Draft2020)
	l.compiler.AssertFormat()
	return l, l.compiler.AddResource(documentURL, doc)
})

// dig follows the keys into a document; nil when there is nothing.
func dig(v any, keys ...string) any {
	for _, key := range keys {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

func object(v any) map[string]any { m, _ := v.(map[string]any); return m }

func pointer(keys ...string) string {
	escape := strings.NewReplacer("~", "~0", "/", "~1", "%", "%25", "{", "%7B", "}", "%7D")
	var b strings.Builder
	for _, key := range keys {
		b.WriteString("/" + escape.Replace(key))
	}
	return b.String()
}

// schema compiles the schema at a place of the document, once.
func (l *ledger) schema(keys ...string) (*jsonschema.Schema, error) {
	at := documentURL + "#" + pointer(keys...)
	if s := l.schemas[at]; s != nil {
		return s, nil
	}
	s, err := l.compiler.Compile(at)
	l.schemas[at] = s
	return s, err
}

// check holds one answer against the contract. It says nothing about routes that
// are not described: TestContractIsComplete does.
func (l *ledger) check(r *http.Request, status int, header http.Header, body []byte) error {
	key, path, found := httpapi.RouteOf(r)
	method := strings.ToLower(r.Method)
	if r.Method == http.MethodHead {
		method = "get"
	}
	op := dig(l.doc, "paths", path, method)
	if !found || op == nil {
		return nil
	}
	code := fmt.Sprint(status)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.statuses[key+" "+code] = true
	response := object(dig(op, "responses", code))
	if response == nil {
		return fmt.Errorf("%s: the status %s is not in the contract: %s", key, code, body)
	}
	if err := l.checkHeader(key+" "+code, object(response["headers"]), header); err != nil {
		return err
	}
	content := object(response["content"])
	if len(content) == 0 {
		if len(body) > 0 {
			return fmt.Errorf("%s %s: a body that is not in the contract: %s", key, code, body)
		}
		return nil
	}
	media, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil || content[media] == nil {
		return fmt.Errorf("%s %s: the media type %q is not in the contract", key, code, header.Get("Content-Type"))
	}
	if r.Method == http.MethodHead || !strings.HasSuffix(media, "json") {
		return nil
	}
	return l.validate(body, "paths", path, method, "responses", code, "content", media, "schema")
}

// telling are the fields of a header that mean something to a client.
var telling = []string{"Location", "Retry-After", "Idempotency-Key", "Idempotency-Replayed", "Www-Authenticate", "Set-Cookie", "Content-Disposition"}

func (l *ledger) checkHeader(what string, described map[string]any, header http.Header) error {
	known := make(map[string]bool)
	for name := range described {
		known[http.CanonicalHeaderKey(name)] = true
		if required, _ := dig(l.doc, "components", "headers", name, "required").(bool); required && header.Get(name) == "" {
			return fmt.Errorf("%s: no %s", what, name)
		}
	}
	for _, name := range telling {
		if header.Get(name) != "" && !known[name] {
			return fmt.Errorf("%s: %s is not in the contract", what, name)
		}
	}
	return nil
}

// validate checks JSON against the schema at a place of the document.
func (l *ledger) validate(body []byte, keys ...string) error {
	schema, err := l.schema(keys...)
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(keys, " "), err, body)
	}
	if err := schema.Validate(v); err != nil {
		return fmt.Errorf("%w\n%s", err, body)
	}
	return nil
}

// saw notes what a handler took of a request.
func (l *ledger) saw(c httpapi.Call) error {
	op := dig(l.doc, "paths", c.Path, strings.ToLower(c.Method))
	if c.Asked && c.Narrow && c.Subject == "nothing" {
		return fmt.Errorf("%s asks its scope and is about %s: say in its row what it is about", c.Key, c.Subject)
	}
	if op == nil {
		return nil
	}
	if documented := l.queryOf(c.Path, c.Method); c.Read && !slices.Equal(slices.Sorted(slices.Values(c.Params)), documented) {
		return fmt.Errorf("%s takes the parameters %q, and the contract says %q", c.Key, c.Params, documented)
	}
	if c.Status == http.StatusBadRequest {
		return nil // a field may have been taken only to refuse it
	}
	documented := l.bodyOf(c.Path, c.Method)
	for _, field := range c.Fields {
		if documented[field] == nil {
			return fmt.Errorf("%s takes the field %s, which is not in the contract", c.Key, field)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.Read {
		l.params[c.Key] = c.Params
	}
	if l.fields[c.Key] == nil {
		l.fields[c.Key] = make(map[string]bool)
	}
	for _, field := range c.Fields {
		l.fields[c.Key][field] = true
	}
	return nil
}

// queryOf gives the documented parameters of the query, in order.
func (l *ledger) queryOf(path, method string) []string {
	names := []string{}
	params, _ := dig(l.doc, "paths", path, strings.ToLower(method), "parameters").([]any)
	for _, p := range params {
		if dig(p, "in") == "query" {
			names = append(names, fmt.Sprint(dig(p, "name")))
		}
	}
	return slices.Sorted(slices.Values(names))
}

// bodyOf gives the documented fields of a JSON body.
func (l *ledger) bodyOf(path, method string) map[string]any {
	schema := dig(l.doc, "paths", path, strings.ToLower(method), "requestBody", "content", "application/json", "schema")
	if ref, ok := dig(schema, "$ref").(string); ok {
		schema = dig(l.doc, "components", "schemas", strings.TrimPrefix(ref, "#/components/schemas/"))
	}
	return object(dig(schema, "properties"))
}

// unseen gives what of the contract no test saw: answers that are no problem,
// fields of requests, and queries.
func (l *ledger) unseen() (missing []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	documented, seen := 0, 0
	for path, item := range object(l.doc["paths"]) {
		for method, op := range object(item) {
			key := strings.ToUpper(method) + " " + path
			for status := range object(dig(op, "responses")) {
				documented++
				switch {
				case l.statuses[key+" "+status]:
					seen++
				case status[0] == '2':
					missing = append(missing, "answer "+key+" "+status)
				}
			}
			for field := range l.bodyOf(path, method) {
				if !l.fields[key][field] {
					missing = append(missing, "field "+field+" of "+key)
				}
			}
			if len(l.queryOf(path, method)) > 0 && l.params[key] == nil {
				missing = append(missing, "query of "+key)
			}
		}
	}
	slices.Sort(missing)
	fmt.Printf("contract: %d of %d documented answers were seen, every one of them as documented\n", seen, documented)
	return missing
}

// TestMain fails a run of all tests that did not see all of the contract.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	value := func(name string) string { return flag.Lookup("test." + name).Value.String() }
	all := slices.Contains([]string{"", "."}, value("run")) && value("skip") == "" && value("fuzz") == "" && value("list") == "" && value("bench") == ""
	if code == 0 && all && !testing.Short() {
		l, err := contract()
		if err != nil {
			fmt.Println("contract:", err)
			os.Exit(1)
		}
		if missing := l.unseen(); len(missing) > 0 {
			fmt.Printf("FAIL: no test saw this of the contract:\n  %s\n", strings.Join(missing, "\n  "))
			code = 1
		}
	}
	os.Exit(code)
}

func theContract(t testing.TB) *ledger {
	t.Helper()
	l, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestContractIsComplete: each route for programs has an operation and each
// operation a route, and nothing is said twice or for nobody.
func TestContractIsComplete(t *testing.T) {
	l := theContract(t)
	keys := httpapi.InContract()
	for _, key := range keys {
		if !slices.Contains(httpapi.Operations(), key) {
			t.Errorf("the route %s has no operation in operations.go", key)
		}
	}
	for _, key := range httpapi.Operations() {
		if !slices.Contains(keys, key) {
			t.Errorf("the operation %s has no route", key)
		}
	}
	for _, route := range newWorld(t, httpapi.Everything).api.RouteTable() {
		if strings.HasPrefix(route.Path, "/api/v1/") && httpapi.AreaOf(route.Path) == "" {
			t.Errorf("%s belongs to no area of the contract", route.Path)
		}
	}
	used := make(map[string]bool)
	owners := map[string]any{"": nil}
	maps.Copy(owners, object(dig(l.doc, "components", "schemas")))
	walk(l.doc, func(m map[string]any) {
		properties, ok := m["properties"].(map[string]any)
		if !ok || m["type"] != "object" {
			return
		}
		for name, p := range properties {
			used[name] = true
			for owner := range owners {
				used[owner+"."+name] = true
			}
			if s, _ := dig(p, "description").(string); s == "" {
				t.Errorf("the field %s has no words in fields.go", name)
			}
		}
	})
	for _, name := range httpapi.FieldDocs() {
		if !used[name] {
			t.Errorf("fields.go describes %s, which there is not", name)
		}
	}
}

// walk calls f with every object in a document.
func walk(v any, f func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		f(v)
		for _, x := range v {
			walk(x, f)
		}
	case []any:
		for _, x := range v {
			walk(x, f)
		}
	}
}

// TestContractIsOpenAPI: the document has the structure of OpenAPI 3.1, each of
// its schemas is one, each reference leads somewhere, and each example is what
// it is an example of.
func TestContractIsOpenAPI(t *testing.T) {
	l := theContract(t)
	text, err := os.ReadFile("testdata/openapi-3.1.json")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("urn:openapi", rules); err != nil {
		t.Fatal(err)
	}
	if err := c.MustCompile("urn:openapi").Validate(l.doc); err != nil {
		t.Error(err)
	}
	walk(l.doc, func(m map[string]any) {
		if ref, ok := m["$ref"].(string); ok {
			keys, local := strings.CutPrefix(ref, "#/")
			if !local || dig(l.doc, strings.Split(keys, "/")...) == nil {
				t.Errorf("the reference %s leads nowhere", ref)
			}
		}
	})
	ids := make(map[string]string)
	examples := 0
	for path, item := range object(l.doc["paths"]) {
		for method, op := range object(item) {
			key := strings.ToUpper(method) + " " + path
			id := fmt.Sprint(dig(op, "operationId"))
			if other := ids[id]; other != "" {
				t.Errorf("%s and %s are both %s", key, other, id)
			}
			ids[id] = key
			variables := variablePattern.FindAllStringSubmatch(path, -1)
			named := 0
			params, _ := dig(op, "parameters").([]any)
			for i, p := range params {
				if dig(p, "in") == "path" {
					named++
					if !strings.Contains(path, fmt.Sprintf("{%s}", dig(p, "name"))) || dig(p, "required") != true {
						t.Errorf("%s: the parameter %v is not in the path", key, dig(p, "name"))
					}
				}
				if dig(p, "description") == nil || dig(p, "schema") == nil {
					t.Errorf("%s: the parameter %v is not described", key, dig(p, "name"))
				}
				if _, err := l.schema("paths", path, method, "parameters", fmt.Sprint(i), "schema"); err != nil {
					t.Errorf("%s: %v", key, err)
				}
			}
			if named != len(variables) {
				t.Errorf("%s has %d variables and %d parameters for them", key, len(variables), named)
			}
			examples += l.checkExamples(t, key, []string{"paths", path, method, "requestBody", "content"})
			for status := range object(dig(op, "responses")) {
				examples += l.checkExamples(t, key+" "+status, []string{"paths", path, method, "responses", status, "content"})
			}
		}
	}
	for name := range object(dig(l.doc, "components", "schemas")) {
		if _, err := l.schema("components", "schemas", name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Logf("contract: %d operations, %d shapes, %d examples", len(ids), len(object(dig(l.doc, "components", "schemas"))), examples)
}

// checkExamples checks those of one body in all its media types.
func (l *ledger) checkExamples(t *testing.T, what string, at []string) (n int) {
	t.Helper()
	for media, content := range object(dig(l.doc, at...)) {
		place := append(slices.Clone(at), media, "schema")
		if _, err := l.schema(place...); err != nil {
			t.Errorf("%s %s: %v", what, media, err)
			continue
		}
		example, given := object(content)["example"]
		if !given {
			if media != "application/problem+json" {
				t.Errorf("%s %s has no example", what, media)
			}
			continue
		}
		n++
		text, err := json.Marshal(example)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.validate(text, place...); err != nil {
			t.Errorf("%s: the example: %v", what, err)
		}
	}
	return n
}

// TestContractServed: every node serves the description of what it serves.
func TestContractServed(t *testing.T) {
	whole, err := httpapi.Contract()
	if err != nil {
		t.Fatal(err)
	}
	r := newWorld(t, httpapi.Everything).get(0, "/api/v1/openapi.json")
	if r.StatusCode != http.StatusOK || !bytes.Equal(r.body, whole) {
		t.Errorf("%d, %d bytes of %d", r.StatusCode, len(r.body), len(whole))
	}
	plain := newWorld(t, func(c *httpapi.Config) { c.Demo, c.Accounts = nil, nil }).get(0, "/api/v1/openapi.json")
	if paths := object(plain.doc["paths"]); paths["/api/v1/session"] == nil || paths["/api/v1/demo/accounts"] != nil {
		t.Errorf("outside of a demo: %d paths", len(paths))
	}
}

// TestDocsPage: the page says all that the document says, in both languages and
// without a script.
func TestDocsPage(t *testing.T) {
	w := newWorld(t, httpapi.Everything)
	l := theContract(t)
	for lang, says := range map[string]string{"id": "Isi permintaan", "en": "Request body"} {
		r := w.do(0, "GET", "/api/docs?lang="+lang, "")
		page := string(r.body)
		if r.StatusCode != http.StatusOK || !strings.Contains(page, `<html lang="`+lang+`">`) {
			t.Fatalf("%s: %d", lang, r.StatusCode)
		}
		must(t, page, says, `href="/api/v1/openapi.json"`)
		for path, item := range object(l.doc["paths"]) {
			for _, op := range object(item) {
				if strings.HasPrefix(path, "/api/v1/") {
					must(t, page, fmt.Sprintf(`id="%v"`, dig(op, "operationId")), "<code>"+path+"</code>")
				}
			}
		}
		for name := range object(dig(l.doc, "components", "schemas")) {
			if !strings.HasSuffix(name, "Request") { // which is told in place
				must(t, page, fmt.Sprintf(`id="shape-%s"`, strings.ToLower(name)))
			}
		}
	}
}
