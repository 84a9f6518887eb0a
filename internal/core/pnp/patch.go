package pnp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/twin"
)

// Limits of a JSON Patch. Its text is bounded by twin.MaxPatch.
const (
	MaxOperations = 256
	maxTokens     = 2 + causeway.MaxTwinDepth // component, property and what is in it
)

// operation is one step of a JSON Patch.
type operation struct {
	Op    string           `json:"op"`
	Path  *string          `json:"path"`
	Value *json.RawMessage `json:"value"`
}

// Patch returns a JSON Patch (RFC 6902: add, replace, remove) of the digital
// twin of t as a merge patch of its desired section.
//
// The first name of a path of two or more is a component, unless a property of
// that name is known; a whole component is a value with a $metadata object in
// it. Every component that is touched gets its marker.
//
// Codes: InvalidDigitalTwinJsonPatch (no such JSON), InvalidDigitalTwinPayload
// (a value), InvalidDigitalTwinPatch (an operation that cannot be done),
// InvalidDigitalTwinPatchPath. The message names the operation at fault. Whether
// values keep the limits of twins shows when the patch is merged.
func Patch(text []byte, t Twin) ([]byte, error) {
	ops, err := operations(text)
	if err != nil {
		return nil, err
	}
	p := patch{touched: map[string]any{}}
	for _, doc := range []struct {
		into *map[string]any
		text []byte
	}{{&p.before, t.Desired.Properties}, {&p.now, t.Desired.Properties}, {&p.reported, t.Reported.Properties}} {
		if *doc.into, err = decode(doc.text); err != nil {
			return nil, fmt.Errorf("read the twin of %s: %w", t.ID, err)
		}
	}
	for i := range ops {
		if err := p.apply(&ops[i]); err != nil {
			return nil, causeway.Errorf(causeway.CodeOf(err), "pnp.Patch", "operation %d (%s %s): %s",
				i, clip(ops[i].Op), clip(*ops[i].Path), causeway.MessageOf(err))
		}
	}
	return appendValue(nil, difference(p.before, p.now, p.touched)), nil
}

// operations reads a patch.
func operations(text []byte) ([]operation, error) {
	const op, code = "pnp.Patch", causeway.InvalidDigitalTwinJsonPatch
	if len(text) > twin.MaxPatch {
		return nil, causeway.Errorf(code, op, "the patch has %d bytes, at most %d are allowed", len(text), twin.MaxPatch)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	var ops []operation
	err := dec.Decode(&ops)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows it")
		}
	}
	if err != nil || ops == nil {
		return nil, causeway.Errorf(code, op, `the body is not a JSON Patch such as [{"op":"add","path":"/targetTemperature","value":21}]`)
	}
	if len(ops) == 0 || len(ops) > MaxOperations {
		return nil, causeway.Errorf(code, op, "the patch has %d operations, it must have 1 to %d", len(ops), MaxOperations)
	}
	for i := range ops {
		o := &ops[i]
		switch {
		case o.Path == nil:
			return nil, causeway.Errorf(code, op, "operation %d has no path", i)
		case o.Op != "add" && o.Op != "replace" && o.Op != "remove":
			return nil, causeway.Errorf(code, op, "operation %d is %q: add, replace and remove are supported", i, clip(o.Op))
		case o.Op != "remove" && o.Value == nil:
			return nil, causeway.Errorf(code, op, "operation %d (%s) has no value", i, o.Op)
		}
	}
	return ops, nil
}

// decode reads an object into maps; numbers keep their text.
func decode(text []byte) (map[string]any, error) {
	if len(text) == 0 {
		return map[string]any{}, nil
	}
	var m map[string]any
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	err := dec.Decode(&m)
	return m, err
}

// difference returns the merge patch that brings before to now in the places
// that were touched: true for a place, a map for what is below it. A place is
// in the patch even if its value is the same.
func difference(before, now, touched map[string]any) map[string]any {
	out := map[string]any{}
	for name, below := range touched {
		value, ok := now[name]
		if !ok {
			out[name] = nil
			continue
		}
		inner, isObject := value.(map[string]any)
		was, wasObject := before[name].(map[string]any)
		deeper, partly := below.(map[string]any)
		switch {
		case partly && isObject:
			d := difference(was, inner, deeper)
			if isComponent(inner) {
				d[marker] = "c"
			}
			out[name] = d
		case isObject && wasObject:
			out[name] = replacement(was, inner)
		default:
			out[name] = value
		}
	}
	return out
}

// replacement returns the merge patch that puts now in the place of before.
func replacement(before, now map[string]any) map[string]any {
	out := maps.Clone(now)
	for name, was := range before {
		value, ok := now[name]
		if !ok {
			out[name] = nil
			continue
		}
		inner, isObject := value.(map[string]any)
		if was, wasObject := was.(map[string]any); isObject && wasObject {
			out[name] = replacement(was, inner)
		}
	}
	return out
}

func isComponent(v any) bool {
	m, ok := v.(map[string]any)
	return ok && m[marker] == "c"
}

// appendValue appends JSON text. The marker of a component comes first, because
// there are clients that look at the first member only.
func appendValue(dst []byte, v any) []byte {
	switch v := v.(type) {
	case map[string]any:
		dst = append(dst, '{')
		names := slices.SortedFunc(maps.Keys(v), func(a, b string) int {
			if a == marker || b == marker {
				return map[bool]int{true: -1, false: 1}[a == marker && b != marker]
			}
			return strings.Compare(a, b)
		})
		for _, name := range names {
			dst = appendValue(appendName(dst, name), v[name])
		}
		return append(dst, '}')
	case []any:
		dst = append(dst, '[')
		for i := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendValue(dst, v[i])
		}
		return append(dst, ']')
	case string:
		return append(dst, quote(v)...)
	case json.Number:
		return append(dst, v...)
	case bool:
		if v {
			return append(dst, "true"...)
		}
		return append(dst, "false"...)
	}
	return append(dst, "null"...)
}

func clip(s string) string {
	const most = 100
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
