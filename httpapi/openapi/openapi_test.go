package openapi_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"hadir/httpapi/openapi"
)

type moment int64

func (moment) MarshalJSON() ([]byte, error) { return []byte(`"now"`), nil }

func (moment) JSONSchema() *openapi.Schema {
	return &openapi.Schema{Type: openapi.Types{"string"}, Format: "date-time"}
}

type place struct {
	Latitude *float64 `json:"latitude"`
}

type thingJSON struct {
	ID   uint64 `json:"id"`
	Name string `json:"name,omitempty"`
	place
	At     moment         `json:"at"`
	Gone   *moment        `json:"gone,omitempty"`
	Parent *thingJSON     `json:"parent"`
	Tags   []string       `json:"tags"`
	Counts map[string]int `json:"counts"`
	Hash   []byte         `json:"hash"`
	Any    any            `json:"any"`
	Choice choice         `json:"choice"`
	secret int
	Hidden string `json:"-"`
}

type choice struct{}

func (choice) OneOf() []any { return []any{place{}, ""} }

type page[T any] struct {
	Items []T `json:"items"`
}

func TestSchemas(t *testing.T) {
	var fields []string
	s := openapi.NewSchemas(func(owner, name string, schema *openapi.Schema) {
		fields = append(fields, owner+"."+name)
		if name == "name" {
			schema.Enum = []any{"a", "b"}
		}
	})
	list, err := s.Of(page[thingJSON]{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(map[string]any{"list": list, "named": s.Named})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"list":{"type":"object","properties":{"items":{"type":"array","items":{"$ref":"#/components/schemas/Thing"}}},"required":["items"],"additionalProperties":false},` +
		`"named":{"Place":{"type":"object","properties":{"latitude":{"type":["number","null"]}},"required":["latitude"],"additionalProperties":false},` +
		`"Thing":{"type":"object","properties":{"id":{"type":"integer","minimum":0},"name":{"type":"string","enum":["a","b"]},"latitude":{"type":["number","null"]},` +
		`"at":{"type":"string","format":"date-time"},"gone":{"type":"string","format":"date-time"},` +
		`"parent":{"oneOf":[{"$ref":"#/components/schemas/Thing"},{"type":"null"}]},"tags":{"type":"array","items":{"type":"string"}},` +
		`"counts":{"type":"object","additionalProperties":{"type":"integer"}},"hash":{"type":"string","format":"byte"},"any":{},` +
		`"choice":{"oneOf":[{"$ref":"#/components/schemas/Place"},{"type":"string"}]}},` +
		`"required":["id","latitude","at","parent","tags","counts","hash","any","choice"],"additionalProperties":false}}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !slices.Contains(fields, "Thing.latitude") || !slices.Contains(fields, ".items") || slices.Contains(fields, "Thing.secret") {
		t.Errorf("fields: %q", fields)
	}
	_ = thingJSON{}.secret
}

// TestNoSchema: what would be described wrongly is refused.
func TestNoSchema(t *testing.T) {
	type Twin struct {
		A int `json:"a"`
	}
	twin := func() any {
		type Twin struct {
			B int `json:"b"`
		}
		return Twin{}
	}()
	for says, v := range map[string]any{
		"nil has no type":     nil,
		"has no JSON":         make(chan int),
		"has no name in JSON": struct{ A int }{},
		"two properties latitude": struct {
			place
			Latitude string `json:"latitude"`
		}{},
		"does not describe it": struct {
			B mute `json:"b"`
		}{},
		"are both named Twin": struct {
			A Twin `json:"a"`
		}{},
	} {
		s := openapi.NewSchemas(nil)
		if strings.Contains(says, "Twin") {
			if _, err := s.Of(twin); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Of(v); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%T: %v, want … %s …", v, err, says)
		}
	}
}

type mute struct{}

func (mute) MarshalJSON() ([]byte, error) { return []byte("1"), nil }

func TestNullable(t *testing.T) {
	s := openapi.Nullable(&openapi.Schema{Type: openapi.Types{"string"}, Enum: []any{"in"}})
	again := openapi.Nullable(s)
	got, err := json.Marshal(again)
	if err != nil || string(got) != `{"type":["string","null"],"enum":["in",null]}` {
		t.Errorf("%s %v", got, err)
	}
}

func TestExample(t *testing.T) {
	least := int64(3)
	s := openapi.NewSchemas(func(_, name string, schema *openapi.Schema) {
		switch name {
		case "id":
			schema.Minimum = &least
		case "at":
			schema.Examples = []any{"2026-11-23T06:58:14.011Z"}
		}
	})
	type leaf struct {
		ID   uint64   `json:"id"`
		At   string   `json:"at"`
		Note string   `json:"note,omitempty"`
		List []string `json:"list"`
		OK   bool     `json:"ok"`
	}
	schema, err := s.Of(leaf{})
	if err != nil {
		t.Fatal(err)
	}
	// What stands beside a reference is of the same object.
	schema.Properties = openapi.Properties{{Name: "ok", Schema: &openapi.Schema{Const: true}}}
	schema.Required = []string{"note"}
	got, err := s.Example(schema)
	if err != nil || string(got) != `{"id":3,"at":"2026-11-23T06:58:14.011Z","note":"text","list":["text"],"ok":true}` {
		t.Errorf("%s %v", got, err)
	}
	type loop struct {
		Next []loop `json:"next"`
	}
	if schema, err = s.Of(loop{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Example(schema); err == nil {
		t.Error("an example without an end")
	}
	if _, err := s.Example(&openapi.Schema{Ref: "#/components/schemas/Nothing"}); err == nil {
		t.Error("an example of nothing")
	}
}
