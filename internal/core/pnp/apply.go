package pnp

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/causeway-iot/causeway"
)

// patch is a patch under way.
type patch struct {
	before, now, reported map[string]any
	touched               map[string]any // see difference
}

// apply does one operation.
func (p *patch) apply(o *operation) error {
	const op = "pnp.Patch"
	tokens, err := split(*o.Path)
	if err != nil {
		return err
	}
	var value any
	if o.Op != "remove" {
		if value, err = read(*o.Value); err != nil {
			return err
		}
	}
	first := tokens[0]
	known := isComponent(p.now[first]) || isComponent(p.reported[first])
	switch {
	case len(tokens) == 1 && (known || hasMetadata(value)):
		if value, err = wholeComponent(value, o.Op); err != nil {
			return err
		}
	case len(tokens) > 1 && !known && !p.property(first):
		known = true
	}
	if o.Op != "add" && !p.exists(tokens, o.Op == "replace") {
		return causeway.Errorf(causeway.InvalidDigitalTwinPatch, op, "there is nothing at this path; use add for what is new")
	}
	if known && len(tokens) > 1 {
		// A component that only the device knew, or that nobody did.
		if c, ok := p.now[first].(map[string]any); !ok {
			p.now[first] = map[string]any{marker: "c"}
		} else {
			c[marker] = "c"
		}
	}
	return p.set(tokens, value, o.Op == "remove")
}

// split takes a path apart (RFC 6901).
func split(path string) ([]string, error) {
	const op, code = "pnp.Patch", causeway.InvalidDigitalTwinPatchPath
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return nil, causeway.Errorf(code, op, "a path begins with a slash and names a property or component")
	}
	tokens := strings.Split(rest, "/")
	if len(tokens) > maxTokens {
		return nil, causeway.Errorf(code, op, "the path has more than %d names", maxTokens)
	}
	for i, t := range tokens {
		t = strings.ReplaceAll(strings.ReplaceAll(t, "~1", "/"), "~0", "~")
		switch {
		case t == "":
			return nil, causeway.Errorf(code, op, "the path has an empty name")
		case t[0] == '$' || t == marker:
			return nil, causeway.Errorf(code, op, "%q cannot be changed, only properties and components", clip(t))
		}
		tokens[i] = t
	}
	return tokens, nil
}

// read reads the value of an operation.
func read(text json.RawMessage) (any, error) {
	const op, code = "pnp.Patch", causeway.InvalidDigitalTwinPayload
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, &causeway.Error{Code: code, Op: op, Msg: "the value is not JSON", Err: err}
	}
	if hasNull(v) {
		return nil, causeway.Errorf(code, op, "the value is null or has null in it; remove what shall not be there")
	}
	return v, nil
}

func hasNull(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		for _, x := range v {
			if hasNull(x) {
				return true
			}
		}
	case []any:
		for _, x := range v {
			if hasNull(x) {
				return true
			}
		}
	}
	return false
}

func hasMetadata(v any) bool {
	m, ok := v.(map[string]any)
	if !ok {
		return false
	}
	_, ok = m["$metadata"]
	return ok
}

// wholeComponent returns what a whole component becomes.
func wholeComponent(v any, operation string) (any, error) {
	if operation == "remove" {
		return nil, nil
	}
	m, ok := v.(map[string]any)
	if _, empty := m["$metadata"].(map[string]any); !ok || !empty {
		return nil, causeway.Errorf(causeway.InvalidDigitalTwinPayload, "pnp.Patch", `the value of a component is an object with a member "$metadata": {}`)
	}
	delete(m, "$metadata")
	m[marker] = "c"
	return m, nil
}

// property reports whether a property of the root is known by that name.
func (p *patch) property(name string) bool {
	_, desired := p.now[name]
	_, reported := p.reported[name]
	return desired || reported
}

// exists reports whether there is something at a path: in the desired section,
// or with reported in what the device says.
func (p *patch) exists(tokens []string, reported bool) bool {
	at := func(root map[string]any) bool {
		var v any = root
		for _, t := range tokens {
			m, ok := v.(map[string]any)
			if !ok {
				return false
			}
			if v, ok = m[t]; !ok {
				return false
			}
		}
		return true
	}
	return at(p.now) || reported && at(p.reported)
}

// set puts value in its place, or removes what is there, and notes the place.
func (p *patch) set(tokens []string, value any, remove bool) error {
	at, touched := p.now, p.touched
	for _, t := range tokens[:len(tokens)-1] {
		next, ok := at[t]
		if !ok {
			next = map[string]any{}
			at[t] = next
		}
		if at, ok = next.(map[string]any); !ok {
			return causeway.Errorf(causeway.InvalidDigitalTwinPatchPath, "pnp.Patch", "%q is no object; replace it as a whole", clip(t))
		}
		below, ok := touched[t].(map[string]any)
		if !ok {
			below = map[string]any{}
			if touched[t] == nil { // else what encloses it is noted as a whole
				touched[t] = below
			}
		}
		touched = below
	}
	last := tokens[len(tokens)-1]
	touched[last] = true
	if remove {
		delete(at, last)
	} else {
		at[last] = value
	}
	return nil
}
