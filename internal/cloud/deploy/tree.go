package deploy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// object is a JSON object: values are object, []any, string, json.Number, bool
// or nil. Numbers keep the text they were written in.
type object = map[string]any

// decode reads a JSON object, empty text being an empty one.
func decode(text []byte) (object, error) {
	if len(text) == 0 {
		return object{}, nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var o object
	if err := d.Decode(&o); err != nil {
		return nil, err
	}
	if o == nil {
		return nil, fmt.Errorf("null is not an object")
	}
	return o, nil
}

// setting is one path of the desired properties and what is there: nothing when
// value is nil. The empty path is all of them.
type setting struct {
	path  []string
	value any
}

func (s setting) key() string { return strings.Join(s.path, ".") }

func splitKey(key string) []string {
	if key == "" {
		return nil
	}
	return strings.Split(key, ".")
}

// put writes a setting into o and returns it. It takes no memory of the setting
// that it may change later.
func put(o object, s setting) object {
	if s.value == nil {
		return drop(o, s.path)
	}
	if len(s.path) == 0 {
		whole, _ := clone(s.value).(object)
		return whole
	}
	at := o
	for _, name := range s.path[:len(s.path)-1] {
		next, ok := at[name].(object)
		if !ok {
			next = object{}
			at[name] = next
		}
		at = next
	}
	at[s.path[len(s.path)-1]] = clone(s.value)
	return o
}

// drop removes a path from o and returns it, and the objects around it that it
// leaves empty: a plan made them, or something that is like it.
func drop(o object, path []string) object {
	if len(path) == 0 {
		return object{}
	}
	if len(path) > 1 {
		next, ok := o[path[0]].(object)
		if !ok {
			return o
		}
		if drop(next, path[1:]); len(next) > 0 {
			return o
		}
	}
	delete(o, path[0])
	return o
}

// clone copies a value without members that are null: a twin has none.
func clone(v any) any {
	switch v := v.(type) {
	case object:
		c := make(object, len(v))
		for name, x := range v {
			if x != nil {
				c[name] = clone(x)
			}
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i := range v {
			c[i] = clone(v[i])
		}
		return c
	}
	return v
}

// difference returns the JSON merge patch that makes to of from, nil when they
// are equal.
func difference(from, to object) object {
	var patch object
	change := func(name string, v any) {
		if patch == nil {
			patch = object{}
		}
		patch[name] = v
	}
	for name, want := range to {
		have, ok := from[name]
		if inner, isObject := want.(object); isObject {
			if old, wasObject := have.(object); wasObject {
				if p := difference(old, inner); p != nil {
					change(name, p)
				}
				continue
			}
		}
		if !ok || !reflect.DeepEqual(have, want) {
			change(name, want)
		}
	}
	for name := range from {
		if _, ok := to[name]; !ok {
			change(name, nil)
		}
	}
	return patch
}

// sortedNames returns the names of an object in byte order.
func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
