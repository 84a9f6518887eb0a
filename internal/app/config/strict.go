package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Error is what is wrong with a configuration file, and where.
type Error struct {
	File string
	Line int // from 1; 0 when it is about the whole file
	Msg  string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Msg
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg)
}

// decode reads a YAML document into c. All unknown keys are reported at once.
func decode(file string, data []byte, c *Config) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return &Error{File: file, Msg: strings.TrimPrefix(err.Error(), "yaml: ")}
	}
	if doc.Kind == 0 { // nothing but comments
		return nil
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil
	}
	w := walker{file: file}
	w.check(root, reflect.TypeFor[Config](), "")
	if len(w.errs) > 0 {
		return errors.Join(w.errs...)
	}
	return w.decode(root, c)
}

type walker struct {
	file string
	errs []error
}

func (w *walker) bad(n *yaml.Node, format string, args ...any) {
	w.errs = append(w.errs, &Error{File: w.file, Line: n.Line, Msg: fmt.Sprintf(format, args...)})
}

// check compares the shape of n with the type it will be decoded into. The
// YAML library can refuse unknown keys itself, but neither says which key was
// meant nor names the section.
func (w *walker) check(n *yaml.Node, t reflect.Type, path string) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	switch {
	case t.Kind() == reflect.Pointer:
		w.check(n, t.Elem(), path)
	case t.Kind() == reflect.Interface: // anything
	case t.Kind() == reflect.Map:
		if n.Kind != yaml.MappingNode {
			w.bad(n, "%s is a section of names and values", path)
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			w.check(n.Content[i+1], t.Elem(), join(path, n.Content[i].Value))
		}
	case reflect.PointerTo(t).Implements(reflect.TypeFor[yaml.Unmarshaler]()):
		if n.Kind != yaml.ScalarNode {
			w.bad(n, "%s is one value, not a section or a list", path)
			return
		}
		v := reflect.New(t)
		if err := v.Interface().(yaml.Unmarshaler).UnmarshalYAML(n); err != nil {
			w.bad(n, "%s: %v", path, err)
		}
	case t.Kind() == reflect.Struct:
		if n.Kind != yaml.MappingNode {
			w.bad(n, "%s is a section with keys %s", orFile(path), strings.Join(keys(t), ", "))
			return
		}
		seen := map[string]int{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			f, ok := field(t, key.Value)
			if !ok {
				w.bad(key, "unknown key %q in %s%s", key.Value, orFile(path), meant(key.Value, keys(t)))
				continue
			}
			if first, ok := seen[key.Value]; ok {
				w.bad(key, "key %q is there twice, first in line %d", key.Value, first)
				continue
			}
			seen[key.Value] = key.Line
			w.check(value, f.Type, join(path, key.Value))
		}
	case t.Kind() == reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			w.bad(n, "%s is a list; write [a, b] or one \"- a\" per line", path)
			return
		}
		for i, item := range n.Content {
			w.check(item, t.Elem(), fmt.Sprintf("%s[%d]", path, i))
		}
	case n.Kind != yaml.ScalarNode:
		w.bad(n, "%s is one value, not a section or a list", path)
	default:
		v := reflect.New(t)
		if err := n.Decode(v.Interface()); err != nil {
			w.bad(n, "%s: %q is not %s", path, n.Value, kindWord(t.Kind()))
		}
	}
}

func (w *walker) decode(n *yaml.Node, c *Config) error {
	if err := n.Decode(c); err != nil {
		return &Error{File: w.file, Line: n.Line, Msg: strings.TrimPrefix(err.Error(), "yaml: ")}
	}
	return nil
}

func kindWord(k reflect.Kind) string {
	switch k {
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Bool:
		return "true or false"
	default:
		return "a " + k.String()
	}
}

func orFile(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func keys(t reflect.Type) []string {
	var out []string
	for i := range t.NumField() {
		out = append(out, t.Field(i).Tag.Get("yaml"))
	}
	return out
}

func field(t reflect.Type, key string) (reflect.StructField, bool) {
	i := slices.Index(keys(t), key)
	if i < 0 {
		return reflect.StructField{}, false
	}
	return t.Field(i), true
}

// meant proposes the closest of the known keys, or lists them when none is close.
func meant(key string, known []string) string {
	best, dist := "", 3 // further away it is another word
	for _, k := range known {
		if d := distance(strings.ToLower(key), strings.ToLower(k)); d < dist {
			best, dist = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	return "; known keys are " + strings.Join(known, ", ")
}

// distance is the number of single-character edits between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(row[j+1]+1, row[j]+1, diag+cost)
			diag, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
