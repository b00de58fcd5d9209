package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// Example gives a value of a schema: the examples and constants where it has
// some, else the plainest value. Of an object it holds what is required.
func (s *Schemas) Example(schema *Schema) (json.RawMessage, error) {
	var b bytes.Buffer
	if err := s.example(&b, schema, 0); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// maxDepth ends an example of a type that holds itself.
const maxDepth = 16

func (s *Schemas) example(b *bytes.Buffer, schema *Schema, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("openapi: an example is deeper than %d", maxDepth)
	}
	put := func(v any) error {
		text, err := json.Marshal(v)
		b.Write(text)
		return err
	}
	switch {
	case schema.Const != nil:
		return put(schema.Const)
	case len(schema.Examples) > 0:
		return put(schema.Examples[0])
	case len(schema.Enum) > 0:
		return put(schema.Enum[0])
	case len(schema.OneOf) > 0:
		return s.example(b, schema.OneOf[0], depth+1)
	case schema.Ref != "":
		target := s.Resolve(schema)
		if target == nil {
			return fmt.Errorf("openapi: there is no %s", schema.Ref)
		}
		// What stands beside a reference says more about the same object.
		whole := *target
		whole.Properties = slices.Clone(target.Properties)
		for _, p := range schema.Properties {
			for i := range whole.Properties {
				if whole.Properties[i].Name == p.Name {
					whole.Properties[i] = p
				}
			}
		}
		whole.Required = append(slices.Clone(target.Required), schema.Required...)
		return s.example(b, &whole, depth+1)
	case len(schema.Type) == 0:
		return put(map[string]any{})
	}
	switch schema.Type[0] {
	case "object":
		return s.exampleObject(b, schema, depth)
	case "array":
		b.WriteByte('[')
		if err := s.example(b, schema.Items, depth+1); err != nil {
			return err
		}
		b.WriteByte(']')
		return nil
	case "string":
		if schema.Format == "date-time" {
			return put("2026-11-23T06:58:14.011Z")
		}
		return put("text")
	case "boolean":
		return put(false)
	case "integer", "number":
		if schema.Minimum != nil {
			return put(*schema.Minimum)
		}
		return put(0)
	case "null":
		return put(nil)
	}
	return fmt.Errorf("openapi: no example of type %s", schema.Type[0])
}

func (s *Schemas) exampleObject(b *bytes.Buffer, schema *Schema, depth int) error {
	b.WriteByte('{')
	first := true
	for _, p := range schema.Properties {
		if !slices.Contains(schema.Required, p.Name) {
			continue
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		name, err := json.Marshal(p.Name)
		if err != nil {
			return err
		}
		b.Write(name)
		b.WriteByte(':')
		if err := s.example(b, p.Schema, depth+1); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}
