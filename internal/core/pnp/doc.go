// Package pnp reads a twin by the conventions of IoT Plug and Play: it renders
// the digital twin that back ends see, turns their JSON Patch into a change of
// desired properties, and names the commands of components.
//
//	desired p: v                        $metadata.p.desiredValue, desiredVersion
//	reported p: v                       p: v, $metadata.p.lastUpdateTime
//	reported p: {value, ac, av, ad}     p: value, $metadata.p.ackCode, ackVersion, …
//	c: {"__t": "c", …}                  a component: an object with the same inside
//
// It is pure, and knows no models: what is a component shows in the marker
// alone.
package pnp

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/causeway-iot/causeway/internal/core/twin"
)

// Twin is what a digital twin is made from.
type Twin struct {
	ID                string // of the device
	Model             string // "" when the device announced none
	Desired, Reported twin.Doc
}

// The marker of a component.
const (
	marker      = "__t"
	markerValue = `"c"`
)

// CommandName returns the direct method that a command is, of a component or,
// with "", of the device itself.
func CommandName(component, command string) string {
	if component == "" {
		return command
	}
	return component + "*" + command
}

// member is one member of an object.
type member struct {
	name  string
	value json.RawMessage
}

// object is a JSON object in the order of its text; nil for what is none.
type object []member

// parse reads an object; of anything else it returns nil.
func parse(text []byte) (object, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, nil //nolint:nilerr // empty text and other values are no objects
	}
	o := object{}
	for dec.More() {
		k, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("read a member's name: %w", err)
		}
		m := member{name: k.(string)}
		if err := dec.Decode(&m.value); err != nil {
			return nil, fmt.Errorf("read member %q: %w", m.name, err)
		}
		o = append(o, m)
	}
	return o, nil
}

// get returns a member, nil when there is none.
func (o object) get(name string) json.RawMessage {
	for i := range o {
		if o[i].name == name {
			return o[i].value
		}
	}
	return nil
}

// component reports whether o has the marker of a component.
func (o object) component() bool { return string(o.get(marker)) == markerValue }

// ack is a reported value that answers a desired one.
type ack struct {
	value, code, version, description json.RawMessage
}

// acknowledgement takes a reported value apart; ok is false when it is a value
// as it stands. An object is an acknowledgement when it has value, ac and av,
// the two as whole numbers, and nothing that none has.
func acknowledgement(value json.RawMessage) (a ack, ok bool) {
	o, err := parse(value)
	if err != nil || o == nil {
		return a, false
	}
	for _, m := range o {
		switch m.name {
		case "value":
			a.value = m.value
		case "ac":
			a.code = m.value
		case "av":
			a.version = m.value
		case "ad":
			a.description = m.value
		default:
			return a, false
		}
	}
	return a, a.value != nil && whole(a.code) && whole(a.version)
}

func whole(text json.RawMessage) bool {
	var n int64
	return text != nil && string(text) != "null" && json.Unmarshal(text, &n) == nil
}
