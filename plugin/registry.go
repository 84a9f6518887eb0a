package plugin

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/causeway-iot/causeway"
)

// Registry finds kinds of sinks by name. It is filled first, and only read then.
type Registry struct{ kinds map[string]*kind }

// Kind describes a kind of sink.
type Kind struct {
	Name   string  `json:"name"`
	Doc    string  `json:"doc"`
	Fields []Field `json:"settings"`
}

// Field describes a setting.
type Field struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"` // text, number, true or false, duration, secret, list, map
	Doc      string   `json:"doc"`
	Required bool     `json:"required,omitempty"`
	Default  string   `json:"default,omitempty"`
	Example  string   `json:"example,omitempty"`
	OneOf    []string `json:"oneOf,omitempty"`

	index int
}

// kind is a kind with its code.
type kind struct {
	Kind
	decode func(values map[string]json.RawMessage) (any, error)
	open   func(config any, env Env) (Sink, error)
}

// Validator is a struct of settings that can tell whether they make sense.
type Validator interface{ Validate() error }

// AddSink adds a kind whose settings are a C: a struct whose fields have tags
// json, doc and, where it applies, default, example and oneof (values with
// spaces between). A setting without default whose json tag has no omitempty
// must be given. It panics when C is no such struct or the name is taken: both
// are mistakes of programmers.
func AddSink[C any](r *Registry, name, doc string, open func(config C, env Env) (Sink, error)) {
	if r.kinds == nil {
		r.kinds = map[string]*kind{}
	}
	if r.kinds[name] != nil {
		panic("plugin: there are two kinds of sink called " + name)
	}
	fields := fieldsOf[C](name)
	r.kinds[name] = &kind{
		Kind: Kind{Name: name, Doc: doc, Fields: fields},
		decode: func(values map[string]json.RawMessage) (any, error) {
			var c C
			if err := decodeInto(&c, fields, values); err != nil {
				return nil, err
			}
			if v, ok := any(&c).(Validator); ok {
				if err := v.Validate(); err != nil {
					return nil, err
				}
			}
			return c, nil
		},
		open: func(config any, env Env) (Sink, error) { return open(config.(C), env.WithDefaults()) },
	}
}

// Kinds describes all kinds, by name.
func (r *Registry) Kinds() []Kind {
	var all []Kind
	for _, name := range slices.Sorted(maps.Keys(r.kinds)) {
		all = append(all, r.kinds[name].Kind)
	}
	return all
}

func (r *Registry) find(name string) (*kind, error) {
	if k := r.kinds[name]; k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("there is no kind of endpoint %q: use %s", name, list(slices.Sorted(maps.Keys(r.kinds))))
}

// Split takes the secrets out of settings, which are a JSON object, so that they
// can be kept sealed. The error says which setting is wrong, and how to mend it.
func (r *Registry) Split(kind string, settings json.RawMessage) (rest json.RawMessage, secrets map[string]causeway.Secret, err error) {
	k, err := r.find(kind)
	if err != nil {
		return nil, nil, err
	}
	values, err := object(settings)
	if err != nil {
		return nil, nil, err
	}
	secrets = map[string]causeway.Secret{}
	for _, f := range k.Fields {
		raw, ok := values[f.Name]
		if !ok || f.Type != typeSecret {
			continue
		}
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, nil, fmt.Errorf("setting %q must be text", f.Name) // without the value
		}
		delete(values, f.Name)
		if s != "" {
			secrets[f.Name] = causeway.Secret(s)
		}
	}
	rest, err = json.Marshal(values)
	return rest, secrets, err
}

// Check reports what is wrong with settings and the secrets that belong to them.
func (r *Registry) Check(kind string, settings json.RawMessage, secrets map[string]causeway.Secret) error {
	_, _, err := r.config(kind, settings, secrets)
	return err
}

// Open makes a sink.
func (r *Registry) Open(kind string, settings json.RawMessage, secrets map[string]causeway.Secret, env Env) (Sink, error) {
	k, c, err := r.config(kind, settings, secrets)
	if err != nil {
		return nil, err
	}
	return k.open(c, env)
}

func (r *Registry) config(name string, settings json.RawMessage, secrets map[string]causeway.Secret) (*kind, any, error) {
	k, err := r.find(name)
	if err != nil {
		return nil, nil, err
	}
	values, err := object(settings)
	if err != nil {
		return nil, nil, err
	}
	for name, s := range secrets {
		raw, err := json.Marshal(string(s))
		if err != nil {
			return nil, nil, fmt.Errorf("secret %q: %w", name, err)
		}
		values[name] = raw
	}
	c, err := k.decode(values)
	return k, c, err
}

// object reads a JSON object; nothing is an empty one.
func object(settings json.RawMessage) (map[string]json.RawMessage, error) {
	values := map[string]json.RawMessage{}
	if len(settings) == 0 {
		return values, nil
	}
	if err := json.Unmarshal(settings, &values); err != nil {
		return nil, fmt.Errorf("settings are no JSON object: %w", err)
	}
	if values == nil {
		values = map[string]json.RawMessage{}
	}
	return values, nil
}

// list writes names as "a, b or c".
func list(names []string) string {
	switch len(names) {
	case 0:
		return "none, there are no kinds"
	case 1:
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// Decode reads settings that are no kind's own into a struct like those of
// AddSink.
func Decode[C any](settings json.RawMessage) (C, error) {
	var c C
	values, err := object(settings)
	if err != nil {
		return c, err
	}
	if err := decodeInto(&c, fieldsOf[C]("a program"), values); err != nil {
		return c, err
	}
	if v, ok := any(&c).(Validator); ok {
		err = v.Validate()
	}
	return c, err
}

// Describe describes the settings in a struct like those of AddSink.
func Describe[C any](name, doc string) Kind { return Kind{name, doc, fieldsOf[C](name)} }

// IsSecret reports whether a kind of sink has a setting of that name that is
// secret.
func (r *Registry) IsSecret(kind, name string) bool {
	k := r.kinds[kind]
	if k == nil {
		return false
	}
	for _, f := range k.Fields {
		if f.Name == name {
			return f.Type == typeSecret
		}
	}
	return false
}
