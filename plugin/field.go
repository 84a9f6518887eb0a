package plugin

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
)

// Duration is a setting written as Go writes durations: "90s", "1h30m".
type Duration time.Duration

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// MarshalText writes a duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

const typeSecret = "secret"

// typeName returns what a type is called to people; "" for one that settings
// cannot have.
func typeName(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[causeway.Secret]():
		return typeSecret
	case reflect.TypeFor[Duration]():
		return "duration"
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "number"
	case reflect.Slice:
		return "list"
	case reflect.Map:
		return "map"
	}
	return ""
}

// fieldsOf describes the settings in a struct.
func fieldsOf[C any](kind string) []Field {
	t := reflect.TypeFor[C]()
	if t.Kind() != reflect.Struct {
		panic("plugin: settings of " + kind + " are no struct")
	}
	var fields []Field
	for i := range t.NumField() {
		sf := t.Field(i)
		name, options, _ := strings.Cut(sf.Tag.Get("json"), ",")
		f := Field{
			Name: name, Type: typeName(sf.Type), Doc: sf.Tag.Get("doc"), Default: sf.Tag.Get("default"),
			Example: sf.Tag.Get("example"), OneOf: strings.Fields(sf.Tag.Get("oneof")), index: i,
		}
		f.Required = f.Default == "" && options != "omitempty"
		if name == "" || name == "-" || f.Doc == "" || f.Type == "" {
			panic(fmt.Sprintf("plugin: field %s of the settings of %s lacks a name, a doc, or a type that settings can have", sf.Name, kind))
		}
		fields = append(fields, f)
	}
	return fields
}

// decodeInto fills the struct that c points to.
func decodeInto(c any, fields []Field, values map[string]json.RawMessage) error {
	v := reflect.ValueOf(c).Elem()
	left := len(values)
	for _, f := range fields {
		raw, given := values[f.Name]
		if given {
			left--
		}
		if string(raw) == "null" {
			given = false
		}
		switch {
		case given:
		case f.Required:
			return fmt.Errorf("setting %q is missing: %s%s", f.Name, f.Doc, example(f))
		case f.Default == "":
			continue
		default:
			raw = json.RawMessage(f.Default)
			if t := f.Type; t == "text" || t == "duration" {
				raw, _ = json.Marshal(f.Default) // text always can be
			}
		}
		if err := json.Unmarshal(raw, v.Field(f.index).Addr().Interface()); err != nil {
			return fmt.Errorf("setting %q must be a %s%s", f.Name, f.Type, example(f))
		}
		if s := v.Field(f.index); len(f.OneOf) > 0 && s.String() != "" && !slices.Contains(f.OneOf, s.String()) {
			return fmt.Errorf("setting %q cannot be %q: use %s", f.Name, s.String(), list(f.OneOf))
		}
	}
	if left == 0 {
		return nil
	}
	var names []string
	for _, f := range fields {
		names = append(names, f.Name)
	}
	for name := range values {
		if !slices.Contains(names, name) {
			return fmt.Errorf("setting %q is not known; there are %s", name, strings.Join(names, ", "))
		}
	}
	return nil
}

func example(f Field) string {
	if f.Example == "" {
		return ""
	}
	return ", for example " + f.Example
}
