package openapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// Describer is a type that says by itself what it looks like in JSON.
type Describer interface {
	JSONSchema() *Schema
}

// Union is a type that stands for one of several.
type Union interface {
	// OneOf gives a value of each.
	OneOf() []any
}

// refPrefix is where named schemas stand in a document.
const refPrefix = "#/components/schemas/"

// Schemas makes schemas of Go types and keeps those that have a name: a struct
// type with a name, without its suffix JSON, is described once and referred to.
type Schemas struct {
	// Named are for Components.Schemas.
	Named map[string]*Schema
	// field may complete the schema of a property.
	field func(owner, name string, s *Schema)
	types map[string]reflect.Type
}

// NewSchemas gives an empty collection. Field is called for each property with
// the name of its object ("" for one without a name); nil for nothing.
func NewSchemas(field func(owner, name string, s *Schema)) *Schemas {
	if field == nil {
		field = func(string, string, *Schema) {}
	}
	return &Schemas{Named: make(map[string]*Schema), types: make(map[string]reflect.Type), field: field}
}

// Of gives the schema of a value's type. It fails for what JSON does not know,
// such as a channel, and for two types with one name.
func (s *Schemas) Of(v any) (*Schema, error) {
	t := reflect.TypeOf(v)
	if t == nil {
		return nil, fmt.Errorf("openapi: nil has no type")
	}
	return s.of(t)
}

var (
	describer  = reflect.TypeFor[Describer]()
	union      = reflect.TypeFor[Union]()
	marshaler  = reflect.TypeFor[json.Marshaler]()
	rawMessage = reflect.TypeFor[json.RawMessage]()
)

func (s *Schemas) of(t reflect.Type) (*Schema, error) {
	if t.Implements(describer) && t.Kind() != reflect.Pointer && t.Kind() != reflect.Interface {
		d, ok := reflect.Zero(t).Interface().(Describer)
		if !ok {
			return nil, fmt.Errorf("openapi: %s does not describe itself", t)
		}
		return d.JSONSchema(), nil
	}
	if t.Implements(union) && t.Kind() != reflect.Pointer && t.Kind() != reflect.Interface {
		return s.union(t)
	}
	if t == rawMessage || (t.Kind() == reflect.Interface && t.NumMethod() == 0) {
		return &Schema{}, nil // anything
	}
	if t.Implements(marshaler) && t.Kind() != reflect.Pointer {
		return nil, fmt.Errorf("openapi: %s writes its own JSON and does not describe it", t)
	}
	zero := int64(0)
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Bool:
		return &Schema{Type: Types{"boolean"}}, nil
	case reflect.String:
		return &Schema{Type: Types{"string"}}, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return &Schema{Type: Types{"integer"}}, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &Schema{Type: Types{"integer"}, Minimum: &zero}, nil
	case reflect.Float32, reflect.Float64:
		return &Schema{Type: Types{"number"}}, nil
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return &Schema{Type: Types{"string"}, Format: "byte"}, nil
		}
		items, err := s.of(t.Elem())
		return &Schema{Type: Types{"array"}, Items: items}, err
	case reflect.Map:
		values, err := s.of(t.Elem())
		return &Schema{Type: Types{"object"}, Additional: values}, err
	case reflect.Struct:
		return s.object(t)
	}
	return nil, fmt.Errorf("openapi: %s has no JSON", t)
}

func (s *Schemas) union(t reflect.Type) (*Schema, error) {
	u, ok := reflect.Zero(t).Interface().(Union)
	if !ok {
		return nil, fmt.Errorf("openapi: %s is no union", t)
	}
	one := &Schema{}
	for _, v := range u.OneOf() {
		schema, err := s.Of(v)
		if err != nil {
			return nil, err
		}
		one.OneOf = append(one.OneOf, schema)
	}
	return one, nil
}

func (s *Schemas) object(t reflect.Type) (*Schema, error) {
	name := nameOf(t)
	if name == "" {
		return s.fields("", t)
	}
	ref := &Schema{Ref: refPrefix + name}
	if other, known := s.types[name]; known {
		if other != t {
			return nil, fmt.Errorf("openapi: %s and %s are both named %s", other, t, name)
		}
		return ref, nil
	}
	s.types[name] = t // before its fields, which may refer to it
	object, err := s.fields(name, t)
	if err != nil {
		return nil, err
	}
	s.Named[name] = object
	return ref, nil
}

// nameOf gives the name of a type in a document; "" for one that has none.
func nameOf(t reflect.Type) string {
	name := strings.TrimSuffix(t.Name(), "JSON")
	if name == "" || strings.ContainsRune(name, '[') {
		return ""
	}
	runes := []rune(name)
	runes[0] = unicode.ToUpper(runes[0])
	return string(runes)
}

func (s *Schemas) fields(owner string, t reflect.Type) (*Schema, error) {
	o := &Schema{Type: Types{"object"}, Additional: false}
	if err := s.collect(o, owner, t); err != nil {
		return nil, err
	}
	return o, nil
}

func (s *Schemas) collect(o *Schema, owner string, t reflect.Type) error {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, tagged := f.Tag.Lookup("json")
		name, options, _ := strings.Cut(tag, ",")
		switch {
		case tag == "-":
			continue
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			if err := s.collect(o, owner, f.Type); err != nil {
				return err
			}
			continue
		case !f.IsExported():
			continue
		case !tagged || name == "":
			return fmt.Errorf("openapi: %s.%s has no name in JSON", t, f.Name)
		case o.Properties.Find(name) != nil:
			return fmt.Errorf("openapi: %s has two properties %s", t, name)
		}
		p, err := s.of(f.Type)
		if err != nil {
			return fmt.Errorf("%s.%s: %w", t, f.Name, err)
		}
		if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
			o.Required = append(o.Required, name)
			if f.Type.Kind() == reflect.Pointer {
				p = Nullable(p)
			}
		}
		s.field(owner, name, p)
		o.Properties = append(o.Properties, Property{name, p})
	}
	return nil
}

// Nullable gives a schema that allows null too.
func Nullable(s *Schema) *Schema {
	if s.Ref != "" {
		return &Schema{OneOf: []*Schema{s, {Type: Types{"null"}}}}
	}
	if len(s.Type) > 0 && !slices.Contains(s.Type, "null") {
		s.Type = append(slices.Clone(s.Type), "null")
		if len(s.Enum) > 0 {
			s.Enum = append(slices.Clone(s.Enum), nil)
		}
	}
	return s
}

// Resolve follows a reference.
func (s *Schemas) Resolve(schema *Schema) *Schema {
	if name, ok := strings.CutPrefix(schema.Ref, refPrefix); ok {
		return s.Named[name]
	}
	return schema
}

// String gives the schema of any string.
func String() *Schema { return &Schema{Type: Types{"string"}} }
